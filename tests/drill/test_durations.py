"""Times in multiples of the daemon's thresholds."""

from __future__ import annotations

from feedd.drill.durations import DurationLimits, Span

LIMITS = DurationLimits(stale=10.0, latency=1.0, resume=5.0, status=30.0, window=6.0)


def test_span_is_the_sum_of_its_parts() -> None:
    assert Span(seconds=0.5).of(LIMITS) == 0.5
    assert Span(stale=2).of(LIMITS) == 20.0
    assert Span(seconds=1, stale=1, latency=-3, resume=0.5, status=2, window=1).of(LIMITS) == 76.5
