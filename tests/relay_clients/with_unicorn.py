"""unicorn-binance-websocket-api: its stream buffer. The address is the manager's `websocket_base_uri`."""

from __future__ import annotations

import json
import time

from unicorn_binance_websocket_api import BinanceWebSocketApiManager

from tests.relay_clients.report import Report, read_order

order = read_order()
report = Report(order.trades)
with BinanceWebSocketApiManager(
    exchange="binance.com", websocket_base_uri=f"{order.relay}/", warn_on_update=False
) as manager:
    manager.create_stream("trade", "btcusdt")
    is_done = False
    while not is_done:
        text = manager.pop_stream_data_from_stream_buffer()
        if not text:
            time.sleep(0.01)  # its buffer has no other way to wait
        elif "data" in (message := json.loads(text)):  # the first is the answer to its SUBSCRIBE
            trade = message["data"]
            is_done = report.add(trade["t"], trade["p"], trade["q"])
