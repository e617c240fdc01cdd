"""The embedded exchange: a server that speaks Binance spot, with a simulated market and faults on demand.

Operators drill their alert chain with it, and feedd's tests run against it. It shares no code with what reads
the exchange, so that each is a test of the other. The one exception is how requests on stream connections are
read and answered (venues/binance/common/stream_protocol.py), which the relay shares: of that it is no
independent test.
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
