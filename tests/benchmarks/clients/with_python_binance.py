"""python-binance: a trade socket per symbol of its socket manager, whose STREAM_URL is the address.

Its queue's limit is lifted: at the default of 100 messages a flood ends its reading for good.
"""

from __future__ import annotations

import asyncio
import time

import uvloop
from binance import AsyncClient, BinanceSocketManager

from tests.benchmarks.clients.order import read_order, run, tell_and_leave


class Meter:
    """Counts trades, and takes their latency."""

    received = 0
    latency = 0.0

    async def read(self, manager: BinanceSocketManager, symbol: str) -> None:
        async with manager.trade_socket(symbol) as socket:
            while True:
                message = await socket.recv()
                self.latency = time.time() - message["E"] * 0.001
                self.received += 1


async def main() -> None:
    order, meter = read_order(), Meter()
    client = AsyncClient()
    manager = BinanceSocketManager(client, max_queue_size=10**9)
    manager.STREAM_URL = f"{order.ws_url}/"
    async with asyncio.TaskGroup() as readers:
        for symbol in order.symbols:
            readers.create_task(meter.read(manager, symbol))
        tell_and_leave(await run(order, lambda: meter.received))


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
