"""Messages in, gate changes and deliveries out: once each, in their order, and a silence is seen in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from feedd.core.gate import GateChange
from feedd.core.symbol_state import SymbolLimits
from feedd.errors import DecodeError
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason, ResumePolicy
from feedd.venues.binance.common.control_replies import Drifted
from feedd.venues.binance.spot.tables import SPOT
from tests.support.pipelines import RESUME_AFTER, STALE_AFTER, Bench, said
from tests.support.timers import Timers
from tests.venues.binance.spot.frames import EVENT_TIME, combined, data, frame

NOT_TRUSTED = "a message can't be trusted"
UNKNOWN_FIELDS = "the exchange sends fields that feedd doesn't know"
OPENED = ((), (Reason.STARTING,))


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    made.pipeline.stop()


def trade(bench: Bench, number: int, at: float | None = None, late_by: float = 0.05) -> bytes:
    """Carry a trade in, whose event time is that moment's. Returns its frame."""
    now = bench.now[0] = bench.now[0] if at is None else at
    event_time = EVENT_TIME + round((now - late_by) * 1000.0)
    raw = combined("trade", t=number, E=event_time)
    bench.pipeline.accept(bench.stream_state(), data("trade", t=number, E=event_time), raw, now)
    return raw


def quote(bench: Bench, number: int) -> bytes:
    """Carry a quote in, which says nothing of its time. Returns its frame."""
    raw = combined("bookTicker", u=number)
    bench.pipeline.accept(bench.stream_state("bookTicker"), data("bookTicker", u=number), raw, bench.now[0])
    return raw


def opened(bench: Bench) -> None:
    """Have the gate opened by a first trade."""
    bench.pipeline.connected()
    trade(bench, 1)
    assert not bench.symbol_state.gate.halted
    bench.news.clear()
    bench.delivered.clear()


# --- messages


async def test_message_is_handed_on_once_as_it_came_and_then_opens_the_gate(bench: Bench) -> None:
    bench.pipeline.connected()
    bench.now[0] = 1.0
    raw = trade(bench, 7)
    change = GateChange(1.0, (), (Reason.STARTING,), ())
    assert bench.news == [("delivered", "trade", raw), change], (
        "who uses it has it before it is said to be good"
    )
    assert bench.stream_state().messages == 1


async def test_messages_of_all_streams_are_handed_on_in_the_order_in_which_they_came(bench: Bench) -> None:
    opened(bench)
    raws = [trade(bench, 2), quote(bench, 5), trade(bench, 3), quote(bench, 9)]
    assert bench.delivered == raws


async def test_repetition_is_not_handed_on_and_is_counted_apart(bench: Bench) -> None:
    opened(bench)
    bench.now[0] = 3.0
    bench.pipeline.accept(bench.stream_state(), data("trade", t=1, E=EVENT_TIME - 50), b"again", 3.0)
    assert (bench.delivered, bench.news) == ([], [])
    stream_state = bench.stream_state()
    assert (stream_state.messages, stream_state.sequence.duplicates) == (1, 1)
    assert bench.symbol_state.last_message_at == 0.0, "what was said already is no sign of life"


async def test_time_in_which_a_message_was_handed_on_is_measured_when_that_is_done(bench: Bench) -> None:
    opened(bench)
    raw, event = combined("trade", t=2), data("trade", t=2, E=EVENT_TIME + 900)
    read_at, bench.now[0] = 1.0, 1.5
    bench.pipeline.accept(bench.stream_state(), event, raw, read_at)
    assert bench.symbol_state.processing_latency.total == pytest.approx(0.5)
    assert bench.symbol_state.last_message_at == 1.0, "its age counts from the reading"


async def test_output_that_raises_is_no_delivery_and_the_bug_reaches_whoever_brought_the_message(
    bench: Bench,
) -> None:
    bench.pipeline.connected()
    bench.bug = ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        trade(bench, 1)
    assert bench.reasons == (Reason.STARTING,), "nothing was handed on, so nothing was proved"


async def test_every_gate_change_is_announced_once(bench: Bench) -> None:
    opened(bench)
    for number in (2, 3, 4):
        trade(bench, number, at=2.0, late_by=1.1)
    assert bench.changes() == [((Reason.LATENCY,), ())]
    for number, at in enumerate((3.0, 3.0 + RESUME_AFTER, 9.0), start=5):
        trade(bench, number, at)
    bench.pipeline.emit_changes()
    assert bench.changes() == [((Reason.LATENCY,), ()), ((), (Reason.LATENCY,))]
    assert len(bench.delivered) == 6, "a halt is said, the data goes on"


async def test_backfill_goes_its_own_way_and_proves_nothing(bench: Bench) -> None:
    bench.pipeline.connected()
    bench.pipeline.accept_backfill(bench.stream_state(), b"fetched")
    assert (bench.backfilled, bench.delivered) == ([("trade", b"fetched")], [])
    assert (bench.reasons, bench.stream_state().messages) == ((Reason.STARTING,), 0)


# --- what is missing


async def test_missed_messages_are_told_once_for_each_new_gap(bench: Bench) -> None:
    opened(bench)
    bench.stream_state().sequence.ledger.fetch(True)
    trade(bench, 2)
    assert bench.missing == []
    trade(bench, 5)
    assert bench.missing == [bench.stream_state()]
    trade(bench, 6)
    assert len(bench.missing) == 1, "the same gap is no news"
    trade(bench, 9)
    assert len(bench.missing) == 2


async def test_message_beyond_a_gap_is_handed_on_before_the_gap_is_told(bench: Bench) -> None:
    opened(bench)
    bench.stream_state().sequence.ledger.fetch(True)
    trade(bench, 5)
    assert (len(bench.delivered), len(bench.missing)) == (1, 1)
    bench.bug = ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        trade(bench, 9)
    assert len(bench.missing) == 1


# --- silence

SHORT = 0.15
"""A limit that a test can wait for, in seconds."""
IN_TIME = 0.1
"""How late a busy machine may be."""


@pytest.fixture
async def timed() -> AsyncIterator[Bench]:
    """A bench by the loop's own clock, with a short limit."""
    made = Bench(stale_after=SHORT, monotonic=asyncio.get_running_loop().time)
    yield made
    made.pipeline.stop()


def timed_quote(timed: Bench, number: int) -> float:
    """Carry in a quote; returns when it was read."""
    read_at = timed.monotonic()
    timed.pipeline.accept(timed.stream_state("bookTicker"), data("bookTicker", u=number), b"", read_at)
    return read_at


async def test_feed_that_falls_silent_is_halted_as_stale_when_its_limit_is_over(timed: Bench) -> None:
    timed.pipeline.connected()
    read_at = timed_quote(timed, 1)
    await timed.next_change()
    assert timed.changes() == [OPENED, ((Reason.STALE,), ())]
    assert 0.0 <= timed.monotonic() - (read_at + SHORT) < IN_TIME


async def test_feed_that_never_speaks_is_halted_as_well_once_it_is_watched(timed: Bench) -> None:
    timed.pipeline.begin(timed.streams, measures_latency=True)
    await timed.next_change()
    assert timed.reasons == (Reason.STARTING, Reason.STALE)


async def test_every_message_moves_the_moment_at_which_silence_is_one(timed: Bench) -> None:
    timed.pipeline.connected()
    read_at = 0.0
    for number in range(1, 7):
        read_at = timed_quote(timed, number)
        await asyncio.sleep(SHORT / 3.0)
    assert timed.changes() == [OPENED], "twice the limit has passed, but never in silence"
    await timed.next_change()
    assert timed.changes() == [OPENED, ((Reason.STALE,), ())]
    assert 0.0 <= timed.monotonic() - (read_at + SHORT) < IN_TIME


async def test_silence_is_watched_again_after_the_feed_has_spoken_again(timed: Bench) -> None:
    timed.pipeline.connected()
    timed_quote(timed, 1)
    await timed.next_change()
    timed_quote(timed, 2)
    assert Reason.STALE not in timed.symbol_state.gate.causes
    assert Reason.STALE in timed.symbol_state.gate.active, "it must prove itself first"
    halts = timed.symbol_state.gate.halts
    assert halts[Reason.STALE] == 1
    async with asyncio.timeout(5.0):
        while Reason.STALE not in timed.symbol_state.gate.causes:  # noqa: ASYNC110  # it is active: no news
            await asyncio.sleep(0.005)


async def test_nobody_watches_after_the_end(timed: Bench) -> None:
    timed.pipeline.connected()
    timed_quote(timed, 1)
    timed.pipeline.stop()
    await asyncio.sleep(SHORT * 1.5)
    assert timed.changes() == [OPENED]


async def test_recording_that_waits_for_its_next_message_is_not_silent(timed: Bench) -> None:
    timed.pipeline.begin(timed.streams, measures_latency=False)
    timed.pipeline.expect_next(SHORT * 3.0)
    read_at = timed_quote(timed, 1)
    await timed.next_change()
    assert SHORT * 4.0 <= timed.monotonic() - read_at < SHORT * 4.0 + IN_TIME


async def test_message_that_is_due_sooner_moves_the_watch_forward(timed: Bench) -> None:
    timed.pipeline.begin(timed.streams, measures_latency=False)
    timed.pipeline.expect_next(60.0)
    timed.pipeline.rearm()
    began = timed.monotonic()
    timed.pipeline.expect_next(0.0)
    await timed.next_change()
    assert timed.reasons == (Reason.STARTING, Reason.STALE)
    assert timed.monotonic() - began < SHORT + IN_TIME


async def test_lower_limit_counts_at_once_after_arming_anew() -> None:
    timed = Bench(stale_after=60.0, monotonic=asyncio.get_running_loop().time)
    timed.pipeline.connected()
    read_at = timed_quote(timed, 1)
    limits = SymbolLimits(SHORT, 1.0, RESUME_AFTER, ResumePolicy.AUTO)
    timed.symbol_state.apply_limits(limits, timed.monotonic())
    timed.pipeline.rearm()
    await timed.next_change()
    assert timed.reasons == (Reason.STALE,)
    assert timed.monotonic() - read_at < SHORT + IN_TIME
    timed.pipeline.stop()


# --- frames that can't be trusted


async def test_refused_frames_are_all_counted_and_the_first_three_are_shown(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bench)
    error = DecodeError(InvalidReason.WRONG_TYPE, "p: expected a string", stream="btcusdt@trade")
    for number in range(5):
        bench.pipeline.reject(error, b"frame %d \xff" % number + b"x" * 500, 1.0)
    assert bench.symbol_state.counts.invalid[InvalidReason.WRONG_TYPE] == 5
    lines = said(caplog, NOT_TRUSTED)
    assert [line["sample"] for line in lines] == [
        f"frame {number} \\xff{'x' * 191}" for number in range(3)
    ], "a broken exchange must not fill the disk"
    assert {**lines[0], "sample": ""} == {
        "symbol": "BTCUSDT",
        "reason": InvalidReason.WRONG_TYPE,
        "detail": "p: expected a string",
        "stream": "btcusdt@trade",
        "sample": "",
    }
    assert bench.delivered == []


async def test_schema_that_fails_is_announced_with_the_frame_that_shows_it(bench: Bench) -> None:
    opened(bench)
    error = DecodeError(InvalidReason.BAD_JSON, "no JSON")
    for _ in range(2):
        bench.pipeline.reject(error, b"", 1.0)
        assert bench.changes() == []
    bench.pipeline.reject(error, b"", 1.0)
    assert bench.changes() == [((Reason.SCHEMA,), ())]


# --- fields that feedd doesn't know


def drifted(*unknown: str, stream: str = "trade") -> Drifted:
    return Drifted(frame(stream), unknown)


async def test_unknown_fields_are_counted_each_time_and_logged_when_they_are_first_seen(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.pipeline.note_unknown(drifted("zz", "aa"))
    bench.pipeline.note_unknown(drifted("zz", "aa"))
    bench.pipeline.note_unknown(drifted("zz", "k.n2", stream="kline_1s"))
    assert bench.symbol_state.counts.unknown_fields == 6
    assert said(caplog, UNKNOWN_FIELDS) == [
        {"symbol": "BTCUSDT", "stream": "btcusdt@trade", "unknown": ["aa", "zz"]},
        {"symbol": "BTCUSDT", "stream": "btcusdt@kline_1s", "unknown": ["k.n2"]},
    ]


async def test_fields_that_never_end_are_counted_but_not_all_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(200):
        bench.pipeline.note_unknown(drifted(f"field{number}"))
    assert bench.symbol_state.counts.unknown_fields == 200
    assert len(said(caplog, UNKNOWN_FIELDS)) == 50


# --- connections


async def test_lost_connection_halts_and_says_for_how_long_it_was_good(bench: Bench) -> None:
    bench.pipeline.connected()
    for number, at in enumerate((1.0, 2.0, 4.5), start=1):
        trade(bench, number, at)
    assert bench.symbol_state.is_connected
    bench.now[0] = 5.0
    assert bench.pipeline.disconnected(DisconnectReason.RESET) == 3.5
    assert bench.changes() == [OPENED, ((Reason.DISCONNECTED,), ())]
    assert bench.symbol_state.counts.disconnects[DisconnectReason.RESET] == 1


async def test_failed_attempt_is_counted_and_announced(bench: Bench) -> None:
    bench.pipeline.connect_failed(ConnectFailure.HTTP_429)
    bench.pipeline.connect_failed(ConnectFailure.HTTP_429)
    assert bench.symbol_state.counts.connect_failures[ConnectFailure.HTTP_429] == 2
    assert bench.changes() == [((Reason.DISCONNECTED,), ())]


async def test_delay_of_the_next_attempt_is_shown_until_there_is_a_connection(bench: Bench) -> None:
    bench.pipeline.delay_reconnect(7.5)
    assert bench.symbol_state.backoff_seconds == 7.5
    bench.pipeline.connected()
    assert bench.symbol_state.backoff_seconds == 0.0
    bench.pipeline.delay_reconnect(7.5)
    assert bench.symbol_state.backoff_seconds == 0.0, "who is connected waits for nothing"


def routed_bench() -> Bench:
    """A symbol whose trades and quotes come by routes of their own."""
    trades = replace(SPOT.parse_stream("trade"), route="market")
    quotes = replace(SPOT.parse_stream("bookTicker"), route="public")
    return Bench(trades, quotes)


async def test_each_route_has_its_own_connections() -> None:
    bench = routed_bench()
    seen = []
    for route in ("market", "public"):
        bench.pipeline.connected(route)
        seen.append(bench.symbol_state.is_connected)
    trade(bench, 1)
    quote(bench, 1)
    assert bench.changes() == [OPENED]
    bench.now[0] = 1.0
    bench.pipeline.disconnected(DisconnectReason.RESET, "public")
    assert [*seen, bench.symbol_state.is_connected] == [False, True, False]
    assert bench.changes()[1:] == [((Reason.DISCONNECTED,), ())]
    assert bench.symbol_state.routes["market"].is_connected
    bench.pipeline.stop()


async def test_silence_of_one_route_halts_in_time_and_no_other_vouches_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timers, bench = Timers(monkeypatch), routed_bench()
    for route in ("market", "public"):
        bench.pipeline.connected(route)
    quote(bench, 1)
    (armed,) = timers.waiting
    assert armed.delay == STALE_AFTER
    trade(bench, 1, at=9.0)
    assert bench.symbol_state.deadline == STALE_AFTER
    bench.now[0] = STALE_AFTER
    armed.fire()
    assert bench.changes() == [OPENED, ((Reason.STALE,), ())]

    for number, at in enumerate((11.0, 14.0, 17.0, 20.0), start=2):
        trade(bench, number, at)
        assert Reason.STALE in bench.symbol_state.gate.causes
    assert list(bench.symbol_state.gate.active) == [Reason.STALE]
    assert bench.symbol_state.age(20.0) == 20.0, "the age of a symbol is that of its most silent route"

    quote(bench, 2)
    assert Reason.STALE not in bench.symbol_state.gate.causes
    assert timers.armed[-1].delay == STALE_AFTER, "it is watched again"
    trade(bench, 6, at=20.0 + RESUME_AFTER)
    assert not bench.symbol_state.gate.halted
    bench.pipeline.stop()


async def test_route_that_goes_and_comes_again_is_spoken_for_by_its_streams() -> None:
    bench = routed_bench()
    bench.pipeline.begin([bench.streams[0]], measures_latency=True)
    assert list(bench.symbol_state.routes) == ["market"]
    bench.pipeline.begin(bench.streams, measures_latency=True)
    trade(bench, 1, at=5.0)
    quote(bench, 1)
    newest = {name: route.staleness.last_at for name, route in bench.symbol_state.routes.items()}
    bench.pipeline.stop()
    assert newest == {"market": 5.0, "public": 5.0}


# --- another source, or none


async def test_other_source_begins_with_a_gate_that_starts_anew(bench: Bench) -> None:
    opened(bench)
    bench.now[0] = 3.0
    bench.pipeline.begin([SPOT.parse_stream("aggTrade")], measures_latency=False)
    assert bench.changes() == [((Reason.STARTING,), ())]
    assert "btcusdt@aggTrade" in bench.symbol_state.streams
    assert not bench.symbol_state.is_live
    assert bench.symbol_state.deadline == 3.0 + STALE_AFTER


async def test_end_of_the_data_halts_and_says_why(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    opened(bench)
    bench.pipeline.ended("the file is over")
    assert bench.changes() == [((Reason.STALE,), ())]
    assert said(caplog, "the data has ended") == [{"symbol": "BTCUSDT", "detail": "the file is over"}]


# --- the venue's word


TRADED, NOT_TRADED = "the exchange trades the symbol", "the exchange does not trade the symbol"


async def test_status_is_logged_only_when_it_changes(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened(bench)
    bench.pipeline.note_status("TRADING")
    assert (said(caplog, TRADED), bench.changes()) == ([], []), "that it is traded is no news"
    bench.pipeline.note_status("HALT")
    bench.pipeline.note_status("HALT")
    assert said(caplog, NOT_TRADED) == [{"symbol": "BTCUSDT", "status": "HALT"}]
    assert bench.changes() == [((Reason.EXCHANGE,), ())]
    bench.pipeline.note_status("BREAK")
    assert len(said(caplog, NOT_TRADED)) == 2
    bench.pipeline.note_status("TRADING")
    assert said(caplog, TRADED) == [{"symbol": "BTCUSDT", "status": "TRADING"}]
    assert bench.changes() == [((Reason.EXCHANGE,), ()), ((), (Reason.EXCHANGE,))]


# --- bugs


async def test_bug_halts_the_symbol_is_logged_with_its_trace_and_ends_with_the_rebuilding(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    opened(bench)
    try:
        raise ZeroDivisionError("a bug")
    except ZeroDivisionError:
        bench.pipeline.failed()
    assert bench.changes() == [((Reason.INTERNAL,), ())]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    trade(bench, 2, at=1.0)
    trade(bench, 3, at=1.0 + RESUME_AFTER)
    assert bench.reasons == (Reason.INTERNAL,), "good data heals no bug"
    bench.pipeline.rebuilt()
    assert bench.changes() == [((Reason.INTERNAL,), ())], "nor is it over by being rebuilt"
    trade(bench, 4, at=7.0)
    trade(bench, 5, at=7.0 + RESUME_AFTER)
    assert bench.changes()[1:] == [((), (Reason.INTERNAL,))]


async def test_rebuilt_symbol_has_forgotten_which_ids_have_been(bench: Bench) -> None:
    opened(bench)
    bench.pipeline.rebuilt()
    trade(bench, 1, at=1.0)
    assert (len(bench.delivered), bench.stream_state().sequence.duplicates) == (1, 0)


async def test_what_comes_while_the_symbol_is_rebuilt_is_counted(bench: Bench) -> None:
    bench.pipeline.discard()
    bench.pipeline.discard()
    assert bench.symbol_state.counts.discarded == 2
    assert bench.stream_state().messages == 0


# --- streams that go mute

MUTE, SPEAKS = "a stream is mute while others of the symbol speak", "a stream speaks again"


async def test_stream_that_goes_mute_is_logged_once_and_once_when_it_speaks_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.pipeline.connected()
    for second in range(60):
        bench.now[0] = float(second)
        quote(bench, second)
        if second < 3:
            trade(bench, second)
        bench.pipeline.check_mute_streams()
    (line,) = said(caplog, MUTE)
    assert line == {
        "symbol": "BTCUSDT",
        "stream": "trade",
        "silent_seconds": "20.0",
        "usual_gap_seconds": "1.000",
    }
    trade(bench, 60, at=60.0)
    bench.pipeline.check_mute_streams()
    bench.pipeline.check_mute_streams()
    assert [line["stream"] for line in said(caplog, SPEAKS)] == ["trade"]
    assert bench.changes() == [OPENED], "which halts nothing"
