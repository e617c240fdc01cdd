"""From frames to symbols: each message to its own, once and in order, and a bug to nobody but its symbol."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from feedd.core.arbitration import HOLD_SECONDS
from feedd.core.connection_set import ConnectionRecord
from feedd.model import InvalidReason, Reason
from feedd.sources.live.demux import SETTLE_SECONDS, Demultiplexer
from feedd.venues.binance.spot.tables import SPOT
from tests.support.pipelines import Bench, said
from tests.support.timers import Armed, Timers
from tests.venues.binance.spot.frames import EVENT_TIME, payload

SYMBOLS = HIT, OTHER = "BTCUSDT", "ETHUSDT"
STREAMS = ("trade", "bookTicker")
FIRST_DELAY, SECOND_DELAY = 0.25, 0.5
"""How long a symbol is left alone after its first bug and its next, where chance has no say."""


class Wiring:
    """A demultiplexer with some symbols behind it, all by one clock."""

    def __init__(self, timers: Timers, *symbols: str) -> None:
        self.timers = timers
        self.now = 0.0
        self.left: list[ConnectionRecord] = []
        self.benches = {
            symbol: Bench(*STREAMS, symbol=symbol, monotonic=self._monotonic) for symbol in symbols or SYMBOLS
        }
        for bench in self.benches.values():
            bench.pipeline.connected()
        self.demultiplexer = Demultiplexer(
            SPOT.decoder,
            [bench.pipeline for bench in self.benches.values()],
            [SPOT.parse_stream(name) for name in STREAMS],
            self.left.append,
            self._monotonic,
            chance=lambda: 0.0,
        )

    def _monotonic(self) -> float:
        return self.now

    def __getitem__(self, symbol: str) -> Bench:
        return self.benches[symbol]

    def connect(self) -> ConnectionRecord:
        """Have another connection deliver."""
        record = ConnectionRecord("wss://somewhere", self.now, 1e9)
        self.demultiplexer.opened(record)
        return record

    def bring(self, record: ConnectionRecord, frame: bytes, at: float | None = None) -> bytes:
        """Have a connection bring a frame. Returns it."""
        self.now = self.now if at is None else at
        self.demultiplexer.accept(record, frame, self.now)
        return frame

    def bring_trades(self, record: ConnectionRecord, *numbers: int, symbol: str = HIT) -> list[bytes]:
        return [self.bring(record, trade(number, symbol)) for number in numbers]

    def ids(self, symbol: str = HIT) -> list[int]:
        """Return the ids of the trades that were handed on."""
        return [orjson.loads(raw)["data"]["t"] for raw in self[symbol].delivered]

    def of_bugs(self) -> list[Armed]:
        """Return the timers that will have a symbol rebuilt."""
        return [each for each in self.timers.armed if each.delay in (FIRST_DELAY, SECOND_DELAY)]


def message(symbol: str, stream: str, **changes: Any) -> bytes:
    data = payload(stream, s=symbol, **changes)
    return orjson.dumps({"stream": f"{symbol.lower()}@{stream}", "data": data})


def trade(number: int, symbol: str = HIT, **changes: Any) -> bytes:
    return message(symbol, "trade", t=number, E=EVENT_TIME - 50, **changes)


def quote(number: int, symbol: str = HIT) -> bytes:
    return message(symbol, "bookTicker", u=number)


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    return Timers(monkeypatch)


@pytest.fixture
def wiring(timers: Timers) -> Iterator[Wiring]:
    made = Wiring(timers)
    yield made
    made.demultiplexer.stop()
    for bench in made.benches.values():
        bench.pipeline.stop()


# --- one connection


async def test_names_are_those_of_every_stream_of_every_symbol(wiring: Wiring) -> None:
    assert wiring.demultiplexer.names == [
        "btcusdt@trade",
        "btcusdt@bookTicker",
        "ethusdt@trade",
        "ethusdt@bookTicker",
    ]


async def test_message_reaches_its_own_symbol_as_it_came(wiring: Wiring) -> None:
    record = wiring.connect()
    of_hit = [wiring.bring(record, frame) for frame in (trade(1), quote(5))]
    of_other = [wiring.bring(record, frame) for frame in (quote(7, OTHER), trade(2, OTHER))]
    of_hit += [wiring.bring(record, trade(2))]
    assert wiring[HIT].delivered == of_hit
    assert wiring[OTHER].delivered == of_other
    assert wiring[HIT].stream_state("trade").messages == 2


async def test_only_connection_is_heard_and_its_first_word_is_not_asked_for(wiring: Wiring) -> None:
    record = wiring.connect()
    wiring.bring(record, trade(1), at=3.0)
    wiring.bring(record, quote(1), at=4.0)
    assert (record.last_at, record.first_at) == (4.0, None)
    assert wiring[HIT].stream_state("trade").last_at == 3.0


async def test_message_that_nobody_could_have_brought_before_does_not_wait(wiring: Wiring) -> None:
    record = wiring.connect()
    wiring.bring_trades(record, 1, 5)
    assert wiring.ids() == [1, 5]
    assert wiring[HIT].stream_state().sequence.gaps == 1
    assert wiring.demultiplexer.is_caught_up


async def test_raw_message_without_an_envelope_reaches_its_symbol(wiring: Wiring) -> None:
    record = wiring.connect()
    raw = orjson.dumps(payload("trade", s=OTHER, E=EVENT_TIME - 50))
    wiring.bring(record, raw, at=2.0)
    assert wiring[OTHER].delivered == [raw]
    assert (record.last_at, record.first_at) == (2.0, 2.0)


# --- two connections


async def test_second_copy_is_dropped_whoever_brings_it(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.bring_trades(two, 2)
    wiring.bring_trades(one, 3)
    wiring.bring_trades(two, 3, 4)
    wiring.bring_trades(one, 4)
    assert wiring.ids() == [1, 2, 3, 4]
    sequence = wiring[HIT].stream_state().sequence
    assert (sequence.copies, sequence.duplicates, sequence.gaps) == (3, 0, 0)


async def test_since_when_each_of_two_delivers_is_known(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring(one, trade(1), at=1.0)
    two = wiring.connect()
    wiring.bring(two, trade(1), at=2.0)
    wiring.bring(two, trade(2), at=3.0)
    assert (two.first_at, two.last_at) == (2.0, 3.0)
    wiring.bring(one, trade(2), at=4.0)
    assert one.last_at == 4.0


async def test_message_that_is_ahead_waits_for_those_that_the_other_brings(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.bring_trades(two, 5)
    assert (wiring.ids(), wiring.demultiplexer.is_caught_up) == ([1, 2], False)
    wiring.bring_trades(one, 3)
    assert wiring.ids() == [1, 2, 3]
    wiring.bring_trades(one, 4)
    assert (wiring.ids(), wiring.demultiplexer.is_caught_up) == ([1, 2, 3, 4, 5], True)
    assert wiring[HIT].stream_state().sequence.gaps == 0


async def test_message_waits_no_longer_than_the_hold(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.bring(two, trade(5), at=10.0)
    wiring.now = 10.0 + HOLD_SECONDS - 0.01
    wiring.demultiplexer.release_held()
    assert wiring.ids() == [1, 2]
    wiring.now = 10.0 + HOLD_SECONDS
    wiring.demultiplexer.release_held()
    assert wiring.ids() == [1, 2, 5]
    sequence = wiring[HIT].stream_state().sequence
    assert (sequence.gaps, sequence.missed) == (1, 2)


async def test_what_waited_keeps_the_time_at_which_it_was_read(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.bring(two, trade(4), at=10.0)
    wiring.bring(one, trade(3), at=10.1)
    assert wiring.ids() == [1, 2, 3, 4]
    assert wiring[HIT].stream_state().last_at == 10.0


async def test_end_of_a_connection_lets_go_what_waited_for_it(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.bring_trades(two, 5)
    wiring.demultiplexer.closed(one)
    assert (wiring.ids(), wiring.demultiplexer.is_caught_up) == ([1, 2, 5], True)


async def test_messages_go_straight_again_once_one_connection_is_left(wiring: Wiring) -> None:
    one, two = wiring.connect(), wiring.connect()
    wiring.bring_trades(one, 1)
    wiring.bring_trades(two, 1)
    wiring.demultiplexer.closed(one)
    two.first_at = None
    wiring.bring(two, trade(2), at=5.0)
    assert (two.last_at, two.first_at) == (5.0, None)


async def test_copies_are_expected_for_a_while_after_one_of_two_has_gone(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.demultiplexer.closed(one)
    (settling,) = [each for each in wiring.timers.armed if each.delay == SETTLE_SECONDS]
    sequence = wiring[HIT].stream_state().sequence
    wiring.bring_trades(two, 1, 2)
    assert (sequence.copies, sequence.duplicates) == (2, 0)
    settling.fire()
    wiring.bring_trades(two, 2)
    assert (sequence.copies, sequence.duplicates) == (2, 1), "now nothing explains it"


async def test_connection_that_comes_meanwhile_ends_that_while(wiring: Wiring) -> None:
    one = wiring.connect()
    wiring.bring_trades(one, 1, 2)
    two = wiring.connect()
    wiring.demultiplexer.closed(one)
    (settling,) = [each for each in wiring.timers.armed if each.delay == SETTLE_SECONDS]
    three = wiring.connect()
    assert settling.handle.cancelled()
    wiring.bring_trades(two, 3)
    wiring.bring_trades(three, 3)
    assert wiring.ids() == [1, 2, 3]
    assert wiring[HIT].stream_state().sequence.duplicates == 0


async def test_ids_that_begin_anew_are_found_out_when_both_connections_stay_below_what_has_been(
    wiring: Wiring,
) -> None:
    one, two = wiring.connect(), wiring.connect()
    for record in (one, two):
        wiring.bring(record, quote(100), at=10.0)
    for number, at in enumerate((11.0, 11.5, 12.0), start=1):
        for record in (one, two):
            wiring.bring(record, quote(number), at)
        wiring.demultiplexer.release_held()
    frames = [wiring.bring(one, quote(4)), wiring.bring(one, quote(5))]
    assert wiring[HIT].delivered[1:] == frames


# --- what is no message


async def test_notice_of_a_shutdown_says_which_connection_is_leaving(
    wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one, two = wiring.connect(), wiring.connect()
    wiring.bring(two, orjson.dumps({"e": "serverShutdown", "E": EVENT_TIME}))
    assert wiring.left == [two]
    assert one not in wiring.left
    (line,) = said(caplog, "the exchange will close a connection")
    assert line["streams"] == wiring.demultiplexer.names[:3]
    assert sum(wiring[HIT].symbol_state.counts.invalid.values()) == 0


async def test_refused_request_is_logged_as_an_error_and_an_accepted_one_is_not(
    wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    record = wiring.connect()
    wiring.bring(record, b'{"result":null,"id":1}')
    assert caplog.records == []
    wiring.bring(record, b'{"error":{"code":2,"msg":"Invalid request"},"id":2}')
    (line,) = said(caplog, "the exchange refused a request")
    assert line["error"] == "code 2: Invalid request"
    assert caplog.records[0].levelno == logging.ERROR
    for bench in wiring.benches.values():
        assert sum(bench.symbol_state.counts.invalid.values()) == 0
        assert bench.delivered == []
    assert record.last_at is None, "an answer is no market message"


def invalid(wiring: Wiring) -> dict[str, dict[InvalidReason, int]]:
    """Return what was counted, by symbol and reason."""
    counts = {symbol: bench.symbol_state.counts.invalid for symbol, bench in wiring.benches.items()}
    return {symbol: {why: times for why, times in each.items() if times} for symbol, each in counts.items()}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (trade(1, OTHER, p=[]), InvalidReason.WRONG_TYPE),
        (trade(1, OTHER).replace(OTHER.encode(), b"XRPUSDT"), InvalidReason.WRONG_SYMBOL),
        (trade(1, OTHER).replace(b'"p"', b'"zz"'), InvalidReason.MISSING_FIELD),
    ],
)
async def test_frame_that_names_a_stream_counts_against_that_symbol_alone(
    wiring: Wiring, frame: bytes, reason: InvalidReason
) -> None:
    wiring.bring(wiring.connect(), frame)
    assert invalid(wiring) == {HIT: {}, OTHER: {reason: 1}}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"no JSON at all", InvalidReason.BAD_JSON),
        (trade(1)[:-1], InvalidReason.BAD_JSON),
        (b"[]", InvalidReason.NOT_OBJECT),
        (message("XRPUSDT", "trade"), InvalidReason.WRONG_SYMBOL),
        (b'{"e":"somethingNew"}', InvalidReason.UNKNOWN_EVENT),
        (b"", InvalidReason.BAD_JSON),
    ],
)
async def test_frame_that_names_no_stream_of_ours_casts_doubt_on_all(
    wiring: Wiring, frame: bytes, reason: InvalidReason
) -> None:
    wiring.bring(wiring.connect(), frame)
    assert invalid(wiring) == {HIT: {reason: 1}, OTHER: {reason: 1}}


async def test_frame_that_is_no_text_is_refused_for_all(
    wiring: Wiring, caplog: pytest.LogCaptureFixture
) -> None:
    wiring.connect()
    wiring.demultiplexer.refuse(InvalidReason.BINARY, "4 bytes", b"\x00\x01\x02\x03", 1.0)
    assert invalid(wiring) == {HIT: {InvalidReason.BINARY: 1}, OTHER: {InvalidReason.BINARY: 1}}
    lines = said(caplog, "a message can't be trusted")
    assert [(line["symbol"], line["detail"]) for line in lines] == [(HIT, "4 bytes"), (OTHER, "4 bytes")]


async def test_message_with_fields_that_are_not_known_is_handed_on_and_they_are_counted(
    wiring: Wiring,
) -> None:
    record = wiring.connect()
    raw = wiring.bring(record, trade(1, zz=1, yy=2))
    assert wiring[HIT].delivered == [raw]
    assert wiring[HIT].symbol_state.counts.unknown_fields == 2
    assert wiring[OTHER].symbol_state.counts.unknown_fields == 0


# --- bugs


async def test_bug_halts_the_symbol_that_it_was_met_with_and_no_other(wiring: Wiring) -> None:
    record = wiring.connect()
    wiring.bring_trades(record, 1)
    wiring.bring_trades(record, 1, symbol=OTHER)
    wiring[HIT].bug = ZeroDivisionError
    wiring.bring_trades(record, 2)
    assert wiring[HIT].reasons == (Reason.INTERNAL,)
    assert wiring[OTHER].reasons == ()
    wiring.bring_trades(record, 2, symbol=OTHER)
    assert wiring.ids(OTHER) == [1, 2]


async def test_messages_that_come_before_it_is_rebuilt_are_counted_and_no_more(wiring: Wiring) -> None:
    record = wiring.connect()
    wiring[HIT].bug = ZeroDivisionError
    wiring.bring_trades(record, 1)
    wiring[HIT].bug = None
    wiring.bring_trades(record, 2, 3)
    wiring.bring(record, trade(4, zz=1))
    assert wiring[HIT].delivered == []
    assert wiring[HIT].symbol_state.counts.discarded == 3
    assert wiring[OTHER].symbol_state.counts.discarded == 0


async def test_symbol_is_rebuilt_after_a_while_that_grows(wiring: Wiring) -> None:
    record = wiring.connect()
    for number, delay in enumerate((FIRST_DELAY, SECOND_DELAY), start=1):
        wiring[HIT].bug = ZeroDivisionError
        wiring.bring_trades(record, number)
        wiring[HIT].bug = None
        rebuilding = wiring.of_bugs()[-1]
        assert (len(wiring.of_bugs()), rebuilding.delay) == (number, delay)
        assert Reason.INTERNAL in wiring[HIT].symbol_state.gate.causes
        rebuilding.fire()
        assert Reason.INTERNAL not in wiring[HIT].symbol_state.gate.causes
    wiring.bring(record, trade(9), at=7.0)
    assert wiring.ids() == [9]
    assert wiring[HIT].stream_state().sequence.gaps == 0, "what was known of its ids is forgotten"
    assert (record.last_at, record.first_at) == (7.0, None), "messages go straight on again"


async def test_bug_with_one_symbol_does_not_change_how_long_another_is_left_alone(wiring: Wiring) -> None:
    record = wiring.connect()
    for symbol in SYMBOLS:
        wiring[symbol].bug = ZeroDivisionError
        wiring.bring_trades(record, 1, symbol=symbol)
    assert [each.delay for each in wiring.of_bugs()] == [FIRST_DELAY, FIRST_DELAY]
    wiring.of_bugs()[0].fire()
    wiring[HIT].bug = wiring[OTHER].bug = None
    wiring.bring_trades(record, 2)
    wiring.bring_trades(record, 2, symbol=OTHER)
    assert (wiring.ids(HIT), wiring.ids(OTHER)) == ([2], [])
    assert wiring[OTHER].symbol_state.counts.discarded == 1


async def test_bug_that_a_message_meets_while_two_connections_deliver_is_contained_as_well(
    wiring: Wiring,
) -> None:
    one, two = wiring.connect(), wiring.connect()
    wiring[HIT].bug = ZeroDivisionError
    wiring.bring_trades(two, 1)
    wiring.bring_trades(one, 1, 2)
    wiring.bring_trades(one, 1, symbol=OTHER)
    assert wiring[HIT].reasons == (Reason.STARTING, Reason.INTERNAL)
    assert len(wiring.of_bugs()) == 1, "it is not met again while the symbol is left alone"
    assert wiring.ids(OTHER) == [1]


async def test_stopping_lets_go_of_every_timer(wiring: Wiring) -> None:
    one, two = wiring.connect(), wiring.connect()
    wiring[HIT].bug = ZeroDivisionError
    wiring.bring_trades(one, 1)
    wiring.demultiplexer.closed(two)
    kept = [each for each in wiring.timers.waiting if each.delay in (FIRST_DELAY, SETTLE_SECONDS)]
    assert len(kept) == 2
    wiring.demultiplexer.stop()
    assert all(each.handle.cancelled() for each in kept)
