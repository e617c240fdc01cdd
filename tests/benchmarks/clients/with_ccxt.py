"""ccxt.pro: watch_trades in a task per symbol. The addresses are in `urls`.

Its options let it have a connection per symbol, and remember so many trades that watch_trades, which returns
those since the last time, can't lose any.
"""

from __future__ import annotations

import asyncio
import time

import ccxt.pro
import uvloop

from tests.benchmarks.clients.order import Order, read_order, run, tell_and_leave


class Meter:
    """Counts trades, and takes their latency."""

    received = 0
    latency = 0.0

    async def read(self, exchange: ccxt.pro.binance, symbol: str) -> None:
        while True:
            for trade in await exchange.watch_trades(symbol):
                self.latency = time.time() - trade["timestamp"] * 0.001
                self.received += 1


def exchange_for(order: Order) -> ccxt.pro.binance:
    """Return ccxt's Binance at the order's addresses."""
    return ccxt.pro.binance(
        {
            "urls": {"api": {"ws": {"spot": f"{order.ws_url}/ws"}, "public": f"{order.rest_url}/api/v3"}},
            "options": {
                "fetchMarkets": {"types": ["spot"]},
                "streamLimits": {"spot": order.connections},
                "tradesLimit": 100_000,
            },
        }
    )


async def main() -> None:
    order, meter = read_order(), Meter()
    exchange = exchange_for(order)
    await exchange.load_markets()
    pairs = [f"{symbol.removesuffix('USDT')}/USDT" for symbol in order.symbols]
    async with asyncio.TaskGroup() as readers:
        for pair in pairs:
            readers.create_task(meter.read(exchange, pair))
        tell_and_leave(await run(order, lambda: meter.received))


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
