"""Counting durations in buckets, and estimating quantiles from them."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.histogram import LATENCY_BOUNDS, PROCESSING_BOUNDS, Histogram

SECONDS = st.floats(-10.0, 1e6)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(-1.0, 0), (0.0, 0), (1.0, 0), (1.0000001, 1), (2.0, 1), (4.0, 2), (4.0000001, 3), (1e9, 3)],
)
def test_duration_is_counted_by_the_first_bound_not_below_it(seconds: float, bucket: int) -> None:
    histogram = Histogram([1.0, 2.0, 4.0])
    histogram.observe(seconds)
    assert [count for count in histogram.counts if count] == [1]
    assert histogram.counts[bucket] == 1


def test_total_adds_up_and_takes_a_negative_for_zero() -> None:
    histogram = Histogram([1.0])
    for seconds in (0.25, -3.0, 2.0):
        histogram.observe(seconds)
    assert histogram.total == 2.25


@pytest.mark.parametrize("bounds", [LATENCY_BOUNDS, PROCESSING_BOUNDS])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_default_latency_limit_is_a_bound() -> None:
    assert 1.0 in LATENCY_BOUNDS


def test_quantile_without_observations_is_unknown() -> None:
    assert Histogram([1.0]).quantile(0.5) is None


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 4.0), (0.9, 4.0), (1.0, 4.0)]
)
def test_quantile_interpolates_within_its_bucket(share: float, expected: float) -> None:
    histogram = Histogram([1.0, 2.0, 4.0])
    for seconds in (1.5, 1.5, 3.0, 100.0):
        histogram.observe(seconds)
    assert histogram.quantile(share) == expected


def test_quantile_at_the_end_of_a_bucket_is_its_bound_whatever_follows() -> None:
    histogram = Histogram([1.0, 2.0, 4.0])
    histogram.observe(0.5)
    histogram.observe(3.0)
    assert histogram.quantile(0.5) == 1.0


@given(st.lists(SECONDS, max_size=200))
def test_any_observations_are_all_counted(observed: list[float]) -> None:
    histogram = Histogram(LATENCY_BOUNDS)
    for seconds in observed:
        histogram.observe(seconds)
    assert sum(histogram.counts) == len(observed)
    assert histogram.total == pytest.approx(sum(max(0.0, seconds) for seconds in observed))


@given(st.lists(SECONDS, min_size=1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_any_quantile_is_within_bounds_and_rises_with_its_share(
    observed: list[float], one: float, other: float
) -> None:
    histogram = Histogram(LATENCY_BOUNDS)
    for seconds in observed:
        histogram.observe(seconds)
    lower, higher = histogram.quantile(min(one, other)), histogram.quantile(max(one, other))
    assert lower is not None
    assert higher is not None
    assert 0.0 <= lower <= higher <= LATENCY_BOUNDS[-1]


@given(st.lists(st.floats(0.0, LATENCY_BOUNDS[-1]), min_size=1), st.floats(0.01, 1.0))
def test_any_quantile_lies_in_the_bucket_of_the_true_one(observed: list[float], share: float) -> None:
    histogram = Histogram(LATENCY_BOUNDS)
    for seconds in observed:
        histogram.observe(seconds)
    true = sorted(observed)[math.ceil(share * len(observed)) - 1]
    bucket = bisect_left(LATENCY_BOUNDS, true)
    estimate = histogram.quantile(share)
    assert estimate is not None
    assert (0.0, *LATENCY_BOUNDS)[bucket] <= estimate <= LATENCY_BOUNDS[bucket]
