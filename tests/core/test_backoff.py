"""Delays between attempts to connect: bounds, growth, and what alone takes them back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.backoff import (
    FIRST_DELAY_SECONDS,
    HEALTHY_AFTER_SECONDS,
    LONGEST_DELAY_SECONDS,
    REFUSED_BY_RULE_SECONDS,
    Backoff,
)
from feedd.model import ConnectFailure

CHANCES = st.floats(0.0, 1.0, exclude_max=True)
BY_RULE = (ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451)
PASSING = tuple(failure for failure in ConnectFailure if failure not in BY_RULE)


def test_each_attempt_waits_twice_as_long_until_the_longest() -> None:
    backoff = Backoff(first=0.5, longest=30.0)
    assert [backoff.delay(chance=0.0) for _ in range(8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_years_of_attempts_stay_at_the_longest_delay() -> None:
    backoff = Backoff(first=0.5, longest=30.0)
    assert [backoff.delay(chance=0.0) for _ in range(2_000)][-1] == 15.0


def test_symbols_that_failed_together_are_spread_even_at_the_longest_delay() -> None:
    first, second = Backoff(first=30.0, longest=30.0), Backoff(first=30.0, longest=30.0)
    assert (first.delay(chance=0.0), second.delay(chance=0.5)) == (15.0, 22.5)


def test_connection_that_was_healthy_starts_over() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.delay(chance=0.0)
    backoff.connection_ended(good_for=HEALTHY_AFTER_SECONDS)
    assert backoff.delay(chance=0.0) == FIRST_DELAY_SECONDS / 2.0


def test_server_that_accepts_and_closes_is_dialled_ever_more_slowly() -> None:
    backoff = Backoff(first=1.0, longest=8.0)
    delays = []
    for _ in range(5):
        delays.append(backoff.delay(chance=0.0))
        backoff.connection_ended(good_for=HEALTHY_AFTER_SECONDS - 0.001)
    assert delays == [0.5, 1.0, 2.0, 4.0, 4.0]


def test_how_long_a_connection_must_have_been_healthy_is_the_owners_choice() -> None:
    patient, hasty = Backoff(first=1.0, healthy_after=60.0), Backoff(first=1.0, healthy_after=0.0)
    for backoff in (patient, hasty):
        backoff.delay(chance=0.0)
        backoff.connection_ended(good_for=59.9)
    assert (patient.delay(chance=0.0), hasty.delay(chance=0.0)) == (1.0, 0.5)
    patient.connection_ended(good_for=60.0)
    hasty.connection_ended(good_for=0.0)
    assert (patient.delay(chance=0.0), hasty.delay(chance=0.0)) == (0.5, 0.5)


def test_least_delay_after_a_refusal_by_rule_is_the_owners_choice() -> None:
    assert Backoff(refused_by_rule=300.0).delay(chance=0.0, failure=BY_RULE[0]) == 300.0


@pytest.mark.parametrize("failure", BY_RULE)
def test_refusal_by_rule_waits_a_minute_at_least(failure: ConnectFailure) -> None:
    assert Backoff().delay(chance=0.0, failure=failure) == REFUSED_BY_RULE_SECONDS
    assert Backoff().delay(chance=0.5, failure=failure) == REFUSED_BY_RULE_SECONDS * 1.25


@pytest.mark.parametrize("failure", [None, *PASSING])
def test_passing_failure_waits_the_usual_delay(failure: ConnectFailure | None) -> None:
    assert Backoff().delay(chance=0.0, failure=failure) == FIRST_DELAY_SECONDS / 2.0


def test_refusal_by_rule_does_not_shorten_a_longer_delay() -> None:
    assert Backoff(first=600.0, longest=600.0).delay(0.0, ConnectFailure.HTTP_451) == 300.0


def test_retry_after_is_kept_and_spread_beyond() -> None:
    assert Backoff().delay(0.0, ConnectFailure.HTTP_429, retry_after=120.0) == 120.0
    assert Backoff().delay(0.5, ConnectFailure.HTTP_429, retry_after=120.0) == 126.0


def test_retry_after_does_not_shorten_the_usual_delay() -> None:
    assert Backoff(first=8.0, longest=8.0).delay(0.0, ConnectFailure.HTTP_429, retry_after=1.0) == 4.0


@pytest.mark.parametrize(("first", "longest"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_impossible_bounds_are_refused(first: float, longest: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < first <= longest, found first="):
        Backoff(first, longest)


@given(st.lists(st.tuples(CHANCES, st.sampled_from((None, *PASSING))), max_size=100))
def test_any_attempts_stay_within_bounds_and_never_wait_less_for_more(
    attempts: list[tuple[float, ConnectFailure | None]],
) -> None:
    backoff = Backoff()
    floor = FIRST_DELAY_SECONDS / 2.0
    for chance, failure in attempts:
        delay = backoff.delay(chance, failure)
        assert floor <= delay <= 2.0 * floor
        floor = min(2.0 * floor, LONGEST_DELAY_SECONDS / 2.0)


@given(
    st.lists(st.floats(0.0, 60.0), max_size=30),
    CHANCES,
    st.sampled_from(BY_RULE),
    st.floats(0.0, 86_400.0),
)
def test_any_history_keeps_what_the_server_asked_for(
    spells: list[float], chance: float, failure: ConnectFailure, retry_after: float
) -> None:
    backoff = Backoff()
    for good_for in spells:
        backoff.delay(chance)
        backoff.connection_ended(good_for)
    assert backoff.delay(chance, failure, retry_after) >= max(REFUSED_BY_RULE_SECONDS, retry_after)


@given(st.lists(st.floats(0.0, HEALTHY_AFTER_SECONDS, exclude_max=True), min_size=1, max_size=30), CHANCES)
def test_any_short_spells_never_take_the_delay_back(spells: list[float], chance: float) -> None:
    backoff = Backoff()
    delays = []
    for good_for in spells:
        delays.append(backoff.delay(chance))
        backoff.connection_ended(good_for)
    assert delays == sorted(delays)
