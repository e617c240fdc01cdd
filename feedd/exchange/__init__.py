"""The embedded exchange: a server that speaks Binance spot, with a made-up market and a board of faults.

Operators drill their alert chain with it, and feedd's tests run against it. It shares nothing with the code
that reads the real exchange, so that each is a witness of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from feedd.exchange.fault_registry import AnyFault, FaultError
from feedd.exchange.server import Exchange
from feedd.exchange.settings import ExchangeSettings
from feedd.exchange.stats import Stats

__all__ = ["AnyFault", "Exchange", "ExchangeSettings", "FaultError", "Stats", "serve"]


async def serve(
    settings: ExchangeSettings,
    host: str,
    port: int,
    announce: Callable[[Exchange], None],
    stop: asyncio.Event,
) -> None:
    """Run an exchange until told to stop; `announce` is called once it listens.

    Raises:
        SettingsError: the session to replay can't be read.
        OSError: the address can't be listened on.
    """
    exchange = Exchange(settings)
    await exchange.start(host, port)
    try:
        announce(exchange)
        await exchange.run_until(stop)
    finally:
        await exchange.stop()
