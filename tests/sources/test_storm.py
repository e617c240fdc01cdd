"""An exchange that accepts and closes at once: nobody is banned, and the first good connection is used."""

from __future__ import annotations

import asyncio
import time

import pytest

from feedd.core.budget import RESERVE, WINDOW_SECONDS
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import DisconnectReason
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
        assert not exchange.seen.refusals
        assert exchange.seen.attempts <= BUDGET
        over_at = time.monotonic()

        await feedd.until(_has_an_open_gate, timeout=20.0)
        # At the latest when the reserve next lets an attempt through, and the data has proved itself.
        pace = WINDOW_SECONDS / (BUDGET * RESERVE)
        assert time.monotonic() - over_at < pace + 2.5
        assert exchange.seen.attempts <= BUDGET


def _has_an_open_gate(feedd: Running) -> bool:
    sessions = feedd.daemon.desk.sessions.values()
    assert all(session.counts.disconnects[DisconnectReason.SERVER_CLOSE] for session in sessions)
    return any(not session.gate.halted for session in sessions)
