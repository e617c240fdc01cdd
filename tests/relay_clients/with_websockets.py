"""websockets: a bare connection that subscribes once it is open."""

from __future__ import annotations

import asyncio
import json

import websockets

from tests.relay_clients.report import Report, read_order


async def main() -> None:
    order = read_order()
    report = Report(order.trades)
    async with websockets.connect(f"{order.relay}/ws") as socket:
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}))
        assert json.loads(await socket.recv()) == {"result": None, "id": 1}
        async for text in socket:
            trade = json.loads(text)
            if report.add(trade["t"], trade["p"], trade["q"]):
                break


asyncio.run(main())
