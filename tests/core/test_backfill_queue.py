"""What is asked next, how often, how much of it in a minute, and when it is given up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.backfill_queue import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    MINUTE,
    PATIENCE_SECONDS,
    SETTLE_SECONDS,
    TRIES_MAX,
    USED_MAX,
    WEIGHT_PER_MINUTE,
    Backlog,
    HistoryPage,
    Job,
    WeightBudget,
)
from feedd.core.symbol_state import StreamState
from feedd.venues.binance.spot.streams import Subscription, parse_stream

NOW = 1000.0


def test_weight_within_the_limit_is_free() -> None:
    budget = WeightBudget(100)
    assert [budget.acquire(25, NOW + second) for second in range(4)] == [0.0] * 4


def test_weight_beyond_the_limit_waits_until_enough_is_a_minute_old() -> None:
    budget = WeightBudget(100)
    for second in range(4):
        budget.acquire(25, NOW + second)
    assert budget.acquire(4, NOW + 10.0) == MINUTE - 10.0
    assert budget.acquire(26, NOW + 10.0) == MINUTE + 1.0 - 10.0
    assert budget.acquire(100, NOW + 10.0) == MINUTE + 3.0 - 10.0
    assert budget.acquire(4, NOW + MINUTE) == 0.0
    assert budget.acquire(100, NOW + 3.0 + MINUTE) == MINUTE - 3.0


def test_pause_holds_back_even_with_weight_left() -> None:
    budget = WeightBudget(100)
    budget.hold(30.0, NOW)
    budget.hold(5.0, NOW)
    assert budget.acquire(1, NOW + 10.0) == 20.0
    assert budget.acquire(1, NOW + 30.0) == 0.0


@pytest.mark.parametrize(("used", "wait"), [(USED_MAX - 1, 0.0), (USED_MAX, MINUTE)])
def test_address_near_its_limit_is_left_alone_for_a_minute(used: int, wait: float) -> None:
    budget = WeightBudget()
    budget.note_used(used, NOW)
    assert budget.acquire(25, NOW) == wait


@given(st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from((4, 25))), max_size=100))
def test_any_minute_holds_no_more_than_the_limit(requests: list[tuple[float, int]]) -> None:
    budget, now, taken = WeightBudget(100), 0.0, []
    for pause, weight in requests:
        now += pause
        while (wait := budget.acquire(weight, now)) > 0.0:
            now = max(now + wait, now + 0.001)
        taken.append((now, weight))
    for start, _ in taken:
        assert sum(weight for at, weight in taken if start <= at < start + MINUTE) <= 100


def stream_state(*holes: tuple[int, int]) -> StreamState:
    made = StreamState(Subscription("BTCUSDT", parse_stream("trade")))
    made.sequence.missing.is_fetched = True
    for hole in holes:
        made.sequence.missing.skipped(*hole)
    return made


def job(*holes: tuple[int, int]) -> Job:
    return Job(stream_state(*holes), NOW)


def lost(of: Job) -> list[tuple[int, int, str]]:
    return [(loss.first, loss.last, loss.why) for loss in of.stream_state.sequence.missing.losses]


@pytest.mark.parametrize(
    ("holes", "first", "last"),
    [
        ([(10, 10)], 10, 10),
        ([(10, 1009)], 10, 1009),
        ([(10, 1010)], 10, 1009),
        ([(10, 11), (20, 24), (1000, 1009)], 10, 1009),
        ([(10, 11), (20, 24), (1000, 1010)], 10, 1009),
        ([(10, 11), (20, 24), (1010, 1010)], 10, 24),
    ],
)
def test_page_begins_with_the_oldest_and_holds_what_one_answer_does(
    holes: list[tuple[int, int]], first: int, last: int
) -> None:
    page = job(*holes).page()
    assert (page.first, page.last, page.count) == (first, last, last - first + 1)


def test_ten_thousand_ids_are_ten_pages_and_a_fifth_of_a_minute_s_weight() -> None:
    made, budget, pages = job((1, 10_000)), WeightBudget(), 0
    while not made.is_done:
        page = made.page()
        assert budget.acquire(25, NOW) == 0.0
        for number in range(page.first, page.last + 1):
            assert made.stream_state.sequence.missing.fetched(number)
        made.answered(page, page.last, NOW, 0.5)
        pages += 1
    assert (pages, lost(made)) == (10, [])
    assert budget.acquire(WEIGHT_PER_MINUTE - 250, NOW) == 0.0
    assert budget.acquire(1, NOW) > 0.0


def take(made: Job, page: HistoryPage, *numbers: int) -> None:
    for number in numbers:
        made.stream_state.sequence.missing.fetched(number)
    made.answered(page, numbers[-1] if numbers else None, NOW + 5.0, 0.5)


def test_new_job_lets_the_stream_settle_first() -> None:
    assert job((10, 12)).due_at == NOW + SETTLE_SECONDS


def test_answer_with_all_of_it_ends_the_job() -> None:
    made = job((10, 12))
    take(made, made.page(), 10, 11, 12)
    assert made.is_done
    assert (lost(made), made.stream_state.sequence.missing.backfilled) == ([], 3)


def test_ids_that_the_answer_passes_over_are_lost_at_once() -> None:
    made = job((10, 15))
    take(made, made.page(), 11, 14, 20)
    assert made.is_done
    assert lost(made) == [(10, 15, "the exchange has no such ids")]
    assert made.stream_state.sequence.missing.lost == 4


def test_answer_beyond_the_page_says_nothing_of_other_holes() -> None:
    made = job((10, 12), (5000, 5001))
    take(made, made.page(), 10, 11, 12, 6000)
    assert list(made.stream_state.sequence.missing.pending) == [(5000, 5001)]
    assert (made.due_at, lost(made)) == (NOW + 5.0, [])


def test_rest_of_a_short_answer_is_asked_for_again_after_a_while() -> None:
    made = job((10, 15))
    take(made, made.page(), 10, 12)
    assert list(made.stream_state.sequence.missing.pending) == [(13, 15)]
    assert lost(made) == [(11, 11, "the exchange has no such ids")]
    assert made.due_at == NOW + 5.0 + 0.75 * FIRST_RETRY_SECONDS


def test_empty_answers_are_tries() -> None:
    made = job((10, 12))
    for _ in range(TRIES_MAX):
        take(made, made.page())
    assert lost(made) == [(10, 12, "the exchange did not have them in time")]


def test_failures_are_tried_again_ever_later_and_then_given_up() -> None:
    made, now, waits = job((10, 12), (5000, 5001)), NOW, []
    for _ in range(TRIES_MAX - 1):
        made.failed(made.page(), "500", now, 1.0)
        waits.append(made.due_at - now)
        now = made.due_at
    assert waits == [FIRST_RETRY_SECONDS * 2.0**attempt for attempt in range(TRIES_MAX - 1)]
    assert max(waits) <= LONGEST_RETRY_SECONDS
    assert lost(made) == []
    made.failed(made.page(), "500", now, 1.0)
    assert lost(made) == [(10, 12, "500")]
    assert list(made.stream_state.sequence.missing.pending) == [(5000, 5001)]
    assert made.due_at == now
    # The next page has as many tries.
    made.failed(made.page(), "500", now, 1.0)
    assert (made.due_at - now, made.is_done) == (FIRST_RETRY_SECONDS, False)


def test_success_forgets_the_failures_before() -> None:
    made = job((10, 3000))
    for _ in range(TRIES_MAX - 1):
        made.failed(made.page(), "500", NOW, 1.0)
    take(made, made.page(), *range(10, 1010))
    for _ in range(TRIES_MAX - 1):
        made.failed(made.page(), "500", NOW, 1.0)
    assert lost(made) == []


def test_answer_of_no_use_gives_up_its_page_alone() -> None:
    made = job((10, 12), (5000, 5001))
    made.give_up(made.page(), "nonsense", NOW + 3.0)
    assert lost(made) == [(10, 12, "nonsense")]
    assert (made.page().first, made.due_at) == (5000, NOW + 3.0)


def test_page_is_of_the_past_once_the_ids_began_anew() -> None:
    made = job((10, 12))
    page = made.page()
    assert made.is_current(page)
    made.stream_state.sequence.missing.begin_anew("a wipe")
    made.stream_state.sequence.missing.skipped(10, 12)
    assert not made.is_current(page)
    assert made.is_current(made.page())


def test_patience_ends_a_while_after_the_last_progress() -> None:
    made = job((10, 12), (5000, 5001))
    made.lose_patience(NOW + PATIENCE_SECONDS - 1.0)
    assert lost(made) == []
    take(made, made.page(), 10, 11, 12)
    made.lose_patience(NOW + PATIENCE_SECONDS)
    assert lost(made) == []
    made.lose_patience(NOW + 5.0 + PATIENCE_SECONDS)
    assert made.is_done
    assert lost(made) == [(5000, 5001, "nothing came for 15 minutes")]


def test_backlog_serves_the_one_that_waits_longest_and_lets_streams_take_turns() -> None:
    backlog, large, small = Backlog(), stream_state((1, 5000)), stream_state((1, 1))
    assert (backlog.next_job(), len(backlog)) == (None, 0)
    backlog.note(large, NOW)
    backlog.note(small, NOW + 0.5)
    backlog.note(large, NOW + 3.0)
    assert len(backlog) == 2
    first = backlog.next_job()
    assert first is not None and first.stream_state is large
    take(first, first.page(), *range(1, 1001))
    second = backlog.next_job()
    assert second is not None and second.stream_state is small
    take(second, second.page(), 1)
    assert backlog.next_job() is first


def test_job_that_is_done_is_kept_until_it_is_dropped() -> None:
    backlog, one = Backlog(), stream_state((1, 1))
    backlog.note(one, NOW)
    (made,) = backlog
    one.sequence.missing.fetched(1)
    assert backlog.next_job() is None
    assert [made in backlog, len(backlog)] == [True, 1]
    backlog.drop(job for job in backlog if job.is_done)
    assert [made in backlog, len(backlog)] == [False, 0]
    backlog.note(one, NOW)
    assert [made in backlog, len(backlog)] == [False, 1]
