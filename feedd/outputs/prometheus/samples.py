"""The lines of a metric that the whole daemon has: all that stands before the value, and how that is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TypeVar

from feedd.core.histogram import Histogram
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.prometheus.catalogue import Family

Read = Callable[[ClockReading], float]
AnyReason = TypeVar("AnyReason", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: all that stands before its value, and how the value is read."""

    prefix: str
    read: Read

    def write(self, reading: ClockReading) -> str:
        """Return the line as it is at that moment."""
        return f"{self.prefix}{number(self.read(reading))}\n"


class HistogramSample:
    """The lines of one histogram, written together so that they agree with each other."""

    def __init__(self, family: Family, histogram: Histogram) -> None:
        self._lines = histogram_lines(family, "", histogram)
        self._histogram = histogram

    def write(self, _: ClockReading) -> str:
        """Return the lines as they are now."""
        return self._lines % histogram_values(self._histogram)


Row = Sample | HistogramSample
Metric = tuple[Family, list[Row]]
"""A metric and its lines."""


def single(family: Family, read: Read) -> Metric:
    """Return a metric that has one value and no labels."""
    return family, [Sample(f"{family.name} ", read)]


def labelled(family: Family, reads: Iterable[tuple[str, Read]]) -> Metric:
    """Return a metric with a line for each of these labels, which are written as they are."""
    return family, [Sample(f"{family.name}{{{labels}}} ", read) for labels, read in reads]


def by_reason(family: Family, counts: Mapping[AnyReason, int], reasons: Iterable[AnyReason]) -> Metric:
    """Return a metric that counts something for each reason."""
    return labelled(family, ((f'reason="{reason}"', _count(counts, reason)) for reason in reasons))


def histogram_lines(family: Family, labels: str, histogram: Histogram) -> str:
    """Return the lines of a histogram, with a place for each of its values."""
    comma, braces = (f"{labels},", f"{{{labels}}}") if labels else ("", "")
    buckets = "".join(
        f'{family.name}_bucket{{{comma}le="{number(bound)}"}} %d\n' for bound in (*histogram.bounds, math.inf)
    )
    return f"{buckets}{family.name}_count{braces} %d\n{family.name}_sum{braces} %s\n"


def histogram_values(histogram: Histogram) -> tuple[float, ...]:
    """Return what stands in those lines."""
    cumulated = [*accumulate(histogram.counts)]
    return (*cumulated, cumulated[-1], histogram.total)


def number(value: float) -> str:
    """Return a value as Prometheus reads it."""
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if isinstance(value, int) else repr(value)


def _count(counts: Mapping[AnyReason, int], reason: AnyReason) -> Read:
    return lambda _: counts[reason]
