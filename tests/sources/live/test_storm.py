"""An exchange that accepts and closes at once: nobody is banned, and the first good connection is used."""

from __future__ import annotations

import asyncio
import time

import pytest

from feedd.exchange import Exchange, ExchangeSettings
from tests.running import Running, running, settings_for

SYMBOLS = tuple(f"S{number}USDT" for number in range(50))
BUDGET = 240


@pytest.mark.parametrize("seconds", [10.0, pytest.param(60.0, marks=pytest.mark.endurance)])
async def test_accept_then_close_of_50_symbols_stays_within_the_budget(seconds: float) -> None:
    market = ExchangeSettings(symbols=SYMBOLS, rate=5.0)
    settings = {"FEEDD_SYMBOLS": ",".join(SYMBOLS), "FEEDD_CONNECT_BUDGET": str(BUDGET)}
    async with Exchange(market) as exchange, running(settings_for(exchange, **settings)) as feedd:
        await feedd.until_open()
        exchange.set_fault("flap", seconds=seconds)
        exchange.set_fault("reset")
        await asyncio.sleep(seconds)  # the storm lasts as long as it lasts
        assert not exchange.stats.refusals
        assert exchange.stats.attempts <= BUDGET
        over_at = time.monotonic()

        # One attempt a second finds out that it is over, and then everyone connects.
        await feedd.until(_has_an_open_gate)
        await feedd.until_open()
        assert time.monotonic() - over_at < 6.0
        assert not exchange.stats.refusals
        assert exchange.stats.attempts <= BUDGET


def _has_an_open_gate(feedd: Running) -> bool:
    return any(not symbol_state.gate.halted for symbol_state in feedd.daemon.state.symbols.values())


async def test_outage_leaves_the_budget_for_everyones_return() -> None:
    market = ExchangeSettings(symbols=SYMBOLS, rate=5.0)
    settings = {"FEEDD_SYMBOLS": ",".join(SYMBOLS), "FEEDD_CONNECT_BUDGET": str(BUDGET)}
    async with Exchange(market) as exchange, running(settings_for(exchange, **settings)) as feedd:
        await feedd.until_open()
        exchange.set_fault("refuse", seconds=5.0)
        exchange.set_fault("reset")
        await feedd.until(lambda feedd: feedd.daemon.state.connect_budget.outage_since is not None)
        await feedd.until_open(timeout=15.0)
        attempts = sum(
            symbol_state.counts.connects + sum(symbol_state.counts.connect_failures.values())
            for symbol_state in feedd.daemon.state.symbols.values()
        )
        assert attempts < 2 * len(SYMBOLS) + 20
        assert feedd.daemon.state.connect_budget.outage_since is None


async def test_few_feeds_are_back_together_once_the_exchange_is() -> None:
    few = SYMBOLS[:8]
    market = ExchangeSettings(symbols=few, rate=20.0)
    async with (
        Exchange(market) as exchange,
        running(settings_for(exchange, FEEDD_SYMBOLS=",".join(few))) as feedd,
    ):
        await feedd.until_open()
        exchange.set_fault("refuse", seconds=3.0)
        exchange.set_fault("reset")
        await feedd.until(lambda feedd: feedd.daemon.state.connect_budget.outage_since is not None)
        await feedd.until(lambda feedd: bool(_reconnected(feedd)), timeout=10.0)
        began = time.monotonic()
        await feedd.until(lambda feedd: len(_reconnected(feedd)) == len(few))
        assert time.monotonic() - began < 0.4


async def test_feed_that_fails_alone_is_no_outage() -> None:
    market = ExchangeSettings(symbols=SYMBOLS[:10], rate=20.0)
    settings = {"FEEDD_SYMBOLS": ",".join(SYMBOLS[:10])}
    async with Exchange(market) as exchange, running(settings_for(exchange, **settings)) as feedd:
        await feedd.until_open()
        for symbol in SYMBOLS[:10]:
            exchange.set_fault("refuse", symbol=symbol, seconds=0.6)
            exchange.set_fault("reset", symbol=symbol)
            await feedd.until_open(symbol)
            assert feedd.daemon.state.connect_budget.outage_since is None


async def test_symbols_that_somebody_listens_to_come_back_first() -> None:
    market = ExchangeSettings(symbols=SYMBOLS[:20], rate=5.0)
    # After the start there are ten attempts left at once, and then one in half a minute.
    settings = {"FEEDD_SYMBOLS": ",".join(SYMBOLS[:20]), "FEEDD_CONNECT_BUDGET": "40"}
    used = SYMBOLS[10:15]
    async with Exchange(market) as exchange, running(settings_for(exchange, **settings)) as feedd:
        await feedd.until_open()
        streams = "/".join(f"{symbol.lower()}@trade" for symbol in used)
        async with feedd.http.ws_connect(f"{feedd.url}/stream?streams={streams}"):
            exchange.set_fault("reset")
            await feedd.until(lambda feedd: len(_reconnected(feedd)) == 10)
            assert _reconnected(feedd) >= set(used)


def _reconnected(feedd: Running) -> set[str]:
    symbol_states = feedd.daemon.state.symbols
    return {symbol for symbol, symbol_state in symbol_states.items() if symbol_state.counts.connects == 2}
