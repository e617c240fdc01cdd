"""The venue's clock as seen from here, and when a delay is confirmed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.latency import CONFIRMATIONS, ClockSample, LatencyRule, VenueClock

WALL = 1_795_000_000.0
NOW = 5_000.0


def test_clock_that_never_asked_takes_the_wall_and_vouches_for_nothing() -> None:
    clock = VenueClock(NOW, WALL)
    assert clock.offset_from_wall(NOW, WALL) == 0.0
    assert (clock.error, clock.synced_at) == (math.inf, None)


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
    assert (clock.error, clock.synced_at) == (0.125, NOW + 1.25)


def test_wall_is_followed_until_the_venue_was_reached() -> None:
    clock = VenueClock(NOW, WALL)
    clock.follow_wall(NOW, WALL + 60.0)
    assert clock.offset_from_wall(NOW, WALL) == 60.0


def test_jump_of_the_wall_changes_no_latency_once_the_venue_was_reached() -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([ClockSample(NOW, NOW, WALL)])
    clock.follow_wall(NOW, WALL + 3_600.0)
    assert clock.latency(NOW + 0.25, event_time=int(WALL * 1000)) == pytest.approx(0.25)
    assert clock.offset_from_wall(NOW, WALL + 3_600.0) == -3_600.0


def judged(rule: LatencyRule, latencies: list[float]) -> list[tuple[bool, bool]]:
    return [(rule.is_over(latency), rule.is_confirmed) for latency in latencies]


def test_delay_is_confirmed_by_the_third_late_message() -> None:
    assert judged(LatencyRule(1.0), [1.1, 1.1, 1.1, 1.1]) == [
        (True, False), (True, False), (True, True), (True, True),
    ]  # fmt: skip


def test_message_in_time_ends_the_row() -> None:
    rule = LatencyRule(1.0)
    assert judged(rule, [2.0, 2.0, 0.5, 2.0, 2.0])[-1] == (True, False)


def test_latency_at_the_limit_is_in_time() -> None:
    assert judged(LatencyRule(1.0), [1.0] * CONFIRMATIONS) == [(False, False)] * CONFIRMATIONS


def test_confirmed_delay_ends_with_one_message_in_time() -> None:
    rule = LatencyRule(1.0)
    assert judged(rule, [2.0, 2.0, 2.0, 0.0])[-1] == (False, False)


@given(st.lists(st.floats(-5.0, 5.0)))
def test_any_latencies_confirm_a_delay_only_while_the_last_three_are_late(latencies: list[float]) -> None:
    rule = LatencyRule(1.0)
    for position, latency in enumerate(latencies, start=1):
        rule.is_over(latency)
        last = latencies[max(0, position - CONFIRMATIONS) : position]
        assert rule.is_confirmed is (len(last) == CONFIRMATIONS and min(last) > 1.0)


@given(st.floats(0.0, 2.0), st.floats(0.0, 2.0), st.floats(-86_400.0, 86_400.0))
def test_any_round_trip_has_the_true_offset_within_the_error(there: float, back: float, ahead: float) -> None:
    clock = VenueClock(NOW, WALL)
    clock.update([ClockSample(NOW, NOW + there + back, venue_time=WALL + ahead + there)])
    assert abs(clock.offset_from_wall(NOW, WALL) - ahead) <= clock.error + 1e-6
