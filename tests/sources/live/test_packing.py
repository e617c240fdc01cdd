"""Many symbols on one connection: what is per symbol stays per symbol."""

from __future__ import annotations

from typing import Any

import pytest

from feedd.core.symbol_state import Lane
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import InvalidReason, Reason
from tests.running import Running, running, settings_for

SYMBOLS = tuple(f"S{number}USDT" for number in range(10))
HIT, *OTHERS = SYMBOLS
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=50.0)
PACKED = {"FEEDD_SYMBOLS": ",".join(SYMBOLS), "FEEDD_SYMBOLS_PER_CONNECTION": "5"}


def _assert_others_are_untouched(feedd: Running) -> None:
    for symbol in OTHERS:
        assert not feedd.session(symbol).gate.halted
        assert sum(feedd.session(symbol).gate.halts.values()) == 0
        assert feedd.session(symbol).counts.connects == 1


async def test_connections_are_shared() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **PACKED)) as feedd:
        await feedd.until_open()
        assert exchange.stats.connects == 2
        for symbol in SYMBOLS:
            lanes = feedd.session(symbol).lanes
            await feedd.until(lambda _, lanes=lanes: all(lane.messages for lane in lanes.values()))  # type: ignore[misc]  # lambda


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
        await feedd.until(lambda feedd: reason in feedd.session(HIT).gate.active)
        _assert_others_are_untouched(feedd)
        await feedd.until_open(HIT)
        _assert_others_are_untouched(feedd)


async def test_frame_that_names_no_stream_counts_against_all_that_share_the_connection() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **PACKED)) as feedd:
        await feedd.until_open()
        exchange.set_fault("garbage", symbol=HIT, mode="binary", count=1)
        await feedd.until(lambda _: feedd.session(HIT).counts.invalid[InvalidReason.BINARY] == 1)
        hit = [symbol for symbol in SYMBOLS if feedd.session(symbol).counts.invalid[InvalidReason.BINARY]]
        assert hit == list(SYMBOLS[:5])
        _assert_others_are_untouched(feedd)


async def test_bug_with_one_symbol_halts_it_alone() -> None:
    broken = True

    def deliver(lane: Lane, raw: bytes) -> None:
        if broken and lane.symbol == HIT:
            raise ZeroDivisionError("a bug in an output")

    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange, **PACKED), deliver) as feedd:
        await feedd.until(lambda feedd: Reason.INTERNAL in feedd.session(HIT).gate.active)
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
        assert feedd.daemon._feeds is not None
        await feedd.daemon._feeds.follow(fewer)
        await feedd.until_open()
        assert {feedd.session(symbol).counts.connects for symbol in SYMBOLS[1:5]} == {2}
        assert {feedd.session(symbol).counts.connects for symbol in SYMBOLS[5:]} == {1}
