"""cryptofeed: its trades are aggTrades. The addresses are the exchange's endpoints; it insists on TLS."""

from __future__ import annotations

import asyncio
import os
import signal

from cryptofeed import FeedHandler
from cryptofeed.connection import RestEndpoint, WebsocketEndpoint
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.types import Trade

from tests.relay_clients.report import Report, read_order

ORDER = read_order()
REPORT = Report(ORDER.trades)


async def take(trade: Trade, received_at: float) -> None:
    if REPORT.add(trade.id, trade.price, trade.amount):
        os.kill(os.getpid(), signal.SIGINT)  # how a handler that runs is told to stop


asyncio.set_event_loop(asyncio.new_event_loop())
Binance.websocket_endpoints = [WebsocketEndpoint(ORDER.relay)]
Binance.rest_endpoints = [RestEndpoint(ORDER.rest, routes=Binance.rest_endpoints[0].routes)]
handler = FeedHandler(config={"log": {"disabled": True}})
handler.add_feed(Binance(symbols=["BTC-USDT"], channels=[TRADES], callbacks={TRADES: take}))
handler.run()
