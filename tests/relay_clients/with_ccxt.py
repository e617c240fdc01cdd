"""ccxt.pro: watch_trades. The addresses are in `urls`."""

from __future__ import annotations

import asyncio

import ccxt.pro

from tests.relay_clients.report import Report, read_order


async def main() -> None:
    order = read_order()
    report = Report(order.trades)
    urls = {"api": {"ws": {"spot": f"{order.relay}/ws"}, "public": f"{order.rest}/api/v3"}}
    exchange = ccxt.pro.binance({"urls": urls, "options": {"fetchMarkets": {"types": ["spot"]}}})
    is_done = False
    while not is_done:
        for trade in await exchange.watch_trades("BTC/USDT"):
            is_done = report.add(trade["id"], trade["price"], trade["amount"])
    await exchange.close()


asyncio.run(main())
