"""The venue's clock as seen from here, and when a delay is confirmed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.venue_clock import DRIFT, ClockSample, VenueClock, WallWatch

WALL = 1_795_000_000.0
NOW = 5_000.0


def test_clock_that_never_asked_takes_the_wall_and_vouches_for_nothing() -> None:
    clock = VenueClock(NOW, WALL)
    assert clock.offset_from_wall(NOW, WALL) == 0.0
    assert (clock.error_at(NOW + 60.0), clock.synced_at) == (math.inf, None)


def test_latency_is_measured_from_the_event_on() -> None:
    clock = VenueClock(NOW, WALL)
    assert clock.latency(NOW + 1.5, event_time=int(WALL * 1000) + 1_000) == pytest.approx(0.5)


def test_event_of_the_future_has_negative_latency() -> None:
    clock = VenueClock(NOW, WALL)
    assert clock.latency(NOW, event_time=int(WALL * 1000) + 250) == pytest.approx(-0.25)


def test_update_takes_the_sample_with_the_shortest_round_trip() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update(
        [
            ClockSample(sent_at=NOW, received_at=NOW + 0.5, venue_time=WALL + 99.0),
            ClockSample(sent_at=NOW + 1.0, received_at=NOW + 1.25, venue_time=WALL + 3.125),
            ClockSample(sent_at=NOW + 2.0, received_at=NOW + 2.375, venue_time=WALL - 99.0),
        ]
    )
    assert clock.offset_from_wall(NOW, WALL) == 2.0
    assert clock.synced_at == NOW + 1.25
    assert clock.error_at(NOW + 1.25) == pytest.approx(0.125 + 0.25 * DRIFT)


def test_rounding_of_the_answer_is_part_of_the_error() -> None:
    assert ClockSample(NOW, NOW + 0.25, WALL, resolution=0.5).error_at(NOW) == 0.625


@pytest.mark.parametrize("is_measured", [True, False])
def test_jump_of_the_wall_changes_no_latency(is_measured: bool) -> None:
    clock = VenueClock(NOW, WALL)
    if is_measured:
        clock.update([ClockSample(NOW, NOW, WALL)])
    assert clock.offset_from_wall(NOW, WALL + 3_600.0) == -3_600.0
    assert clock.latency(NOW + 0.25, event_time=int(WALL * 1000)) == pytest.approx(0.25)


def sample(at: float, ahead: float, error: float) -> ClockSample:
    """A measurement at `NOW + at` that has the venue so many seconds ahead."""
    return ClockSample(NOW + at - error, NOW + at + error, WALL + at + ahead)


def ahead(clock: VenueClock) -> float:
    return clock.offset_from_wall(NOW, WALL)


def test_error_grows_with_age() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([sample(0.0, 0.0, error=0.0)])
    assert [clock.error_at(NOW + age) for age in (0.0, 15.0, 3_600.0)] == pytest.approx([0.0, 0.0015, 0.36])


def test_worse_measurement_confirms_the_estimate_and_leaves_it() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([sample(0.0, 1.0, error=0.01)])
    assert clock.update([sample(15.0, 1.4, error=2.0)])
    assert ahead(clock) == pytest.approx(1.0)
    assert clock.synced_at == NOW + 17.0
    assert clock.error_at(NOW + 17.0) == pytest.approx(0.01 + 17.0 * DRIFT, abs=1e-5)


def test_worse_measurement_replaces_an_estimate_that_has_grown_as_bad() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([sample(0.0, 1.0, error=0.01)])
    clock.update([sample(3_600.0, 1.2, error=0.3)])
    assert ahead(clock) == pytest.approx(1.2)
    assert clock.error_at(NOW + 3_600.3) == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize("nonsense", [-WALL, -5.0, 5.0, 86_400.0])
def test_answer_of_nonsense_never_replaces_the_estimate(nonsense: float) -> None:
    clock = VenueClock(NOW, WALL)
    assert clock.update([sample(0.0, 1.0, error=0.01)])
    assert not clock.update([sample(15.0, nonsense, error=0.001)])
    assert clock.update([sample(15.5, 1.0, error=0.02)])
    assert not clock.update([sample(30.0, nonsense, error=0.001)])
    assert ahead(clock) == pytest.approx(1.0)
    assert clock.synced_at == NOW + 15.52


def test_clock_that_says_something_else_each_time_replaces_nothing() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([sample(0.0, 1.0, error=0.01)])
    for number in range(1, 20):
        assert not clock.update([sample(float(number), 1.0 + number, error=0.01)])
    assert ahead(clock) == pytest.approx(1.0)


def test_venue_whose_clock_was_set_is_believed_at_the_second_answer() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([sample(0.0, 1.0, error=0.01)])
    assert not clock.update([sample(15.0, 4.0, error=0.02)])
    assert clock.update([sample(15.5, 4.0, error=0.02)])
    assert ahead(clock) == pytest.approx(4.0)
    assert clock.error_at(NOW + 15.52) == pytest.approx(0.02, abs=1e-5)


@given(
    st.floats(-0.99 * DRIFT, 0.99 * DRIFT),  # less, for what the float of such a time can hold
    st.lists(st.tuples(st.floats(0.0, 0.5), st.floats(0.0, 0.5)), min_size=2, max_size=40),
    st.floats(1.0, 600.0),
)
def test_any_drift_is_followed_within_the_stated_error(
    drift: float, ways: list[tuple[float, float]], every: float
) -> None:
    """A venue clock that runs faster or slower, measured now and then over ways of any length."""
    clock = VenueClock(NOW, WALL)
    for number, (there, back) in enumerate(ways):
        sent = number * every
        read = sent + there
        asked = ClockSample(NOW + sent, NOW + read + back, WALL + read * (1.0 + drift))
        assert clock.update([asked])
        for later in (read + back, read + back + every):
            assert abs(ahead(clock) - later * drift) <= clock.error_at(NOW + later) + 1e-6


def test_venue_clock_that_runs_fast_stays_right_to_the_milliseconds() -> None:
    clock = VenueClock(NOW, WALL)
    for at in range(0, 3_600, 15):
        for looked in range(15):
            late = ahead(clock) - (at + looked) * 100e-6
            assert abs(late) < 0.0016
        clock.update([sample(at + 15.0, (at + 15.0) * 100e-6, error=0.02)])
    assert clock.error_at(NOW + 3_615.0) < 0.022


def test_wall_clock_that_is_set_is_noticed_once() -> None:
    watch = WallWatch(NOW, WALL)
    steps = [watch.step(NOW + at, WALL + at + jump) for at, jump in ((1, 0), (2, 60), (3, 60), (4, -0.5))]
    assert steps == pytest.approx([0.0, 60.0, 0.0, -60.5])


def test_wall_clock_that_is_slewed_was_not_set() -> None:
    watch = WallWatch(NOW, WALL)
    assert not any(watch.step(NOW + at, WALL + at * 1.05) for at in range(1, 200))


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.floats(-86_400.0, 86_400.0))
def test_any_round_trip_has_the_true_offset_within_the_error(there: float, back: float, ahead: float) -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([ClockSample(NOW, NOW + there + back, venue_time=WALL + ahead + there)])
    assert abs(clock.offset_from_wall(NOW, WALL) - ahead) <= clock.error_at(NOW + there + back) + 1e-6
