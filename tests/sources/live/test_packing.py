"""Many symbols on one connection: what is per symbol stays per symbol."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from feedd.core.stream_state import StreamState
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import InvalidReason, Reason
from tests.running import Running, running, settings_for

SYMBOLS = tuple(f"S{number}USDT" for number in range(10))
HIT, *OTHERS = SYMBOLS
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=50.0)
PACKED = {"FEEDD_SYMBOLS": ",".join(SYMBOLS), "FEEDD_SYMBOLS_PER_CONNECTION": "5"}


def _assert_others_are_untouched(feedd: Running) -> None:
    for symbol in OTHERS:
        assert not feedd.symbol_state(symbol).gate.halted
        assert sum(feedd.symbol_state(symbol).gate.halts.values()) == 0
        assert feedd.symbol_state(symbol).counts.connects == 1


async def test_connections_are_shared() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **PACKED)) as feedd:
        await feedd.until_open()
        assert exchange.stats.connects == 2
        for symbol in SYMBOLS:
            await feedd.until(partial(_has_heard_all, symbol))


def _has_heard_all(symbol: str, feedd: Running) -> bool:
    return all(stream.messages for stream in feedd.symbol_state(symbol).streams.values())


@pytest.mark.parametrize(
    ("fault", "arguments", "reason"),
    [
        ("mute", {}, Reason.STALE),
        ("delay", {"ms": 700}, Reason.LATENCY),
        ("drop_field", {"field": "s"}, Reason.SCHEMA),
        ("status", {"status": "HALT"}, Reason.EXCHANGE),
    ],
)
async def test_trouble_of_one_symbol_halts_it_alone(
    fault: str, arguments: dict[str, Any], reason: Reason
) -> None:
    settings = PACKED | {"FEEDD_EXCHANGE_STATUS_SECONDS": "0.2", "FEEDD_STREAMS": "trade,kline_1s"}
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **settings)) as feedd:
        await feedd.until_open()
        exchange.set_fault(fault, symbol=HIT, seconds=1.5, **arguments)
        await feedd.until(lambda feedd: reason in feedd.symbol_state(HIT).gate.active)
        _assert_others_are_untouched(feedd)
        await feedd.until_open(HIT)
        _assert_others_are_untouched(feedd)


async def test_frame_that_names_no_stream_counts_against_all_that_share_the_connection() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **PACKED)) as feedd:
        await feedd.until_open()
        exchange.set_fault("garbage", symbol=HIT, mode="binary", count=1)
        await feedd.until(lambda _: feedd.symbol_state(HIT).counts.invalid[InvalidReason.BINARY] == 1)
        hit = [
            symbol for symbol in SYMBOLS if feedd.symbol_state(symbol).counts.invalid[InvalidReason.BINARY]
        ]
        assert hit == list(SYMBOLS[:5])
        _assert_others_are_untouched(feedd)


async def test_bug_with_one_symbol_halts_it_alone() -> None:
    broken = True

    def deliver(stream_state: StreamState, raw: bytes) -> None:
        if broken and stream_state.symbol == HIT:
            raise ZeroDivisionError("a bug in an output")

    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **PACKED), deliver) as feedd:
        await feedd.until(lambda feedd: Reason.INTERNAL in feedd.symbol_state(HIT).gate.active)
        await feedd.until_open(*OTHERS)
        broken = False
        await feedd.until_open(HIT)
        assert exchange.stats.connects == 2


async def test_more_streams_than_a_url_takes_are_subscribed_over_the_connection() -> None:
    symbols = tuple(f"A{number:03}RATHERLONGSYMBOLNAMEUSDT" for number in range(150))
    market = ExchangeSettings(symbols=symbols, rate=2.0)
    packed = {"FEEDD_SYMBOLS": ",".join(symbols), "FEEDD_SYMBOLS_PER_CONNECTION": "150"}
    async with Exchange(market) as exchange, running(settings_for(exchange, **packed)) as feedd:
        await feedd.until_open()
        assert exchange.stats.connects == 1


async def test_symbol_that_goes_takes_only_its_own_connection_along() -> None:
    market = ExchangeSettings(symbols=SYMBOLS, rate=50.0)
    async with Exchange(market) as exchange, running(settings_for(exchange, **PACKED)) as feedd:
        await feedd.until_open()
        fewer = settings_for(exchange, **PACKED | {"FEEDD_SYMBOLS": ",".join(OTHERS)})
        assert feedd.daemon._supervisor is not None
        await feedd.daemon._supervisor.end_outdated(fewer)
        feedd.daemon.state.apply_settings(fewer, time.monotonic())
        feedd.daemon._supervisor.begin(fewer)
        await feedd.until_open()
        assert {feedd.symbol_state(symbol).counts.connects for symbol in SYMBOLS[1:5]} == {2}
        assert {feedd.symbol_state(symbol).counts.connects for symbol in SYMBOLS[5:]} == {1}
