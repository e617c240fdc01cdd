"""The connect budget: never more than its limit in any window, and a pause holds everyone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedd.core.budget import WINDOW_SECONDS, ConnectBudget


def test_attempts_within_the_limit_are_free() -> None:
    budget = ConnectBudget(3)
    assert [budget.take(1.0), budget.take(2.0), budget.take(3.0)] == [0.0, 0.0, 0.0]
    assert budget.remaining(3.0) == 0


def test_next_attempt_waits_until_the_oldest_is_forgotten() -> None:
    budget = ConnectBudget(2)
    budget.take(1.0)
    budget.take(2.0)
    assert budget.take(10.0) == 1.0 + WINDOW_SECONDS - 10.0
    assert budget.take(1.0 + WINDOW_SECONDS) == 0.0
    assert budget.take(1.0 + WINDOW_SECONDS) == 1.0


def test_pause_holds_back_even_with_attempts_left() -> None:
    budget = ConnectBudget(10)
    budget.hold(30.0, 100.0)
    budget.hold(5.0, 101.0)
    assert budget.take(110.0) == 20.0
    assert [budget.hold_left(at) for at in (110.0, 130.0, 140.0)] == [20.0, 0.0, 0.0]
    assert budget.remaining(110.0) == 0
    assert budget.take(130.0) == 0.0
    assert budget.remaining(130.0) == 9


def test_lowered_limit_counts_what_was_tried_before() -> None:
    budget = ConnectBudget(4)
    for at in (1.0, 2.0, 3.0, 4.0):
        budget.take(at)
    budget.limit = 2
    assert budget.remaining(5.0) == 0
    assert budget.take(5.0) == 3.0 + WINDOW_SECONDS - 5.0


@given(st.lists(st.floats(0.0, 50.0), max_size=100), st.integers(1, 5))
def test_any_window_holds_no_more_than_the_limit(pauses: list[float], limit: int) -> None:
    budget, now, taken = ConnectBudget(limit, window=60.0), 0.0, []
    for pause in pauses:
        now += pause
        if budget.take(now) == 0.0:
            taken.append(now)
    for start in taken:
        assert sum(start <= at < start + 60.0 for at in taken) <= limit
