"""What each stream's identity proves: news, repetitions, holes and ids that began anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.gaps import HOLES_REMEMBERED
from feedd.core.sequence import (
    COPY_LAG_MS,
    EVENT_TIMES_REMEMBERED,
    IDENTITIES_REMEMBERED,
    LOWER_IN_ORDER,
    SERVERS_DIFFER_MS,
    EventTimeSequence,
    RisingSequence,
    Sequence,
    SpanSequence,
    StepSequence,
)
from feedd.model import StreamKind
from feedd.venues.binance.spot.payloads import Payload
from tests.support.spot import DEFINITION_OF, sequence_of
from tests.venues.binance.spot.frames import EVENT_TIME, data


def trade(trade_id: int, time: int | None = None) -> Payload:
    """A trade; the event time rises with the id unless given."""
    return data("trade", t=trade_id, E=EVENT_TIME + (trade_id if time is None else time))


def aggregate(aggregate_id: int, time: int | None = None) -> Payload:
    return data("aggTrade", a=aggregate_id, E=EVENT_TIME + (aggregate_id if time is None else time))


def depth(first: int, last: int, time: int | None = None) -> Payload:
    return data("depth@100ms", U=first, u=last, E=EVENT_TIME + (last if time is None else time))


def quote(update_id: int) -> Payload:
    return data("bookTicker", u=update_id)


def book(update_id: int) -> Payload:
    return data("depth5", lastUpdateId=update_id)


def kline(time: int, close: str = "1.0") -> Payload:
    candle = {
        "t": EVENT_TIME, "T": EVENT_TIME, "s": "BTCUSDT", "i": "1s", "f": 1, "L": 2, "o": "1", "c": close,
        "h": "1", "l": "1", "v": "1", "n": 2, "x": False, "q": "1", "V": "1", "Q": "1",
    }  # fmt: skip
    return data("kline_1s", E=EVENT_TIME + time, k=candle)


def admitted(sequence: Sequence, payloads: Iterable[Payload]) -> list[bool]:
    return [sequence.admit(payload) for payload in payloads]


def counts(sequence: Sequence) -> tuple[int, int, int, int]:
    return sequence.duplicates, sequence.gaps, sequence.missed, sequence.resets


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (StreamKind.TRADE, StepSequence),
        (StreamKind.AGG_TRADE, StepSequence),
        (StreamKind.DEPTH, SpanSequence),
        (StreamKind.BOOK_TICKER, RisingSequence),
        (StreamKind.PARTIAL_DEPTH, RisingSequence),
        (StreamKind.KLINE, EventTimeSequence),
        (StreamKind.MINI_TICKER, EventTimeSequence),
        (StreamKind.TICKER, EventTimeSequence),
        (StreamKind.WINDOW_TICKER, EventTimeSequence),
        (StreamKind.AVERAGE_PRICE, EventTimeSequence),
    ],
)
def test_kind_has_its_rule(kind: StreamKind, expected: type[Sequence]) -> None:
    assert type(sequence_of(kind)) is expected


CONSECUTIVE = pytest.mark.parametrize(
    ("kind", "message"),
    [
        (StreamKind.TRADE, trade),
        (StreamKind.AGG_TRADE, aggregate),
        (StreamKind.DEPTH, lambda one: depth(one, one)),
    ],
)


@pytest.mark.parametrize(
    ("ids", "news", "expected"),
    [
        ([5, 6, 7], [True, True, True], (0, 0, 0, 0)),
        ([5, 6, 6, 7], [True, True, False, True], (1, 0, 0, 0)),
        ([5, 6, 5, 7], [True, True, False, True], (1, 0, 0, 0)),
        ([5, 8], [True, True], (0, 1, 2, 0)),
        ([5, 8, 20], [True, True, True], (0, 2, 13, 0)),
        ([5, 8, 7, 6], [True, True, True, True], (0, 1, 2, 0)),
        ([5, 8, 6, 6, 7], [True, True, True, False, True], (1, 1, 2, 0)),
        ([5, 12, 8, 7, 9, 8, 6, 10, 11, 13], [True] * 5 + [False] + [True] * 4, (1, 1, 6, 0)),
        ([5, 4], [True, False], (1, 0, 0, 0)),
    ],
)
@CONSECUTIVE
def test_ids_that_step_by_one_prove_repetition_and_loss(
    kind: StreamKind,
    message: Callable[[int], Payload],
    ids: list[int],
    news: list[bool],
    expected: tuple[int, ...],
) -> None:
    sequence = sequence_of(kind)
    assert admitted(sequence, map(message, ids)) == news
    assert counts(sequence) == expected


@pytest.mark.parametrize(
    ("spans", "news", "expected"),
    [
        ([(10, 15), (16, 16), (17, 30)], [True, True, True], (0, 0, 0, 0)),
        ([(10, 15), (16, 20), (10, 15)], [True, True, False], (1, 0, 0, 0)),
        ([(10, 15), (21, 30)], [True, True], (0, 1, 5, 0)),
        ([(10, 15), (21, 30), (16, 18), (19, 20)], [True] * 4, (0, 1, 5, 0)),
        ([(10, 15), (21, 30), (20, 22)], [True, True, False], (1, 1, 5, 0)),
        ([(10, 15), (12, 20), (21, 21)], [True, True, True], (0, 0, 0, 0)),
    ],
)
def test_depth_follows_from_last_to_first_update(
    spans: list[tuple[int, int]], news: list[bool], expected: tuple[int, ...]
) -> None:
    sequence = sequence_of(StreamKind.DEPTH)
    assert admitted(sequence, [depth(*span) for span in spans]) == news
    assert counts(sequence) == expected


@pytest.mark.parametrize(
    ("sequence", "before", "after"),
    [
        (StepSequence("trade_id"), [trade(1_000, 0), trade(1_001, 1)], [trade(1, 2), trade(2, 3)]),
        (
            StepSequence("aggregate_id"),
            [aggregate(1_000, 0), aggregate(1_001, 1)],
            [aggregate(1, 2), aggregate(2, 3)],
        ),
        (
            SpanSequence("first_update_id", "last_update_id"),
            [depth(1_000, 1_004, 0), depth(1_005, 1_009, 1)],
            [depth(1, 9, 2), depth(10, 12, 3)],
        ),
    ],
)
def test_lower_id_with_later_event_time_is_a_new_beginning_and_no_loss(
    sequence: Sequence, before: list[Payload], after: list[Payload]
) -> None:
    assert admitted(sequence, before + after) == [True] * 4
    assert counts(sequence) == (0, 0, 0, 1)


def test_new_beginning_forgets_the_holes() -> None:
    sequence = sequence_of(StreamKind.TRADE)
    news = admitted(sequence, [trade(1_000, 0), trade(1_010, 1), trade(1, 2), trade(1_005, 0)])
    assert news == [True, True, True, True]
    # The straggler is taken for a jump ahead: to know better, every hole of the past would have to be kept.
    assert counts(sequence) == (0, 2, 9 + 1_003, 1)


def test_hole_of_before_a_new_beginning_cannot_be_filled() -> None:
    sequence = sequence_of(StreamKind.TRADE)
    admitted(sequence, [trade(1_000, 0), trade(1_010, 1), trade(1, 2), trade(2_000, 3)])
    assert admitted(sequence, [trade(1_005, 2), trade(1_005, 2)]) == [True, False]


def test_only_the_latest_holes_are_remembered() -> None:
    sequence = sequence_of(StreamKind.TRADE)
    odd = [trade(trade_id) for trade_id in range(1, 2 * HOLES_REMEMBERED + 4, 2)]
    assert all(admitted(sequence, odd))
    assert admitted(sequence, [trade(2), trade(4)]) == [False, True]
    assert counts(sequence) == (1, HOLES_REMEMBERED + 1, HOLES_REMEMBERED + 1, 0)


@CONSECUTIVE
def test_forgetting_takes_any_next_message_for_the_first_and_keeps_the_counts(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = sequence_of(kind)
    admitted(sequence, map(message, [10, 20, 20]))
    sequence.forget()
    assert admitted(sequence, map(message, [5, 6, 12])) == [True, True, True]
    assert counts(sequence) == (1, 2, 9 + 5, 0)


@pytest.mark.parametrize(
    ("ids", "news", "expected"),
    [
        ([5, 9, 10, 1_000], [True] * 4, (0, 0, 0, 0)),
        ([5, 9, 9], [True, True, False], (1, 0, 0, 0)),
        ([5, 9, 5], [True, True, False], (1, 0, 0, 0)),
        ([5, 9, 7], [True, True, False], (1, 0, 0, 0)),
        ([5_000, 5_001, 1, 2, 2], [True, True, True, True, False], (1, 0, 0, 1)),
    ],
)
def test_quotes_must_rise_and_may_skip(ids: list[int], news: list[bool], expected: tuple[int, ...]) -> None:
    sequence = sequence_of(StreamKind.BOOK_TICKER)
    assert admitted(sequence, map(quote, ids)) == news
    assert counts(sequence) == expected


@pytest.mark.parametrize(
    ("behind", "expected"), [(IDENTITIES_REMEMBERED - 1, False), (IDENTITIES_REMEMBERED, True)]
)
def test_quote_older_than_all_that_are_remembered_is_a_new_beginning(behind: int, expected: bool) -> None:
    sequence = sequence_of(StreamKind.BOOK_TICKER)
    admitted(sequence, map(quote, range(1_000)))
    assert sequence.admit(quote(999 - behind)) is expected


def test_book_that_did_not_change_is_as_good_as_new() -> None:
    sequence = sequence_of(StreamKind.PARTIAL_DEPTH)
    assert admitted(sequence, map(book, [5, 5, 9, 9, 7, 5])) == [True, True, True, True, False, False]
    assert counts(sequence) == (2, 0, 0, 0)


@pytest.mark.parametrize(
    ("messages", "news", "expected"),
    [
        ([(0, "1"), (1_000, "1"), (2_000, "1")], [True] * 3, (0, 0, 0, 0)),
        ([(0, "1"), (0, "1")], [True, False], (1, 0, 0, 0)),
        ([(0, "1"), (0, "2")], [True, True], (0, 0, 0, 0)),
        ([(0, "1"), (0, "2"), (0, "1"), (0, "2")], [True, True, False, False], (2, 0, 0, 0)),
        ([(0, "1"), (1_000, "2"), (0, "3")], [True, True, False], (1, 0, 0, 0)),
        ([(9_000, "1"), (0, "1"), (1_000, "1")], [True, True, True], (0, 0, 0, 1)),
    ],
)
def test_candles_must_rise_in_event_time_unless_they_differ(
    messages: list[tuple[int, str]], news: list[bool], expected: tuple[int, ...]
) -> None:
    sequence = sequence_of(StreamKind.KLINE)
    assert admitted(sequence, [kline(time, close) for time, close in messages]) == news
    assert counts(sequence) == expected


@pytest.mark.parametrize(
    ("behind", "expected"), [(EVENT_TIMES_REMEMBERED - 1, False), (EVENT_TIMES_REMEMBERED, True)]
)
def test_clock_set_back_by_more_than_is_remembered_is_a_new_beginning(behind: int, expected: bool) -> None:
    sequence = sequence_of(StreamKind.KLINE)
    admitted(sequence, [kline(time) for time in range(20)])
    assert sequence.admit(kline(19 - behind, close="2.0")) is expected


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (RisingSequence("update_id"), quote),
        (RisingSequence("last_update_id", may_repeat=True), book),
        (EventTimeSequence(), kline),
    ],
)
def test_rising_identity_may_begin_anywhere_once_forgotten(
    sequence: Sequence, message: Callable[[int], Payload]
) -> None:
    admitted(sequence, map(message, [10, 20, 15]))
    sequence.forget()
    assert admitted(sequence, map(message, [20, 30])) == [True, True]
    assert counts(sequence) == (1, 0, 0, 0)


def test_forgetting_takes_candles_that_share_a_time_for_new_too() -> None:
    sequence = sequence_of(StreamKind.KLINE)
    twins = [kline(0, "1"), kline(0, "2")]
    admitted(sequence, twins)
    sequence.forget()
    assert admitted(sequence, twins + twins) == [True, True, False, False]


@dataclass(frozen=True)
class Delivery:
    """Spans of ids in the order in which they arrive: some late, some lost, some twice."""

    spans: list[tuple[int, int]]

    def payloads(self, message: Callable[[int, int, int], Payload]) -> list[Payload]:
        """Return the messages; the event time rises with the id."""
        start = min((first for first, _ in self.spans), default=0)
        return [message(first, last, last - start) for first, last in self.spans]

    def news(self) -> list[bool]:
        """Tell what must be admitted: what was not seen, and is not older than the first that was."""
        seen: set[int] = set()
        news = []
        for first, last in self.spans:
            span = set(range(first, last + 1))
            news.append(not seen or (first > min(seen) and not span & seen))
            seen |= span if news[-1] else set()
        return news

    def never_seen_and_late(self) -> tuple[int, int]:
        """Count the ids that never came, and those that came after a later one had."""
        spans = [span for span, is_new in zip(self.spans, self.news(), strict=True) if is_new]
        newest, late = -1, 0
        for first, last in spans:
            late += last - first + 1 if first < newest else 0
            newest = max(newest, last)
        whole = newest - spans[0][0] + 1 if spans else 0
        return whole - sum(last - first + 1 for first, last in spans), late


@st.composite
def deliveries(draw: st.DrawFn, longest: int = 1) -> Delivery:
    lengths_and_delays = st.tuples(
        st.integers(1, longest),
        st.sampled_from(([0], [0], [0], [], [0, 0], [0, 6], [3], [12])),
    )
    next_id = draw(st.integers(0, 2**40))
    arrivals = []
    for position, (length, delays) in enumerate(draw(st.lists(lengths_and_delays, max_size=60))):
        arrivals += [(position + delay, next_id, next_id + length - 1) for delay in delays]
        next_id += length
    return Delivery([(first, last) for _, first, last in sorted(arrivals)])


def check_accounting(sequence: Sequence, delivery: Delivery, payloads: list[Payload]) -> None:
    news = delivery.news()
    assert admitted(sequence, payloads) == news
    assert (sequence.duplicates, sequence.resets) == (news.count(False), 0)
    never_seen, late = delivery.never_seen_and_late()
    assert sequence.missed == never_seen + late


@given(deliveries())
def test_any_delivery_of_trades_is_accounted_for(delivery: Delivery) -> None:
    check_accounting(
        StepSequence("trade_id"), delivery, delivery.payloads(lambda first, _, time: trade(first, time))
    )


@given(deliveries())
def test_any_delivery_of_aggregate_trades_is_accounted_for(delivery: Delivery) -> None:
    payloads = delivery.payloads(lambda first, _, time: aggregate(first, time))
    check_accounting(StepSequence("aggregate_id"), delivery, payloads)


@given(deliveries(longest=20))
def test_any_delivery_of_depth_is_accounted_for(delivery: Delivery) -> None:
    check_accounting(SpanSequence("first_update_id", "last_update_id"), delivery, delivery.payloads(depth))


@given(deliveries(), deliveries())
def test_any_new_beginning_is_judged_like_a_first_one(before: Delivery, after: Delivery) -> None:
    sequence, fresh = StepSequence("trade_id"), StepSequence("trade_id")
    admitted(sequence, before.payloads(lambda first, _, time: trade(first + 2**50, time)))
    old = counts(sequence)
    payloads = after.payloads(lambda first, _, time: trade(first, time + 10_000))
    assert admitted(sequence, payloads) == admitted(fresh, payloads)
    assert (sequence.gaps - old[1], sequence.missed - old[2]) == (fresh.gaps, fresh.missed)
    assert sequence.resets == (1 if before.spans and after.spans else 0)


@CONSECUTIVE
def test_hole_that_is_being_fetched_is_no_loss_until_the_ids_begin_anew(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = sequence_of(kind)
    sequence.ledger.is_fetched = True
    admitted(sequence, map(message, [10, 15, 12]))
    assert counts(sequence) == (0, 1, 0, 0)
    assert list(sequence.ledger.pending) == [(11, 11), (13, 14)]
    assert sequence.ledger.fetched(14)
    assert admitted(sequence, [message(14), message(13)]) == [False, True]
    sequence.forget()
    assert counts(sequence) == (1, 1, 1, 0)


@given(st.lists(st.integers(0, 200), max_size=200))
def test_any_quotes_that_are_admitted_rise_between_new_beginnings(ids: list[int]) -> None:
    sequence = sequence_of(StreamKind.BOOK_TICKER)
    last = -1
    for update_id in ids:
        resets = sequence.resets
        if sequence.admit(quote(update_id)):
            assert update_id > last or sequence.resets == resets + 1
            last = update_id
    assert sequence.missed == sequence.gaps == 0


def merged(messages: list[Payload], turns: list[bool]) -> list[Payload]:
    """Let two connections deliver the same messages, each in order, taking turns as told."""
    waiting = {True: list(reversed(messages)), False: list(reversed(messages))}
    taken = [waiting[turn].pop() for turn in turns if waiting[turn]]
    return taken + waiting[True][::-1] + waiting[False][::-1]


CANDLES = st.sets(st.tuples(st.integers(1, EVENT_TIMES_REMEMBERED), st.sampled_from("123"))).map(
    lambda found: [kline(*message) for message in sorted(found)]
)
QUOTES = st.sets(st.integers(0, 1_000), max_size=IDENTITIES_REMEMBERED).map(
    lambda found: [quote(update_id) for update_id in sorted(found)]
)
TRADES = st.integers(0, 30).map(lambda count: [trade(trade_id) for trade_id in range(count)])


@pytest.mark.parametrize(
    ("kind", "messages"),
    [(StreamKind.KLINE, CANDLES), (StreamKind.BOOK_TICKER, QUOTES), (StreamKind.TRADE, TRADES)],
)
@given(st.data())
def test_any_two_connections_hand_on_each_message_once(
    kind: StreamKind, messages: st.SearchStrategy[list[Payload]], drawn: st.DataObject
) -> None:
    sent = drawn.draw(messages)
    received = merged(sent, drawn.draw(st.lists(st.booleans(), max_size=2 * len(sent))))
    sequence = sequence_of(kind)
    handed_on = [payload for payload in received if sequence.admit(payload)]
    assert len(handed_on) == len(set(map(repr, handed_on)))
    assert sequence.duplicates == len(received) - len(handed_on)
    assert handed_on[-1:] == sent[-1:]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (trade(7), 7),
        (aggregate(8), 8),
        (depth(10, 15), 10),
        (quote(9), 9),
        (book(11), 11),
        (kline(1_000), EVENT_TIME + 1_000),
    ],
)
def test_position_is_what_orders_a_stream(payload: Payload, expected: int) -> None:
    kinds = [kind for kind in StreamKind if isinstance(payload, DEFINITION_OF[kind].payload_type)]
    assert [sequence_of(kind).position(payload) for kind in kinds] == [expected]


@CONSECUTIVE
def test_message_is_ahead_if_ids_before_it_are_still_to_come(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = sequence_of(kind)
    assert not sequence.is_ahead(message(10))
    sequence.admit(message(10))
    assert [sequence.is_ahead(message(one)) for one in (9, 10, 11, 12)] == [False, False, False, True]
    sequence.forget()
    assert not sequence.is_ahead(message(12))


def test_span_that_reaches_back_is_not_ahead() -> None:
    sequence = sequence_of(StreamKind.DEPTH)
    sequence.admit(depth(10, 15))
    assert [sequence.is_ahead(depth(first, 30)) for first in (12, 16, 17)] == [False, False, True]


RISING = pytest.mark.parametrize(
    ("kind", "message"),
    [(StreamKind.BOOK_TICKER, quote), (StreamKind.PARTIAL_DEPTH, book), (StreamKind.KLINE, kline)],
)


@RISING
def test_nothing_is_ahead_where_ids_skip(kind: StreamKind, message: Callable[[int], Payload]) -> None:
    sequence = sequence_of(kind)
    sequence.admit(message(10))
    assert not sequence.is_ahead(message(12))


def while_overlapping(kind: StreamKind, payloads: Iterable[Payload] = ()) -> Sequence:
    """Return a sequence of which two connections have brought these messages."""
    sequence = sequence_of(kind)
    sequence.overlapping = True
    admitted(sequence, payloads)
    return sequence


@CONSECUTIVE
def test_repetition_while_overlapping_is_a_copy_and_no_duplicate(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = while_overlapping(kind)
    assert admitted(sequence, map(message, [5, 5, 6, 5, 8, 7, 7])) == [
        True, False, True, False, True, True, False,
    ]  # fmt: skip
    assert (sequence.copies, counts(sequence)) == (3, (0, 1, 1, 0))
    sequence.overlapping = False
    assert not sequence.admit(message(8))
    assert (sequence.copies, sequence.duplicates) == (3, 1)


@RISING
def test_repetition_while_overlapping_is_a_copy_and_no_duplicate_where_ids_skip(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = while_overlapping(kind)
    assert admitted(sequence, map(message, [5, 5, 9, 5, 9, 12])) == [True, False, True, False, False, True]
    assert (sequence.copies, counts(sequence)) == (3, (0, 0, 0, 0))
    sequence.overlapping = False
    assert not sequence.admit(message(9))
    assert (sequence.copies, sequence.duplicates) == (3, 1)


@RISING
def test_lower_id_while_overlapping_is_a_copy_however_old_it_is(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = while_overlapping(kind, map(message, range(100, 400)))
    assert not sequence.admit(message(1))
    assert (sequence.copies, counts(sequence)) == (1, (0, 0, 0, 0))


def test_candles_that_share_a_time_are_news_while_overlapping_unless_they_are_the_same() -> None:
    sequence = while_overlapping(StreamKind.KLINE)
    twins = [kline(0, "1"), kline(0, "2")]
    assert admitted(sequence, twins + twins) == [True, True, False, False]
    assert sequence.copies == 2


TIMED = pytest.mark.parametrize(
    ("kind", "message"),
    [
        (StreamKind.TRADE, trade),
        (StreamKind.AGG_TRADE, aggregate),
        (StreamKind.DEPTH, lambda one, time: depth(one, one, time)),
    ],
)
Timed = Callable[[int, int], Payload]


@pytest.mark.parametrize(
    ("later_ms", "expected"), [(1, False), (COPY_LAG_MS, False), (COPY_LAG_MS + 1, True)]
)
@TIMED
def test_lower_id_while_overlapping_begins_anew_only_if_it_is_later_by_more_than_servers_differ(
    kind: StreamKind, message: Timed, later_ms: int, expected: bool
) -> None:
    sequence = while_overlapping(kind, [message(1_000, 0), message(1_001, 500)])
    assert sequence.admit(message(1_000, 500 + later_ms)) is expected
    assert (sequence.resets, sequence.copies) == (int(expected), int(not expected))


@pytest.mark.parametrize(
    ("lived_ms", "later_ms", "expected"),
    [
        (COPY_LAG_MS + 1, 1, True),
        (COPY_LAG_MS + 1, 0, False),
        (COPY_LAG_MS, 1, False),
        (COPY_LAG_MS, COPY_LAG_MS + 1, True),
    ],
)
@TIMED
def test_id_of_before_the_start_cannot_be_a_copy_unless_all_has_just_begun(
    kind: StreamKind, message: Timed, lived_ms: int, later_ms: int, expected: bool
) -> None:
    sequence = while_overlapping(kind, [message(1_000, 0), message(1_001, lived_ms)])
    assert sequence.admit(message(999, lived_ms + later_ms)) is expected
    assert (sequence.resets, sequence.copies) == (int(expected), int(not expected))


@TIMED
def test_new_beginning_is_the_start_from_then_on(kind: StreamKind, message: Timed) -> None:
    sequence = while_overlapping(kind, [message(1_000, 0), message(1, 2_000), message(2, 4_000)])
    assert not sequence.admit(message(1, 4_001))
    assert sequence.admit(message(0, 4_001))
    assert (sequence.resets, sequence.copies) == (2, 1)


@TIMED
def test_first_message_after_forgetting_is_the_start_from_then_on(kind: StreamKind, message: Timed) -> None:
    sequence = while_overlapping(kind, [message(1_000, 0)])
    sequence.forget()
    admitted(sequence, [message(500, 2_000), message(501, 4_000)])
    assert admitted(sequence, [message(500, 4_001), message(499, 4_001)]) == [False, True]
    assert (sequence.resets, sequence.copies) == (1, 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=60))
def test_any_repetition_is_counted_once_as_what_it_is_at_the_time(deliveries: list[tuple[bool, int]]) -> None:
    for kind, message in ((StreamKind.TRADE, lambda one: trade(one, 0)), (StreamKind.BOOK_TICKER, quote)):
        sequence = sequence_of(kind)
        for overlapping, identity in deliveries:
            sequence.overlapping = overlapping
            before = sequence.copies, sequence.duplicates
            is_news = sequence.admit(message(identity))
            after = sequence.copies - before[0], sequence.duplicates - before[1]
            assert after == ((0, 0) if is_news else (int(overlapping), int(not overlapping)))


@pytest.mark.parametrize("message", [trade, aggregate, lambda one: depth(one, one), quote, book, kline])
def test_newest_is_the_highest_position_so_far(message: Callable[[int], Payload]) -> None:
    sequence = sequence_of(_kind_of(message(1)))
    assert sequence.newest is None
    for number in (5, 9):
        sequence.admit(message(number))
    assert sequence.newest == sequence.position(message(9))


def _kind_of(payload: Payload) -> StreamKind:
    return next(kind for kind in StreamKind if isinstance(payload, DEFINITION_OF[kind].payload_type))


@pytest.mark.parametrize(("kind", "message"), [(StreamKind.BOOK_TICKER, quote), (StreamKind.KLINE, kline)])
def test_one_identity_that_is_far_too_high_does_not_shut_out_all_that_follow(
    kind: StreamKind, message: Callable[[int], Payload]
) -> None:
    sequence = sequence_of(kind)
    sequence.admit(message(1))
    sequence.admit(message(10**9))
    following = admitted(sequence, map(message, range(2, 30)))
    assert following == [False] * (LOWER_IN_ORDER - 1) + [True] * (29 - LOWER_IN_ORDER)
    assert sequence.resets == 1


def test_copy_of_before_a_new_beginning_is_no_jump_ahead() -> None:
    sequence = sequence_of(StreamKind.TRADE)
    sequence.overlapping = True
    assert admitted(sequence, [trade(1000), trade(3, time=9000)]) == [True, True]
    lagging = trade(1000)
    assert not sequence.is_ahead(lagging)
    assert not sequence.admit(lagging)
    assert sequence.admit(trade(4, time=9000))
    assert (sequence.resets, sequence.gaps, sequence.copies) == (1, 0, 1)


@pytest.mark.parametrize(
    ("earlier_ms", "expected"), [(SERVERS_DIFFER_MS, True), (SERVERS_DIFFER_MS + 1, False)]
)
@TIMED
def test_higher_id_after_a_new_beginning_is_a_copy_only_if_it_is_older_by_more_than_servers_differ(
    kind: StreamKind, message: Timed, earlier_ms: int, expected: bool
) -> None:
    sequence = while_overlapping(kind, [message(1_000, 0), message(1, 5_000)])
    lagging = message(1_000, 5_000 - earlier_ms)
    assert (sequence.is_ahead(lagging), sequence.admit(lagging)) == (expected, expected)


@pytest.mark.parametrize("overlapping", [True, False])
@TIMED
def test_higher_id_is_ahead_however_old_unless_a_copy_may_lag_behind_a_new_beginning(
    kind: StreamKind, message: Timed, overlapping: bool
) -> None:
    sequence = sequence_of(kind)
    sequence.admit(message(1_000, 5_000))
    if not overlapping:
        sequence.admit(message(1, 9_000))
    sequence.overlapping = overlapping
    assert sequence.is_ahead(message(1_002, 0))
    assert sequence.admit(message(1_002, 0))


def test_hole_of_before_a_new_beginning_is_none_of_the_new_ids() -> None:
    sequence = sequence_of(StreamKind.DEPTH)
    before = [depth(1_000, 1_000, 0), depth(1_010, 1_010, 1)]
    after = [depth(1, 900, 2), depth(901, 2_000, 3)]
    assert admitted(sequence, [*before, *after, depth(1_004, 1_005, 1)]) == [True] * 4 + [False]
    assert counts(sequence) == (1, 1, 9, 1)


def test_lower_quotes_that_do_not_rise_on_and_on_are_old_ones() -> None:
    sequence = sequence_of(StreamKind.BOOK_TICKER)
    admitted(sequence, map(quote, (1, 10_000)))
    almost = range(2, 1 + LOWER_IN_ORDER)
    anew = range(100, 100 + LOWER_IN_ORDER)
    assert admitted(sequence, map(quote, (*almost, 2))) == [False] * LOWER_IN_ORDER
    assert admitted(sequence, map(quote, anew)) == [False] * (LOWER_IN_ORDER - 1) + [True]


def test_quotes_out_of_order_now_and_then_are_never_a_new_beginning() -> None:
    sequence = sequence_of(StreamKind.BOOK_TICKER)
    sequence.admit(quote(0))
    for ten in range(10, 200, 10):
        assert sequence.admit(quote(ten))
        assert not sequence.admit(quote(ten - 5))


def test_repetitions_are_copies_only_while_two_connections_overlap() -> None:
    sequence = StepSequence("trade_id")
    assert sequence.admit(trade(1))
    sequence.begin_overlap()
    assert not sequence.admit(trade(1))
    sequence.end_overlap()
    assert not sequence.admit(trade(1))
    assert (sequence.copies, sequence.duplicates) == (1, 1)
