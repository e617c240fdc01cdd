"""The connect budget: never more than its limit in any window, and a pause holds everyone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.budgets import (
    OUTAGE_AFTER,
    PROBE_PAUSE_SECONDS,
    RESERVE,
    WINDOW_SECONDS,
    ConnectBudget,
    WeightBudget,
)


def test_attempts_within_the_limit_are_free() -> None:
    budget = ConnectBudget(3)
    assert [budget.acquire(1.0), budget.acquire(2.0), budget.acquire(3.0)] == [0.0, 0.0, 0.0]
    assert budget.remaining(3.0) == 0


def test_next_attempt_waits_until_the_oldest_is_forgotten() -> None:
    budget = ConnectBudget(2)
    budget.acquire(1.0)
    budget.acquire(2.0)
    assert budget.acquire(10.0) == 1.0 + WINDOW_SECONDS - 10.0
    assert budget.acquire(1.0 + WINDOW_SECONDS) == 0.0
    assert budget.acquire(1.0 + WINDOW_SECONDS) == 1.0


def test_pause_holds_back_even_with_attempts_left() -> None:
    budget = ConnectBudget(10)
    budget.hold(30.0, 100.0)
    budget.hold(5.0, 101.0)
    assert budget.acquire(110.0) == 20.0
    assert [budget.hold_left(at) for at in (110.0, 130.0, 140.0)] == [20.0, 0.0, 0.0]
    assert budget.remaining(110.0) == 0
    assert budget.acquire(130.0) == 0.0
    assert budget.remaining(130.0) == 9


def busy_budget() -> ConnectBudget:
    """A budget of eight of which six were taken, from second 1 to 6: the two in reserve are left."""
    budget = ConnectBudget(8)
    assert [budget.acquire(float(at), is_planned=True) for at in range(1, 7)] == [0.0] * 6
    return budget


def test_planned_attempt_waits_until_it_leaves_the_reserve_alone() -> None:
    budget = busy_budget()
    assert budget.acquire(10.0, is_planned=True) == 1.0 + WINDOW_SECONDS - 10.0
    assert budget.acquire(0.999 + WINDOW_SECONDS, is_planned=True) > 0.0
    assert budget.acquire(1.0 + WINDOW_SECONDS, is_planned=True) == 0.0


def test_planned_attempt_waits_longer_where_the_reserve_was_used() -> None:
    budget = busy_budget()
    assert budget.acquire(200.0) == 0.0
    assert budget.acquire(210.0, is_planned=True) == 2.0 + WINDOW_SECONDS - 210.0


def test_reserve_is_given_out_evenly() -> None:
    budget = busy_budget()
    pace = WINDOW_SECONDS / 2
    assert budget.acquire(10.0) == 6.0 + pace - 10.0
    assert budget.acquire(6.0 + pace) == 0.0
    assert budget.acquire(7.0 + pace) == pace - 1.0
    assert budget.remaining(7.0 + pace) == 1


def test_attempt_long_after_the_last_one_need_not_wait_for_its_turn_in_the_reserve() -> None:
    budget = busy_budget()
    assert [budget.acquire(250.0), budget.acquire(251.0)] == [0.0, WINDOW_SECONDS / 2 - 1.0]


def test_attempt_that_was_refused_costs_nothing() -> None:
    budget = busy_budget()
    for is_planned in (True, False):
        assert budget.acquire(10.0, is_planned=is_planned) > 0.0
    assert budget.remaining(10.0) == 2


def test_small_budget_has_no_reserve() -> None:
    budget = ConnectBudget(3)
    assert [budget.acquire(float(at), is_planned=True) for at in (1, 2, 3)] == [0.0] * 3
    assert budget.acquire(4.0) == 1.0 + WINDOW_SECONDS - 4.0


def test_pause_holds_back_the_reserve_too() -> None:
    budget = busy_budget()
    budget.hold(60.0, 200.0)
    assert [budget.acquire(210.0), budget.acquire(210.0, is_planned=True)] == [50.0, 50.0]


def test_lowered_limit_counts_what_was_tried_before() -> None:
    budget = busy_budget()
    budget.limit = 2
    assert budget.remaining(10.0) == 0
    assert budget.acquire(10.0) == 5.0 + WINDOW_SECONDS - 10.0


@given(st.lists(st.floats(0.0, 50.0), max_size=100), st.integers(1, 5))
def test_any_window_holds_no_more_than_the_limit(pauses: list[float], limit: int) -> None:
    budget, now, taken = ConnectBudget(limit, window=60.0), 0.0, []
    for pause in pauses:
        now += pause
        if budget.acquire(now) == 0.0:
            taken.append(now)
    for start in taken:
        assert sum(start <= at < start + 60.0 for at in taken) <= limit


REQUESTS = st.lists(st.tuples(st.floats(0.0, 20.0), st.booleans()), max_size=150)


@given(REQUESTS, st.integers(1, 30))
def test_any_planned_attempt_leaves_the_reserve_alone(requests: list[tuple[float, bool]], limit: int) -> None:
    budget, now = ConnectBudget(limit, window=60.0), 0.0
    for pause, is_planned in requests:
        now += pause
        if budget.acquire(now, is_planned=is_planned) == 0.0 and is_planned:
            assert budget.remaining(now) >= int(limit * RESERVE)


@given(REQUESTS, st.integers(1, 30))
def test_any_attempt_is_free_once_it_has_waited_as_told(
    requests: list[tuple[float, bool]], limit: int
) -> None:
    budget, now = ConnectBudget(limit, window=60.0), 0.0
    for pause, is_planned in requests:
        now += pause
        wait = budget.acquire(now, is_planned=is_planned)
        if wait > 0.0:
            now += wait + 1e-9
            assert budget.acquire(now, is_planned=is_planned) == 0.0


@given(REQUESTS, st.integers(4, 30))
def test_any_storm_waits_no_longer_than_its_turn_in_the_reserve(
    requests: list[tuple[float, bool]], limit: int
) -> None:
    budget, now = ConnectBudget(limit, window=60.0), 0.0
    for pause, is_planned in requests:
        now += pause
        budget.acquire(now, is_planned=is_planned)
        assert budget.acquire(now) <= 60.0 / int(limit * RESERVE) + 1e-9


def test_failures_of_many_feeds_are_an_outage_with_one_attempt_a_second() -> None:
    budget = ConnectBudget(100)
    for number in range(OUTAGE_AFTER - 1):
        budget.failed(f"S{number}", 10.0)
        budget.failed("S0", 10.0)
    began = [budget.outage_since]
    for name, now in (("LAST", 11.0), ("LATER", 12.0)):
        budget.failed(name, now)
        began.append(budget.outage_since)
    assert began == [None, 11.0, 11.0]
    assert budget.acquire(20.0) == 0.0
    assert budget.acquire(20.25) == pytest.approx(PROBE_PAUSE_SECONDS - 0.25)
    assert budget.acquire(20.0 + PROBE_PAUSE_SECONDS) == 0.0


def test_delivery_ends_the_outage() -> None:
    budget = ConnectBudget(100)
    for number in range(OUTAGE_AFTER):
        budget.failed(f"S{number}", 10.0)
    budget.delivered()
    assert budget.outage_since is None
    assert [budget.acquire(11.0), budget.acquire(11.0)] == [0.0, 0.0]
    budget.failed("S0", 12.0)
    assert budget.outage_since is None


def test_the_fewer_wait_for_the_exchange_the_closer_they_come_after_each_other() -> None:
    budget = ConnectBudget(100)
    spreads = [budget.spread]
    for number in range(300):
        budget.failed(f"S{number}", 10.0)
        if number + 1 in (OUTAGE_AFTER - 1, OUTAGE_AFTER, 50, 300):
            spreads.append(budget.spread)
    assert spreads == [1.0, 1.0, pytest.approx(0.05), pytest.approx(0.5), 1.0]
    budget.delivered()
    assert budget.spread == 1.0


def test_weight_within_the_limit_is_free() -> None:
    budget = WeightBudget(100, 4800)
    assert [budget.acquire(25, 1000.0 + second) for second in range(4)] == [0.0] * 4


def test_weight_beyond_the_limit_waits_until_enough_is_a_minute_old() -> None:
    budget = WeightBudget(100, 4800)
    for second in range(4):
        budget.acquire(25, 1000.0 + second)
    assert budget.acquire(4, 1000.0 + 10.0) == 60.0 - 10.0
    assert budget.acquire(26, 1000.0 + 10.0) == 60.0 + 1.0 - 10.0
    assert budget.acquire(100, 1000.0 + 10.0) == 60.0 + 3.0 - 10.0
    assert budget.acquire(4, 1000.0 + 60.0) == 0.0
    assert budget.acquire(100, 1000.0 + 3.0 + 60.0) == 60.0 - 3.0


def test_pause_holds_back_even_with_weight_left() -> None:
    budget = WeightBudget(100, 4800)
    budget.hold(30.0, 1000.0)
    budget.hold(5.0, 1000.0)
    assert budget.acquire(1, 1000.0 + 10.0) == 20.0
    assert budget.acquire(1, 1000.0 + 30.0) == 0.0


@pytest.mark.parametrize(("used", "wait"), [(4800 - 1, 0.0), (4800, 60.0)])
def test_address_near_its_limit_is_left_alone_for_a_minute(used: int, wait: float) -> None:
    budget = WeightBudget.under(6000)
    budget.note_used(used, 1000.0)
    assert budget.acquire(25, 1000.0) == wait


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from((4, 25))), max_size=100))
def test_any_minute_holds_no_more_than_the_limit(requests: list[tuple[float, int]]) -> None:
    budget, now, taken = WeightBudget(100, 4800), 0.0, []
    for pause, weight in requests:
        now += pause
        while (wait := budget.acquire(weight, now)) > 0.0:
            now = max(now + wait, now + 0.001)
        taken.append((now, weight))
    for start, _ in taken:
        assert sum(weight for at, weight in taken if start <= at < start + 60.0) <= 100


def test_other_limit_acts_on_the_next_attempt() -> None:
    budget = ConnectBudget(1)
    assert budget.acquire(0.0) == 0.0
    assert budget.acquire(1.0) > 0.0
    budget.apply_limit(240)
    assert budget.acquire(1.0) == 0.0


def test_other_venues_share_forgets_neither_what_was_used_nor_a_pause() -> None:
    budget = WeightBudget.under(6000)
    assert budget.acquire(1200, 1000.0) == 0.0
    budget.apply_share(6000)
    assert budget.acquire(25, 1001.0) == 59.0
    budget.note_used(960, 1002.0)
    assert budget.acquire(25, 1060.0) == 0.0
    budget.apply_share(1200)
    assert budget.acquire(240, 1061.0) > 0.0
    budget.note_used(960, 1062.0)
    assert budget.acquire(25, 1063.0) == 59.0
