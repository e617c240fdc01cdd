"""The live feed against the embedded exchange: every fault, its reason, its time, and the way back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason
from feedd.sources.live.connection import ConnectionTiming
from feedd.sources.options import SourceOptions
from feedd.venues.binance.spot.tables import SPOT
from tests.running import RESUME_AFTER, STALE_AFTER, SYMBOLS, GateListener, Running, running, settings_for

HIT, OTHER = SYMBOLS
IN_TIME = 0.05
"""How soon the gate must be closed after the trouble can be known, in seconds."""
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=100.0)


@dataclass(frozen=True, slots=True)
class Harm:
    """A fault, and what it must lead to."""

    fault: str
    reason: Reason
    knowable_at_once: bool
    """True: by a socket's end or a message. False: only by time passing without data."""
    arguments: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None


CLOSED = [
    Harm("reset", Reason.DISCONNECTED, True),
    Harm("close", Reason.DISCONNECTED, True, {"code": 1001}),
    Harm("close", Reason.DISCONNECTED, True, {"code": 1008}),
    Harm("flap", Reason.DISCONNECTED, True, seconds=1.0),
    Harm("server_shutdown", Reason.DISCONNECTED, True, {"cut_after": 0.0}),
]
SILENT = [
    Harm("mute", Reason.STALE, False, seconds=1.6),
]
SPOILT = [
    Harm("delay", Reason.LATENCY, False, {"ms": 700}, seconds=1.5),
    Harm("latency_spike", Reason.STALE, False, seconds=1.6),
    Harm("clock_skew", Reason.LATENCY, True, {"ms": -3000, "rest": False}, seconds=1.0),
    Harm("garbage", Reason.SCHEMA, True, {"mode": "bad_json"}, seconds=0.3),
    Harm("garbage", Reason.SCHEMA, True, {"mode": "not_object"}, seconds=0.3),
    Harm("garbage", Reason.SCHEMA, True, {"mode": "binary"}, seconds=0.3),
    Harm("garbage", Reason.SCHEMA, True, {"mode": "truncated"}, seconds=0.3),
    Harm("garbage", Reason.DISCONNECTED, True, {"mode": "too_big"}, seconds=0.3),
    Harm("drop_field", Reason.SCHEMA, True, {"field": "s"}, seconds=0.3),
    Harm("wrong_type", Reason.SCHEMA, True, {"field": "s"}, seconds=0.3),
    Harm("wrong_symbol", Reason.SCHEMA, True, seconds=0.3),
]


def _name(harm: Harm) -> str:
    return "-".join([harm.fault, *map(str, harm.arguments.values())])


@pytest.mark.parametrize("harm", CLOSED + SILENT + SPOILT, ids=_name)
async def test_fault_halts_its_symbol_in_time_and_good_data_resumes_it(harm: Harm) -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        async with feedd.listening() as listener:
            await feedd.until(lambda _: bool(listener.heard))
            began = time.monotonic()
            exchange.set_fault(harm.fault, symbol=HIT, seconds=harm.seconds, **harm.arguments)

            halted = await listener.wait(HIT, lambda event: bool(event["halted"]))
            assert harm.reason in halted.event["added"]
            knowable_at = began if harm.knowable_at_once else began + _silence_of(harm)
            assert halted.at - knowable_at < IN_TIME + _pace_of(harm)

            await feedd.until_open(HIT)
            await _proves_itself_before_it_opens(feedd, listener)
            assert not listener.gates(OTHER), "the other symbol must not be touched"
            assert feedd.symbol_state(OTHER).counts.connects == 1


def _silence_of(harm: Harm) -> float:
    return STALE_AFTER if harm.reason is Reason.STALE else harm.arguments["ms"] / 1000.0


def _pace_of(harm: Harm) -> float:
    """Return how long the messages may take that show the trouble: three that confirm, or one of 4 MB."""
    takes_messages = harm.reason in (Reason.LATENCY, Reason.SCHEMA) or harm.arguments.get("mode") == "too_big"
    return 0.15 if takes_messages else 0.0


async def _proves_itself_before_it_opens(feedd: Running, listener: GateListener) -> None:
    opened = await listener.wait(HIT, lambda event: not event["halted"])
    last_trouble = max(heard.at for heard in listener.gates(HIT) if heard.event["added"])
    assert opened.at - last_trouble >= RESUME_AFTER - 0.01


async def test_gate_closes_within_50_ms_of_the_staleness_deadline() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        async with feedd.listening() as listener:
            exchange.set_fault("mute", symbol=HIT)
            halted = await listener.wait(HIT, lambda event: "stale" in event["added"])
            last_message_at = feedd.symbol_state(HIT).last_message_at
            assert last_message_at is not None
            assert 0.0 <= halted.at - (last_message_at + STALE_AFTER) < IN_TIME


@pytest.mark.parametrize(
    ("fault", "arguments", "failure"),
    [
        ("refuse", {}, ConnectFailure.REFUSED),
        ("http", {"status": 503}, ConnectFailure.HTTP_5XX),
        ("http", {"status": 400}, ConnectFailure.HTTP_4XX),
        ("http", {"status": 403}, ConnectFailure.HTTP_403),
        ("http", {"status": 404}, ConnectFailure.HTTP_404),
        ("http", {"status": 418, "retry_after": 2}, ConnectFailure.HTTP_418),
        ("http", {"status": 429, "retry_after": 2}, ConnectFailure.HTTP_429),
        ("http", {"status": 451}, ConnectFailure.HTTP_451),
        ("hang", {}, ConnectFailure.TIMEOUT),
    ],
)
async def test_failed_handshake_is_counted_under_its_reason(
    fault: str, arguments: dict[str, Any], failure: ConnectFailure
) -> None:
    timing = replace(ConnectionTiming.under(SPOT.rules), handshake=0.5)
    async with Exchange(EXCHANGE) as exchange:
        exchange.set_fault(fault, symbol=HIT, **arguments)
        async with running(settings_for(exchange), sources=SourceOptions(connection=timing)) as feedd:
            await feedd.until(lambda feedd: feedd.symbol_state(HIT).counts.connect_failures[failure] > 0)
            await feedd.until_open(OTHER)
            assert set(feedd.symbol_state(HIT).gate.reasons) >= {Reason.STARTING, Reason.DISCONNECTED}
            await feedd.until(lambda feedd: feedd.symbol_state(HIT).backoff_seconds > 0)
            backoff = feedd.symbol_state(HIT).backoff_seconds
            slow = failure in (ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451)
            assert backoff >= 60.0 if slow else backoff >= arguments.get("retry_after", 0.0)


@pytest.mark.parametrize("status", [418, 429])
async def test_exchange_that_asks_for_a_pause_holds_the_whole_process_back(status: int) -> None:
    async with Exchange(EXCHANGE) as exchange:
        exchange.set_fault("http", status=status, retry_after=1)
        async with running(settings_for(exchange)) as feedd:
            await exchange.stats.wait_until(lambda: exchange.stats.attempts > 0, timeout=5.0)
            await feedd.until(
                lambda feedd: feedd.daemon.state.connect_budget.remaining(time.monotonic()) == 0
            )
            exchange.clear_faults()
            attempts = exchange.stats.attempts
            began = time.monotonic()
            await exchange.stats.wait_until(lambda: exchange.stats.attempts > attempts, timeout=5.0)
            assert time.monotonic() - began > 0.8
            await feedd.until_open()


async def test_spent_budget_puts_the_next_attempts_off() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FEEDD_CONNECT_BUDGET="1")) as feedd,
    ):
        await feedd.until(lambda feedd: sum(map(_is_connected, feedd.daemon.state.symbols.values())) == 1)
        await feedd.until(lambda feedd: any(map(_is_put_off, feedd.daemon.state.symbols.values())))
        assert exchange.stats.attempts == 1
        _, metrics = await feedd.get("/metrics")
        assert "feedd_connect_budget_remaining 0\n" in metrics


def _is_connected(symbol_state: SymbolState) -> bool:
    return symbol_state.is_connected


def _is_put_off(symbol_state: SymbolState) -> bool:
    return symbol_state.backoff_seconds > 200.0


async def test_refused_listener_is_dialled_until_it_is_back() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault("refuse", seconds=1.0)
        exchange.set_fault("reset")
        await feedd.until(
            lambda feedd: feedd.symbol_state(HIT).counts.connect_failures[ConnectFailure.REFUSED] > 0
        )
        await feedd.until_open()


@pytest.mark.parametrize(
    ("fault", "arguments", "reason"),
    [
        ("reset", {}, DisconnectReason.RESET),
        ("close", {}, DisconnectReason.SERVER_CLOSE),
        ("garbage", {"mode": "too_big", "count": 1}, DisconnectReason.PROTOCOL_ERROR),
    ],
)
async def test_lost_connection_is_counted_under_its_reason(
    fault: str, arguments: dict[str, Any], reason: DisconnectReason
) -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault(fault, symbol=HIT, **arguments)
        await feedd.until(lambda feedd: feedd.symbol_state(HIT).counts.disconnects[reason] == 1)
        assert sum(feedd.symbol_state(HIT).counts.disconnects.values()) == 1


async def test_half_open_connection_is_given_up_when_no_frame_comes() -> None:
    options = SourceOptions(connection=replace(ConnectionTiming.under(SPOT.rules), silence=1.2))
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), sources=options) as feedd:
        await feedd.until_open()
        exchange.set_fault("mute", symbol=HIT, seconds=2.0)  # or a second connection would show it at once
        exchange.set_fault("vanish", symbol=HIT, seconds=0.1)
        await feedd.until(
            lambda feedd: feedd.symbol_state(HIT).counts.disconnects[DisconnectReason.TIMEOUT] >= 1
        )
        await feedd.until_open(HIT)


async def test_frozen_connection_is_replaced_before_the_gate_closes() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        halts = dict(feedd.symbol_state(HIT).gate.halts)
        exchange.set_fault("vanish", symbol=HIT, seconds=0.1)
        await feedd.until(
            lambda feedd: feedd.symbol_state(HIT).counts.disconnects[DisconnectReason.STALLED] == 1
        )
        assert feedd.symbol_state(HIT).gate.halts == halts
        assert feedd.symbol_state(HIT).counts.connects == 2
        assert not feedd.symbol_state(HIT).gate.halted


async def test_mute_connection_that_pings_is_kept() -> None:
    options = SourceOptions(connection=replace(ConnectionTiming.under(SPOT.rules), silence=0.6))
    settings = ExchangeSettings(symbols=SYMBOLS, rate=40.0, ping_interval=0.2, inbound_per_second=50)
    async with Exchange(settings) as exchange, running(settings_for(exchange), sources=options) as feedd:
        await feedd.until_open()
        exchange.set_fault("mute", symbol=HIT)
        pongs = exchange.stats.pongs
        await exchange.stats.wait_until(lambda: exchange.stats.pongs > pongs + 12, timeout=5.0)
        assert exchange.stats.odd_pongs == 0
        assert not any(feedd.symbol_state(HIT).counts.disconnects.values())


async def test_accept_then_close_storm_backs_off() -> None:
    async with Exchange(EXCHANGE) as exchange:
        exchange.set_fault("flap")
        async with running(settings_for(exchange)) as feedd:
            await feedd.until(lambda feedd: feedd.symbol_state(HIT).counts.connects >= 3)
            await feedd.until(lambda feedd: feedd.symbol_state(HIT).backoff_seconds >= 1.0)


async def test_invalid_messages_are_counted_and_the_good_ones_kept() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault("garbage", symbol=HIT, every=50, count=2)
        await feedd.until(lambda feedd: feedd.symbol_state(HIT).counts.invalid[InvalidReason.BAD_JSON] == 2)
        assert not feedd.symbol_state(HIT).gate.halted


async def test_unknown_fields_and_events_are_counted_and_halt_nothing() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault("unknown_field", symbol=HIT)
        exchange.set_fault("unknown_event", symbol=HIT)
        counts = feedd.symbol_state(HIT).counts
        await feedd.until(
            lambda _: counts.unknown_fields > 20 and counts.invalid[InvalidReason.UNKNOWN_EVENT] > 20
        )
        assert not feedd.symbol_state(HIT).gate.halted


async def test_gap_and_repetition_are_counted_exactly() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_counting()
        trades = feedd.symbol_state(HIT).streams["btcusdt@trade"].sequence
        exchange.set_fault("gap", symbol=HIT, stream="trade", count=7)
        await feedd.until(lambda _: trades.gaps == 1)
        assert trades.missed == 7
        exchange.set_fault("duplicate", symbol=HIT, stream="trade", count=3)
        await feedd.until(lambda _: trades.duplicates == 3)
        assert (trades.gaps, trades.missed, trades.resets) == (1, 7, 0)


async def test_early_closes_are_survived() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault("early_close", symbol=HIT, after=0.2, seconds=1.5)
        exchange.set_fault("reset", symbol=HIT)
        disconnects = feedd.symbol_state(HIT).counts.disconnects
        await feedd.until(lambda _: disconnects[DisconnectReason.SERVER_CLOSE] >= 1)
        await feedd.until_open(HIT)
        assert not feedd.symbol_state(OTHER).gate.halts[Reason.DISCONNECTED]


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [
        ("mute", {"stream": "bookTicker"}),
        ("reorder", {"stream": "trade", "count": 5}),
        ("duplicate", {"count": 20}),
        ("id_reset", {}),
        ("gap", {"count": 3}),
        ("clock_skew", {"ms": 250}),
        ("delay", {"ms": 100}),
    ],
)
async def test_what_harms_no_trust_halts_nothing(fault: str, arguments: dict[str, Any]) -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_counting()
        exchange.set_fault(fault, symbol=HIT, **arguments)
        trades = feedd.symbol_state(HIT).streams["btcusdt@trade"]
        enough = trades.messages + 60
        await feedd.until(lambda _: trades.messages > enough)
        assert not feedd.symbol_state(HIT).gate.halted
        assert sum(feedd.symbol_state(HIT).gate.halts.values()) == 0


async def test_ids_that_begin_anew_are_a_reset_and_no_loss() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_counting()
        trades = feedd.symbol_state(HIT).streams["btcusdt@trade"]
        exchange.set_fault("id_reset", symbol=HIT)
        await feedd.until(lambda _: trades.sequence.resets == 1)
        enough = trades.messages + 20
        await feedd.until(lambda _: trades.messages > enough)
        assert (trades.sequence.gaps, trades.sequence.missed, trades.sequence.duplicates) == (0, 0, 0)


async def test_bug_halts_its_symbol_alone_and_is_healed() -> None:
    broken = True

    def deliver(stream_state: StreamState, raw: bytes) -> None:
        if broken and stream_state.symbol == HIT:
            raise ZeroDivisionError("a bug in an output")

    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), deliver) as feedd:
        await feedd.until_open(OTHER)
        await feedd.until(lambda feedd: Reason.INTERNAL in feedd.symbol_state(HIT).gate.active)
        broken = False
        await feedd.until_open(HIT)
        assert feedd.symbol_state(HIT).counts.discarded > 0
        assert feedd.symbol_state(HIT).counts.connects == 1
        assert feedd.symbol_state(OTHER).counts.connects == 1


async def test_stopping_closes_every_socket_with_a_close_frame() -> None:
    async with Exchange(EXCHANGE) as exchange:
        async with running(settings_for(exchange)) as feedd:
            await feedd.until_open()
            began = time.monotonic()
        await exchange.stats.wait_until(lambda: exchange.stats.close_codes[1001] == 2, timeout=2.0)
        assert time.monotonic() - began < 3.0


async def test_stopping_does_not_wait_for_a_vanished_exchange() -> None:
    async with Exchange(EXCHANGE) as exchange:
        async with running(settings_for(exchange)) as feedd:
            await feedd.until_open()
            exchange.set_fault("vanish")
            began = time.monotonic()
        assert time.monotonic() - began < 3.0


async def test_many_symbols_have_a_connection_each() -> None:
    symbols = tuple(f"S{number}USDT" for number in range(50))
    settings = ExchangeSettings(symbols=symbols, rate=5.0)
    async with (
        Exchange(settings) as exchange,
        running(settings_for(exchange, FEEDD_SYMBOLS=",".join(symbols))) as feedd,
    ):
        await feedd.until_open()
        assert exchange.open_connections() == 50
        await asyncio.gather(*(exchange.wait_connected(symbol) for symbol in symbols))


async def test_stream_that_goes_mute_while_others_speak_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        quotes = feedd.symbol_state(HIT).streams["btcusdt@bookTicker"].mute_detector
        await feedd.until(lambda _: quotes.mean_interval is not None)
        exchange.set_fault("mute", symbol=HIT, stream="bookTicker")
        await feedd.until(lambda _: quotes.is_mute)
        assert "a stream is mute while others of the symbol speak" in caplog.messages
        exchange.clear_faults()
        await feedd.until(lambda _: not quotes.is_mute)
        assert quotes.mutes == 1
        assert sum(feedd.symbol_state(HIT).gate.halts.values()) == 0
