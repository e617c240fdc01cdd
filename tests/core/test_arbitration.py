"""Two connections' messages in one order: nothing lost, repeated or early, and nothing held for long."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from feedd.core.arbitration import BEHIND_SECONDS, HELD_MAX, HOLD_SECONDS, Arbitrator
from feedd.core.connection_set import OVERLAP_SECONDS, RECHECK_SECONDS, ConnectionRecord
from feedd.core.route_state import RouteState
from feedd.core.stream_state import StreamState
from feedd.model import Subscription
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.payloads import AggTrade, BookTicker, Depth, Kline, Payload, Trade
from feedd.venues.binance.spot.tables import SPOT
from tests.venues.binance.spot.frames import EVENT_TIME, data

TRADE, AGGREGATE, DEPTH, QUOTE, CANDLE = "trade", "aggTrade", "depth@100ms", "bookTicker", "kline_1s"
COUNTED = (TRADE, AGGREGATE, DEPTH)
RISING = (QUOTE, CANDLE)
STREAMS = (*COUNTED, *RISING)
_PAYLOADS = {stream: data(stream) for stream in STREAMS}


def message(stream: str, first: int, last: int | None = None, time: int | None = None) -> Payload:
    """A message of one id, or of a span of them; the event time, in milliseconds, rises with the id."""
    event_time = EVENT_TIME + (first if time is None else time)
    match _PAYLOADS[stream]:
        case Trade() as trade:
            return replace(trade, trade_id=first, event_time=event_time)
        case AggTrade() as aggregate:
            return replace(aggregate, aggregate_id=first, event_time=event_time)
        case Depth() as depth:
            last = first if last is None else last
            return replace(depth, first_update_id=first, last_update_id=last, event_time=event_time)
        case BookTicker() as quote:
            return replace(quote, update_id=first)
        case Kline() as candle:
            return replace(candle, event_time=EVENT_TIME + first)
        case other:
            raise AssertionError(other)


class Feed:
    """Does with messages what a feed does: one connection's go straight on, two's come by the arbiter."""

    def __init__(self, *streams: str) -> None:
        self.streams = {
            stream: StreamState(Subscription("BTCUSDT", SPOT.parse_stream(stream)), RouteState("", 10.0, 0.0))
            for stream in streams
        }
        self.arbiter = Arbitrator(self.streams.values())
        self.open: list[ConnectionRecord] = []
        self.passed: list[Any] = []

    def opens(self, name: str, now: float = 0.0) -> ConnectionRecord:
        record = ConnectionRecord(name, now, renew_at=86_400.0)
        self.open.append(record)
        self.arbiter.opened(record)
        return record

    def closes(self, record: ConnectionRecord, now: float = 0.0) -> None:
        self.open.remove(record)
        self.arbiter.closed(record)
        self.pass_on_what_waited(now)

    def reads(self, record: ConnectionRecord, stream: str, payload: Payload, now: float = 0.0) -> None:
        frame = Frame(f"btcusdt@{stream}", payload)
        if len(self.open) == 1 and self.arbiter.is_caught_up:
            self._admit(stream, payload)
            return
        record.received(now)
        if self.arbiter.may_pass(record, frame, record.url.encode(), now):
            self._admit(stream, payload)
        self.pass_on_what_waited(now)

    def detect_resets(self, now: float) -> None:
        self.arbiter.detect_resets(now)
        self.pass_on_what_waited(now)

    def pass_on_what_waited(self, now: float) -> None:
        while (held := self.arbiter.ready(now)) is not None:
            assert held.raw == held.record.url.encode()
            assert held.read_at <= now
            self._admit(held.stream_state.stream.name, held.frame.data)

    def _admit(self, stream: str, payload: Any) -> None:
        if self.streams[stream].sequence.admit(payload):
            self.passed.append(payload)

    def positions(self, stream: str) -> list[int]:
        """Return the ids (of candles: the event times) of a stream that went on; of a span, the first."""
        start, of_stream = (EVENT_TIME if stream == CANDLE else 0), type(_PAYLOADS[stream])
        position = self.streams[stream].sequence.position
        return [position(payload) - start for payload in self.passed if isinstance(payload, of_stream)]

    def counts(self, stream: str) -> dict[str, int]:
        """Return what was counted, other than nothing."""
        sequence = self.streams[stream].sequence
        names = ("copies", "duplicates", "gaps", "missed", "resets")
        return {name: getattr(sequence, name) for name in names if getattr(sequence, name)}


def overlapping(*streams: str) -> tuple[Feed, ConnectionRecord, ConnectionRecord]:
    """A feed whose second connection has joined: both have brought id 10 of each stream."""
    feed = Feed(*streams)
    elder, younger = feed.opens("elder"), feed.opens("younger")
    for stream in streams:
        for record in (elder, younger):
            feed.reads(record, stream, message(stream, 10))
    feed.passed.clear()
    return feed, elder, younger


def joining(*streams: str) -> tuple[Feed, ConnectionRecord, ConnectionRecord]:
    """A feed whose first connection has brought id 10 of each stream, when the second has brought nothing."""
    feed = Feed(*streams)
    elder = feed.opens("elder")
    younger = feed.opens("younger")
    for stream in streams:
        feed.reads(elder, stream, message(stream, 10))
    feed.passed.clear()
    return feed, elder, younger


EACH_STREAM = pytest.mark.parametrize("stream", STREAMS)
EACH_COUNTED = pytest.mark.parametrize("stream", COUNTED)
EACH_RISING = pytest.mark.parametrize("stream", RISING)


@EACH_STREAM
def test_first_copy_wins_whoever_brings_it(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    for identity, connection_set in ((11, (elder, younger)), (12, (younger, elder)), (13, (elder, younger))):
        for record in connection_set:
            feed.reads(record, stream, message(stream, identity))
    assert feed.positions(stream) == [11, 12, 13]
    assert feed.counts(stream) == {"copies": 1 + 3}


@EACH_COUNTED
def test_message_ahead_of_ids_that_the_other_may_bring_is_held_until_it_does(stream: str) -> None:
    feed, elder, younger = joining(stream)
    for identity in (13, 14):
        feed.reads(younger, stream, message(stream, identity))
    assert (feed.positions(stream), feed.arbiter.is_caught_up) == ([], False)
    feed.reads(elder, stream, message(stream, 11))
    assert feed.positions(stream) == [11]
    feed.reads(elder, stream, message(stream, 12))
    assert (feed.positions(stream), feed.arbiter.is_caught_up) == ([11, 12, 13, 14], True)
    assert feed.counts(stream) == {}


@EACH_COUNTED
def test_messages_lost_by_one_connection_are_taken_from_the_other(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 13), now=1.0)
    for identity in (11, 12, 13):
        feed.reads(younger, stream, message(stream, identity), now=1.2)
    assert feed.positions(stream) == [11, 12, 13]
    assert feed.counts(stream) == {"copies": 1 + 1}


@EACH_COUNTED
def test_message_that_the_other_has_passed_by_goes_on_and_the_hole_is_counted(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 13))
    feed.reads(younger, stream, message(stream, 12))
    assert feed.positions(stream) == [12, 13]
    assert feed.counts(stream) == {"copies": 1, "gaps": 1, "missed": 1}


@EACH_COUNTED
def test_message_that_both_have_brought_waits_for_nothing(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 12))
    assert feed.positions(stream) == []
    feed.reads(younger, stream, message(stream, 12))
    assert feed.positions(stream) == [12]
    assert feed.counts(stream) == {"copies": 2, "gaps": 1, "missed": 1}


@EACH_COUNTED
def test_connection_that_has_not_spoken_yet_is_waited_for(stream: str) -> None:
    feed, elder, younger = joining(stream)
    feed.reads(elder, stream, message(stream, 12))
    assert feed.positions(stream) == []
    feed.reads(younger, stream, message(stream, 11))
    assert feed.positions(stream) == [11, 12]


def test_span_that_reaches_back_over_the_newest_update_waits_for_nothing() -> None:
    feed, elder, _ = overlapping(DEPTH)
    feed.reads(elder, DEPTH, message(DEPTH, 9, 15))
    feed.reads(elder, DEPTH, message(DEPTH, 16, 20))
    assert feed.positions(DEPTH) == [9, 16]


@EACH_STREAM
def test_nothing_is_held_for_longer_than_a_quarter_of_a_second(stream: str) -> None:
    feed, _, younger = joining(stream)
    feed.reads(younger, stream, message(stream, 12), now=1.0)
    feed.detect_resets(1.249)
    assert feed.positions(stream) == []
    feed.detect_resets(1.25)
    assert feed.positions(stream) == [12]
    assert feed.counts(stream) == ({"gaps": 1, "missed": 1} if stream in COUNTED else {})


@EACH_RISING
def test_joining_connection_waits_until_the_other_is_as_far_where_ids_skip(stream: str) -> None:
    feed, elder, younger = joining(stream)
    for identity in (20, 25):
        feed.reads(younger, stream, message(stream, identity))
    feed.reads(elder, stream, message(stream, 15))
    assert feed.positions(stream) == [15]
    feed.reads(elder, stream, message(stream, 20))
    assert feed.positions(stream) == [15, 20, 25]
    assert feed.counts(stream) == {"copies": 1}


@EACH_RISING
def test_connection_that_has_joined_waits_for_nobody_where_ids_skip(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(younger, stream, message(stream, 15))
    feed.reads(younger, stream, message(stream, 20))
    feed.reads(elder, stream, message(stream, 15))
    feed.reads(elder, stream, message(stream, 30))
    assert feed.positions(stream) == [15, 20, 30]
    assert feed.counts(stream) == {"copies": 1 + 1}


@EACH_RISING
def test_joining_connection_that_lags_has_joined_with_its_first_copy(stream: str) -> None:
    feed, elder, younger = joining(stream)
    for record, identity in ((elder, 15), (younger, 12), (younger, 15), (younger, 20)):
        feed.reads(record, stream, message(stream, identity))
    assert feed.positions(stream) == [15, 20]
    assert feed.counts(stream) == {"copies": 2}


@EACH_RISING
def test_connection_has_joined_once_its_first_message_was_held_long_enough(stream: str) -> None:
    feed, _, younger = joining(stream)
    feed.reads(younger, stream, message(stream, 15), now=1.0)
    feed.detect_resets(1.0 + HOLD_SECONDS)
    feed.reads(younger, stream, message(stream, 20), now=2.0)
    assert feed.positions(stream) == [15, 20]


@pytest.mark.parametrize(("held", "other"), [(TRADE, DEPTH), (DEPTH, TRADE), (TRADE, QUOTE), (CANDLE, TRADE)])
def test_what_one_stream_waits_for_holds_no_other_one(held: str, other: str) -> None:
    feed, elder, younger = joining(held, other)
    feed.reads(younger, held, message(held, 12))
    feed.reads(elder, other, message(other, 11))
    assert feed.passed == [message(other, 11)]


def test_streams_that_wait_each_go_on_when_their_own_wait_is_over() -> None:
    feed, elder, younger = joining(*COUNTED)
    for stream in COUNTED:
        feed.reads(younger, stream, message(stream, 12))
    for stream in reversed(COUNTED):
        feed.reads(elder, stream, message(stream, 11))
    expected = [message(stream, identity) for stream in reversed(COUNTED) for identity in (11, 12)]
    assert (feed.passed, feed.arbiter.is_caught_up) == (expected, True)


@EACH_STREAM
def test_nothing_is_waited_for_that_only_a_closed_connection_could_bring(stream: str) -> None:
    feed, elder, younger = joining(stream)
    feed.reads(younger, stream, message(stream, 12))
    assert feed.positions(stream) == []
    feed.closes(elder)
    assert (feed.positions(stream), feed.arbiter.is_caught_up) == ([12], True)
    assert feed.counts(stream) == ({"gaps": 1, "missed": 1} if stream in COUNTED else {})


@EACH_COUNTED
def test_what_a_closed_connection_had_brought_still_waits_for_the_other(stream: str) -> None:
    feed, elder, younger = joining(stream)
    feed.reads(younger, stream, message(stream, 12))
    feed.closes(younger)
    assert feed.positions(stream) == []
    feed.reads(elder, stream, message(stream, 11))
    feed.detect_resets(0.0)
    assert (feed.positions(stream), feed.arbiter.is_caught_up) == ([11, 12], True)


def test_closed_connection_leaves_no_progress_behind() -> None:
    feed, elder, younger = overlapping(TRADE)
    feed.reads(younger, TRADE, message(TRADE, 11))
    feed.closes(younger)
    third = feed.opens("third")
    feed.reads(elder, TRADE, message(TRADE, 13))
    assert feed.positions(TRADE) == [11]
    feed.reads(third, TRADE, message(TRADE, 12))
    assert feed.positions(TRADE) == [11, 12, 13]


def test_beyond_so_many_held_messages_the_oldest_goes_on_and_its_hole_is_counted() -> None:
    feed, elder, _ = overlapping(TRADE)
    for identity in range(12, 12 + HELD_MAX):
        feed.reads(elder, TRADE, message(TRADE, identity))
    assert feed.positions(TRADE) == []
    feed.reads(elder, TRADE, message(TRADE, 12 + HELD_MAX))
    assert feed.positions(TRADE) == [*range(12, 13 + HELD_MAX)]
    assert feed.counts(TRADE) == {"copies": 1, "gaps": 1, "missed": 1}


def is_overlapping(feed: Feed) -> set[bool]:
    return {stream_state.sequence.overlapping for stream_state in feed.streams.values()}


def test_repetitions_are_expected_from_the_second_connection_on_until_the_last_one_has_settled() -> None:
    feed = Feed(*STREAMS)
    elder = feed.opens("elder")
    assert is_overlapping(feed) == {False}
    feed.opens("younger")
    assert is_overlapping(feed) == {True}
    feed.arbiter.settled()
    assert is_overlapping(feed) == {True}
    feed.closes(elder)
    assert is_overlapping(feed) == {True}
    feed.arbiter.settled()
    assert is_overlapping(feed) == {False}


@EACH_STREAM
def test_repetition_after_settling_is_a_duplicate_again(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.closes(elder)
    feed.reads(younger, stream, message(stream, 10))
    feed.arbiter.settled()
    feed.reads(younger, stream, message(stream, 10))
    assert feed.counts(stream) == {"copies": 2, "duplicates": 1}


@EACH_RISING
def test_ids_that_both_connections_bring_lower_for_a_second_have_begun_anew(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    for number, now in enumerate((1.0, 1.0 + BEHIND_SECONDS - 0.01, 1.0 + BEHIND_SECONDS)):
        for record in (elder, younger):
            feed.reads(record, stream, message(stream, 2 + number))
        assert feed.positions(stream) == []
        feed.detect_resets(now)
    for record in (elder, younger):
        feed.reads(record, stream, message(stream, 5))
    assert feed.positions(stream) == [5]


@EACH_RISING
def test_connection_that_lags_is_no_new_beginning_while_the_other_does_not(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    for second in range(5):
        feed.reads(elder, stream, message(stream, 20 + second))
        feed.reads(younger, stream, message(stream, 15 + second))
        feed.detect_resets(float(second))
    assert feed.positions(stream) == [20, 21, 22, 23, 24]


@EACH_RISING
def test_connection_that_lags_for_long_is_no_new_beginning_while_the_other_is_just_quiet(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 20))
    for now in (1.0, 1.0 + BEHIND_SECONDS, 1.1 + BEHIND_SECONDS):
        feed.reads(younger, stream, message(stream, 15))
        feed.detect_resets(now)
    assert feed.positions(stream) == [20]


@EACH_RISING
def test_quiet_stream_has_not_begun_anew(stream: str) -> None:
    feed, _, younger = overlapping(stream)
    for now in (1.0, 1.0 + BEHIND_SECONDS):
        feed.detect_resets(now)
    feed.reads(younger, stream, message(stream, 10))
    assert feed.positions(stream) == []


@EACH_RISING
def test_each_stay_behind_what_has_gone_on_is_given_its_own_second(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 20))
    for identity, now in ((18, 1.0), (20, 1.5), (18, 1.0 + BEHIND_SECONDS), (18, 1.9 + BEHIND_SECONDS)):
        for record in (elder, younger):
            feed.reads(record, stream, message(stream, identity))
        feed.detect_resets(now)
    feed.reads(elder, stream, message(stream, 19))
    assert feed.positions(stream) == [20]


@EACH_RISING
def test_connection_that_catches_up_is_no_new_beginning(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 20))
    feed.reads(younger, stream, message(stream, 18))
    feed.closes(elder)
    feed.detect_resets(1.0)
    feed.reads(younger, stream, message(stream, 20))
    feed.detect_resets(1.5)
    feed.reads(feed.opens("third"), stream, message(stream, 19))
    feed.detect_resets(1.0 + BEHIND_SECONDS + 0.1)
    assert feed.positions(stream) == [20]


def test_straggler_of_before_a_new_beginning_does_not_shut_out_the_new() -> None:
    feed, elder, younger = overlapping(QUOTE)
    feed.reads(elder, QUOTE, message(QUOTE, 900))
    feed.reads(elder, QUOTE, message(QUOTE, 5))
    feed.reads(younger, QUOTE, message(QUOTE, 900))
    feed.detect_resets(1.0)
    for record in (elder, younger):
        feed.reads(record, QUOTE, message(QUOTE, 6))
    for now in (1.1, 1.1 + BEHIND_SECONDS):
        feed.detect_resets(now)
    feed.reads(elder, QUOTE, message(QUOTE, 7))
    assert feed.positions(QUOTE) == [900, 7]


@EACH_RISING
def test_joining_connection_waits_for_the_other_though_that_has_said_nothing_since(stream: str) -> None:
    feed = Feed(stream)
    elder = feed.opens("elder")
    feed.reads(elder, stream, message(stream, 10))
    younger = feed.opens("younger")
    feed.reads(younger, stream, message(stream, 20))
    feed.reads(elder, stream, message(stream, 15))
    assert feed.positions(stream) == [10, 15]
    feed.reads(elder, stream, message(stream, 20))
    assert feed.positions(stream) == [10, 15, 20]


@EACH_COUNTED
def test_nothing_overtakes_what_is_held(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    for identity in (12, 13, 15):
        feed.reads(elder, stream, message(stream, identity))
    feed.reads(younger, stream, message(stream, 14))
    assert feed.positions(stream) == [12, 13, 14, 15]
    assert feed.counts(stream) == {"copies": 1, "gaps": 1, "missed": 1}


@EACH_COUNTED
def test_straggler_of_before_a_new_beginning_is_no_jump_ahead(stream: str) -> None:
    feed, elder, younger = overlapping(stream)
    feed.reads(elder, stream, message(stream, 1_000_000, time=4_000), now=4.0)
    feed.detect_resets(4.0 + HOLD_SECONDS)
    before = feed.counts(stream)
    feed.reads(elder, stream, message(stream, 1, time=5_100), now=5.1)
    for record, identity, time in (
        (younger, 1_000_000, 4_000),
        (younger, 1, 5_100),
        (elder, 2, 5_200),
        (younger, 2, 5_200),
    ):
        feed.reads(record, stream, message(stream, identity, time=time), now=5.2)
    feed.detect_resets(5.2 + HOLD_SECONDS)
    assert feed.positions(stream) == [1_000_000, 1, 2]
    assert feed.counts(stream) == before | {"copies": before["copies"] + 3, "resets": 1}


def test_first_connection_after_none_expects_no_repetitions() -> None:
    feed, elder, younger = overlapping(TRADE)
    feed.closes(elder)
    feed.closes(younger)
    feed.opens("third")
    assert is_overlapping(feed) == {False}


@EACH_COUNTED
def test_what_a_broken_connection_had_brought_is_let_go_of(stream: str) -> None:
    feed, elder, younger = joining(stream)
    feed.reads(younger, stream, message(stream, 12))
    feed.closes(younger)
    for identity in range(11, 20):
        feed.reads(elder, stream, message(stream, identity), now=float(identity))
    assert feed.arbiter.is_caught_up  # 12 stays held: with one connection nobody asks `ready`
    feed.arbiter.settled()
    feed.closes(elder, now=1_000.0)
    assert feed.counts(stream) == {"copies": 1}


def test_no_connection_no_repetitions() -> None:
    feed, elder, younger = overlapping(TRADE)
    feed.closes(elder)
    feed.closes(younger)
    assert is_overlapping(feed) == {False}


@EACH_RISING
def test_joining_connection_that_breaks_shuts_nothing_out(stream: str) -> None:
    feed, elder, younger = joining(stream)
    feed.reads(younger, stream, message(stream, 20))
    feed.closes(younger)
    feed.reads(elder, stream, message(stream, 15))
    assert feed.positions(stream)[0] == 15


@EACH_RISING
def test_connection_that_was_alone_has_joined(stream: str) -> None:
    feed = Feed(stream)
    elder = feed.opens("elder")
    feed.reads(elder, stream, message(stream, 10))
    younger = feed.opens("younger")
    feed.closes(elder)
    feed.reads(younger, stream, message(stream, 12))
    third = feed.opens("third")
    feed.reads(third, stream, message(stream, 12))
    feed.reads(younger, stream, message(stream, 13))
    assert feed.positions(stream) == [10, 12, 13]


LAGS = (0, 3, 40, 110, 199)
"""In milliseconds; less than a message is held, so what lags is still waited for."""
PAUSES = (0, 1, 20, 70, 150)
SKEWS = ((0, 0), (200, -200), (-200, 200))
"""What the clocks of two servers are off by."""
LOSSES = ((False, False), (True, False), (False, True), (True, True))


@dataclass(frozen=True)
class Sent:
    """What the exchange sends, at a millisecond, and what becomes of its copy on each of two connections."""

    at: int
    first: int
    last: int
    lags: tuple[int, int]
    skews: tuple[int, int]
    is_lost: tuple[bool, bool]

    def copy(self, stream: str, side: int) -> Payload:
        return message(stream, self.first, self.last, time=self.at + self.skews[side])


@cache
def sendings(longest_span: int, losses: bool = False) -> st.SearchStrategy[list[Sent]]:
    """A stream's messages, whose ids follow on each other span by span."""
    lengths, lost = (1,) if longest_span == 1 else (1, 2, longest_span), LOSSES if losses else LOSSES[:1]
    return st.lists(
        # One draw each: that is what makes these tests fast.
        st.sampled_from([*product(PAUSES, lengths, product(LAGS, LAGS), SKEWS, lost)]),
        min_size=2,
        max_size=40,
    ).map(_following)


def _following(
    drawn: list[tuple[int, int, tuple[int, int], tuple[int, int], tuple[bool, bool]]],
) -> list[Sent]:
    sent: list[Sent] = []
    for pause, length, lags, skews, is_lost in drawn:
        at, first = (sent[-1].at + pause, sent[-1].last + 1) if sent else (0, 100)
        # What comes before the first that came is not missed.
        sent.append(Sent(at, first, first + length - 1, lags, skews, is_lost if sent else LOSSES[0]))
    return sent


@dataclass
class Overlap:
    """Two connections for one stream; the second one brings what is sent once it is open."""

    stream: str
    sent: list[Sent]
    opens_at: int
    """When the second one is opened."""
    leaving: int = 0
    """Which one is closed: 0 is the elder."""
    leaves_at: float = math.inf
    is_abrupt: bool = False
    """It is closed whether or not it should be."""

    def __post_init__(self) -> None:
        self.feed = Feed(self.stream)
        self.connection_set = [self.feed.opens("elder")]
        self.brought: list[int] = []

    def happens(self) -> None:
        arrivals = sorted((*self.arrivals(0), *self.arrivals(1)), key=lambda arrival: arrival[0])
        end = self.sent[-1].at + max(LAGS) + round(HOLD_SECONDS * 1_000)
        looks = range(0, end + 100, round(RECHECK_SECONDS * 1_000))
        for now in sorted({self.opens_at, *(at for at, _, _ in arrivals), *looks}):
            if now == self.opens_at:
                self.connection_set.append(self.feed.opens("younger", now / 1_000))
            while arrivals and arrivals[0][0] == now:
                self.arrives(*arrivals.pop(0))
            if now in looks:
                self.feed.detect_resets(now / 1_000)
            if now >= self.leaves_at and self.may_leave(now / 1_000):
                self.feed.closes(self.connection_set[self.leaving], now / 1_000)
        assert self.feed.arbiter.is_caught_up

    def arrivals(self, side: int) -> Iterator[tuple[int, int, Payload]]:
        """Yield what one of them brings when, in its order."""
        at = 0
        for sent in self.sent:
            if side == 0 or sent.at >= self.opens_at:
                at = max(at, sent.at + sent.lags[side])
                if not sent.is_lost[side]:
                    yield at, side, sent.copy(self.stream, side)

    def arrives(self, at: int, side: int, payload: Payload) -> None:
        if self.connection_set[side] in self.feed.open:
            self.brought.append(self.feed.streams[self.stream].sequence.position(payload))
            self.feed.reads(self.connection_set[side], self.stream, payload, at / 1_000)

    def may_leave(self, now: float) -> bool:
        if len(self.feed.open) < 2:
            return False
        joined_at = self.connection_set[1].first_at
        has_overlapped = joined_at is not None and now - joined_at >= OVERLAP_SECONDS
        return self.is_abrupt or (has_overlapped and self.feed.arbiter.is_caught_up)

    def accounts_for(self, came: list[Sent]) -> None:
        """Check that all which came went on once and in order, and that every other number fits."""
        assert self.feed.positions(self.stream) == [one.first for one in came]
        holes = [after.first - before.last - 1 for before, after in pairwise(came)]
        expected = {
            "copies": len(self.brought) - len(came),
            "gaps": len(holes) - holes.count(0),
            "missed": sum(holes),
        }
        assert self.feed.counts(self.stream) == {name: count for name, count in expected.items() if count}


SPANS_COUNTED = [(TRADE, 1), (AGGREGATE, 1), (DEPTH, 20)]
"""Streams, and how many ids a message spans at most; where ids skip, how many they skip."""
SPANS = [*SPANS_COUNTED, (QUOTE, 20), (CANDLE, 20)]


@cache
def overlaps(stream: str, longest_span: int, is_abrupt: bool = False) -> st.SearchStrategy[Overlap]:
    """Overlaps of which one connection is closed; the elder had delivered before the other was opened."""

    def overlap_of(sent: list[Sent]) -> st.SearchStrategy[Overlap]:
        end = sent[-1].at + max(LAGS)
        return st.builds(
            Overlap,
            st.just(stream),
            st.just(sent),
            opens_at=st.integers(sent[0].lags[0] + 1, end + 1),
            leaving=st.integers(0, 1),
            leaves_at=st.integers(0, end),
            is_abrupt=st.just(is_abrupt),
        )

    return sendings(longest_span).flatmap(overlap_of)


@pytest.mark.parametrize(("stream", "longest_span"), SPANS)
@given(st.data())
def test_any_connection_that_is_replaced_loses_repeats_and_reorders_nothing(
    stream: str, longest_span: int, drawn: st.DataObject
) -> None:
    overlap = drawn.draw(overlaps(stream, longest_span))
    overlap.happens()
    overlap.accounts_for(overlap.sent)


@pytest.mark.parametrize(("stream", "longest_span"), SPANS_COUNTED)
@given(st.data())
def test_any_connection_that_breaks_takes_along_only_what_it_had_not_brought(
    stream: str, longest_span: int, drawn: st.DataObject
) -> None:
    overlap = drawn.draw(overlaps(stream, longest_span, is_abrupt=True))
    overlap.happens()
    overlap.accounts_for([one for one in overlap.sent if one.first in overlap.brought])


@pytest.mark.parametrize(("stream", "longest_span"), SPANS_COUNTED)
@given(st.data())
def test_any_message_is_lost_only_if_both_connections_lose_it(
    stream: str, longest_span: int, drawn: st.DataObject
) -> None:
    overlap = Overlap(stream, drawn.draw(sendings(longest_span, losses=True)), opens_at=0)
    overlap.happens()
    overlap.accounts_for([one for one in overlap.sent if not all(one.is_lost)])
