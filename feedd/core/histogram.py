"""Counts of observed durations in buckets: plain numbers, because every message touches three of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

LATENCY_BOUNDS: Final[tuple[float, ...]] = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Seconds. The default limit (1 s) is a bound, so that an alert on it needs no interpolation."""
PROCESSING_BOUNDS: Final[tuple[float, ...]] = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0,
)  # fmt: skip
"""Seconds. A message takes some ten microseconds; what takes a millisecond is a finding."""


class Histogram:
    """Observations of seconds, counted by the first bound that is not below them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        """Per bucket, not cumulated; the last one has no upper bound."""
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration; one below zero counts as zero."""
        if seconds < 0.0:
            seconds = 0.0
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def quantile(self, share: float) -> float | None:
        """Estimate the duration that `share` (0 to 1) of the observations don't exceed, as Prometheus does.

        None without observations; the last bound where the estimate lies beyond it.
        """
        observations = sum(self.counts)
        if not observations:
            return None
        rank = share * observations
        lower, seen = 0.0, 0
        for upper, count in zip(self.bounds, self.counts, strict=False):
            if count and seen + count >= rank:
                return lower + (upper - lower) * (rank - seen) / count
            lower, seen = upper, seen + count
        return self.bounds[-1]
