"""What is asked next, how often, how much of it in a minute, and when it is given up."""

from __future__ import annotations

import pytest

from feedd.core.backfill_queue import BackfillTiming, Backlog, HistoryPage, Job
from feedd.core.budgets import WeightBudget
from feedd.core.route_state import RouteState
from feedd.core.stream_state import StreamState
from feedd.model import Subscription
from feedd.venues.binance.spot.tables import SPOT

NOW = 1000.0
PAGE = 1000
TIMING = BackfillTiming()


def stream_state(*holes: tuple[int, int]) -> StreamState:
    made = StreamState(Subscription("BTCUSDT", SPOT.parse_stream("trade")), RouteState("", 10.0, NOW))
    made.sequence.ledger.fetch(True)
    for hole in holes:
        made.sequence.ledger.skipped(*hole)
    return made


def job(*holes: tuple[int, int]) -> Job:
    return Job(stream_state(*holes), NOW, TIMING)


def lost(of: Job) -> list[tuple[int, int, str]]:
    return [(loss.first, loss.last, loss.why) for loss in of.stream_state.sequence.ledger.losses]


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
    page = job(*holes).page(PAGE)
    assert (page.first, page.last, page.count) == (first, last, last - first + 1)


def test_ten_thousand_ids_are_ten_pages_and_a_fifth_of_a_minute_s_weight() -> None:
    made, budget, pages = job((1, 10_000)), WeightBudget.under(6000), 0
    while not made.is_done:
        page = made.page(PAGE)
        assert budget.acquire(25, NOW) == 0.0
        for number in range(page.first, page.last + 1):
            assert made.stream_state.sequence.ledger.fetched(number)
        made.answered(page, page.last, NOW, 0.5)
        pages += 1
    assert (pages, lost(made)) == (10, [])
    assert budget.acquire(1200 - 250, NOW) == 0.0
    assert budget.acquire(1, NOW) > 0.0


def take(made: Job, page: HistoryPage, *numbers: int) -> None:
    for number in numbers:
        made.stream_state.sequence.ledger.fetched(number)
    made.answered(page, numbers[-1] if numbers else None, NOW + 5.0, 0.5)


def test_new_job_lets_the_stream_settle_first() -> None:
    assert job((10, 12)).due_at == NOW + TIMING.settle


def test_answer_with_all_of_it_ends_the_job() -> None:
    made = job((10, 12))
    take(made, made.page(PAGE), 10, 11, 12)
    assert made.is_done
    assert (lost(made), made.stream_state.sequence.ledger.backfilled) == ([], 3)


def test_ids_that_the_answer_passes_over_are_lost_at_once() -> None:
    made = job((10, 15))
    take(made, made.page(PAGE), 11, 14, 20)
    assert made.is_done
    assert lost(made) == [(10, 15, "the exchange has no such ids")]
    assert made.stream_state.sequence.ledger.lost == 4


def test_answer_beyond_the_page_says_nothing_of_other_holes() -> None:
    made = job((10, 12), (5000, 5001))
    take(made, made.page(PAGE), 10, 11, 12, 6000)
    assert list(made.stream_state.sequence.ledger.pending) == [(5000, 5001)]
    assert (made.due_at, lost(made)) == (NOW + 5.0, [])


def test_rest_of_a_short_answer_is_asked_for_again_after_a_while() -> None:
    made = job((10, 15))
    take(made, made.page(PAGE), 10, 12)
    assert list(made.stream_state.sequence.ledger.pending) == [(13, 15)]
    assert lost(made) == [(11, 11, "the exchange has no such ids")]
    assert made.due_at == NOW + 5.0 + 0.75 * TIMING.first_retry


def test_empty_answers_are_tries() -> None:
    made = job((10, 12))
    for _ in range(TIMING.tries_max):
        take(made, made.page(PAGE))
    assert lost(made) == [(10, 12, "the exchange did not have them in time")]


def test_failures_are_tried_again_ever_later_and_then_given_up() -> None:
    made, now, waits = job((10, 12), (5000, 5001)), NOW, []
    for _ in range(TIMING.tries_max - 1):
        made.failed(made.page(PAGE), "500", now, 1.0)
        waits.append(made.due_at - now)
        now = made.due_at
    assert waits == [TIMING.first_retry * 2.0**attempt for attempt in range(TIMING.tries_max - 1)]
    assert max(waits) <= TIMING.longest_retry
    assert lost(made) == []
    made.failed(made.page(PAGE), "500", now, 1.0)
    assert lost(made) == [(10, 12, "500")]
    assert list(made.stream_state.sequence.ledger.pending) == [(5000, 5001)]
    assert made.due_at == now
    # The next page has as many tries.
    made.failed(made.page(PAGE), "500", now, 1.0)
    assert (made.due_at - now, made.is_done) == (TIMING.first_retry, False)


def test_success_forgets_the_failures_before() -> None:
    made = job((10, 3000))
    for _ in range(TIMING.tries_max - 1):
        made.failed(made.page(PAGE), "500", NOW, 1.0)
    take(made, made.page(PAGE), *range(10, 1010))
    for _ in range(TIMING.tries_max - 1):
        made.failed(made.page(PAGE), "500", NOW, 1.0)
    assert lost(made) == []


def test_answer_of_no_use_gives_up_its_page_alone() -> None:
    made = job((10, 12), (5000, 5001))
    made.give_up(made.page(PAGE), "nonsense", NOW + 3.0)
    assert lost(made) == [(10, 12, "nonsense")]
    assert (made.page(PAGE).first, made.due_at) == (5000, NOW + 3.0)


def test_page_is_of_the_past_once_the_ids_began_anew() -> None:
    made = job((10, 12))
    page = made.page(PAGE)
    assert made.is_current(page)
    made.stream_state.sequence.ledger.begin_anew("a wipe")
    made.stream_state.sequence.ledger.skipped(10, 12)
    assert not made.is_current(page)
    assert made.is_current(made.page(PAGE))


def test_patience_ends_a_while_after_the_last_progress() -> None:
    made = job((10, 12), (5000, 5001))
    made.lose_patience(NOW + TIMING.patience - 1.0)
    assert lost(made) == []
    take(made, made.page(PAGE), 10, 11, 12)
    made.lose_patience(NOW + TIMING.patience)
    assert lost(made) == []
    made.lose_patience(NOW + 5.0 + TIMING.patience)
    assert made.is_done
    assert lost(made) == [(5000, 5001, "nothing came for 15 minutes")]


def test_backlog_serves_the_one_that_waits_longest_and_lets_streams_take_turns() -> None:
    backlog, large, small = Backlog(TIMING), stream_state((1, 5000)), stream_state((1, 1))
    assert (backlog.next_job(), len(backlog)) == (None, 0)
    backlog.note(large, NOW)
    backlog.note(small, NOW + 0.5)
    backlog.note(large, NOW + 3.0)
    assert len(backlog) == 2
    first = backlog.next_job()
    assert first is not None and first.stream_state is large
    take(first, first.page(PAGE), *range(1, 1001))
    second = backlog.next_job()
    assert second is not None and second.stream_state is small
    take(second, second.page(PAGE), 1)
    assert backlog.next_job() is first


def test_job_that_is_done_is_kept_until_it_is_dropped() -> None:
    backlog, one = Backlog(TIMING), stream_state((1, 1))
    backlog.note(one, NOW)
    (made,) = backlog
    one.sequence.ledger.fetched(1)
    assert backlog.next_job() is None
    assert [made in backlog, len(backlog)] == [True, 1]
    backlog.drop(job for job in backlog if job.is_done)
    assert [made in backlog, len(backlog)] == [False, 0]
    backlog.note(one, NOW)
    assert [made in backlog, len(backlog)] == [False, 1]


def test_what_was_found_is_counted() -> None:
    made = job((1, 3))
    made.found()
    made.found()
    assert made.fetched == 2
