"""cryptofeed: a feed per symbol with its trades, which are Binance's aggTrades, under one feed handler.

Its connections refuse an address that isn't wss://. So `connect`, which feeds are meant to override, puts the
plain address in once they are made: all clients are measured without TLS.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.types import Trade

from tests.benchmarks.clients.order import Order, read_order, run, tell_and_leave


class PlainBinance(Binance):  # type: ignore[misc]  # no types
    """Binance without TLS."""

    def connect(self) -> list[Any]:
        connections: list[Any] = super().connect()
        for connection, *_ in connections:
            connection.address = connection.address.replace("wss://", "ws://")
        return connections


class Meter:
    """Counts trades, and takes their latency."""

    received = 0
    latency = 0.0

    async def take(self, trade: Trade, received_at: float) -> None:
        self.latency = time.time() - trade.timestamp
        self.received += 1


def add_feeds(handler: FeedHandler, order: Order, meter: Meter) -> None:
    """Add a feed per symbol."""
    Binance.websocket_endpoints = [WebsocketEndpoint(order.ws_url.replace("ws://", "wss://"))]
    Binance.rest_endpoints = [RestEndpoint(order.rest_url, routes=Binance.rest_endpoints[0].routes)]
    for symbol in order.symbols:
        pair = f"{symbol.removesuffix('USDT')}-USDT"
        handler.add_feed(PlainBinance(symbols=[pair], channels=[TRADES], callbacks={TRADES: meter.take}))


def main() -> None:
    order, meter = read_order(), Meter()
    handler = FeedHandler(config={"log": {"disabled": True}})  # from now on the event loop is uvloop's
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    add_feeds(handler, order, meter)
    handler.run(start_loop=False, install_signal_handlers=False)
    tell_and_leave(loop.run_until_complete(run(order, lambda: meter.received)))


main()
