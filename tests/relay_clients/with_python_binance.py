"""python-binance: its socket manager's trade socket. The address is the manager's STREAM_URL."""

from __future__ import annotations

import asyncio

from binance import AsyncClient, BinanceSocketManager

from tests.relay_clients.report import Report, read_order


async def main() -> None:
    order = read_order()
    report = Report(order.trades)
    client = AsyncClient()
    manager = BinanceSocketManager(client)
    manager.STREAM_URL = f"{order.relay}/"
    async with manager.trade_socket("BTCUSDT") as socket:
        while True:
            trade = await socket.recv()
            if report.add(trade["t"], trade["p"], trade["q"]):
                break
    await client.close_connection()


asyncio.run(main())
