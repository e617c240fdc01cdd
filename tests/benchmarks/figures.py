"""What rounds have yielded: figures, the ratios between them, and the bars that they are held to."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.benchmarks.processes import RunFailed

Measure = Callable[[], Mapping[str, Any]]
"""Takes one figure, or some that belong together."""


@dataclass(frozen=True)
class Series:
    """One figure, once a round."""

    name: str
    values: Sequence[float]
    unit: str
    digits: int = 1

    def named(self, name: str) -> Series:
        """Return the same figures under another name."""
        return replace(self, name=name)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def text(self) -> str:
        """The median and the range."""
        if not self.values:
            return "no figure"
        middle, low, high = (
            f"{value:,.{self.digits}f}" for value in (self.median, min(self.values), max(self.values))
        )
        unit = f" {self.unit}" if self.unit else ""
        return f"{middle}{unit} ({low} to {high})"


@dataclass(frozen=True)
class Bar:
    """A figure and what it is held to."""

    series: Series
    limit: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the median keeps to the limit; what could not be taken doesn't."""
        if not self.series.values:
            return False
        return self.series.median >= self.limit if self.at_least else self.series.median <= self.limit

    @property
    def text(self) -> str:
        """The limit."""
        sign = "≥" if self.at_least else "≤"
        unit = f" {self.series.unit}" if self.series.unit else ""
        return f"{sign} {self.limit:g}{unit}"


@dataclass
class Section:
    """One measurement's outcome."""

    name: str
    title: str
    about: str
    bars: list[Bar] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    others_busy: float = 0.0
    """The share of the machine that other programs took meanwhile."""


class Rounds:
    """Takes every figure once a round, in random order, and keeps them."""

    def __init__(self, name: str, measures: Mapping[str, Measure], count: int) -> None:
        self.failures: list[str] = []
        self._taken: dict[str, list[Mapping[str, Any] | None]] = {cell: [] for cell in measures}
        for number in range(1, count + 1):
            for cell in random.sample(sorted(measures), len(measures)):
                print(f"{name}: round {number} of {count}: {cell}", file=sys.stderr, flush=True)
                self._taken[cell].append(self._take(cell, measures[cell]))

    def _take(self, cell: str, measure: Measure) -> Mapping[str, Any] | None:
        try:
            return measure()
        except RunFailed as failure:
            print(f"failed: {failure}", file=sys.stderr, flush=True)
            self.failures.append(f"{cell}: {failure}")
            return None

    def series(
        self, name: str, cell: str, key: str, unit: str, scale: float = 1.0, digits: int = 1
    ) -> Series:
        """Return one figure of a cell, from the rounds in which it could be taken."""
        values = [taken[key] * scale for taken in self._taken[cell] if taken is not None]
        return Series(name, values, unit, digits)

    def ratios(
        self, name: str, cell: str, base: str, key: str, base_key: str | None = None, digits: int = 2
    ) -> Series:
        """Return the quotients of two cells' figures within each round."""
        values = [ours[key] / theirs[base_key or key] for ours, theirs in self._pairs(cell, base)]
        return Series(name, values, "x", digits)

    def differences(
        self, name: str, cell: str, base: str, key: str, unit: str, scale: float, digits: int = 2
    ) -> Series:
        """Return the differences of two cells' figures within each round."""
        values = [(ours[key] - theirs[key]) * scale for ours, theirs in self._pairs(cell, base)]
        return Series(name, values, unit, digits)

    def _pairs(self, cell: str, base: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        pairs = zip(self._taken[cell], self._taken[base], strict=True)
        return [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
