"""unicorn-binance-websocket-api: one stream with all symbols, each message handed to a callback as a dict.

With a stream per symbol it would take a thread and some 0.4 s each to start. The address is the manager's
`websocket_base_uri`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from unicorn_binance_websocket_api import BinanceWebSocketApiManager

from tests.benchmarks.clients.order import read_order, run, tell_and_leave


class Meter:
    """Counts trades, and takes their latency."""

    received = 0
    latency = 0.0

    def take(self, message: dict[str, Any], stream_buffer_name: object = None) -> None:
        if "data" in message:  # the first is the answer to its SUBSCRIBE
            self.latency = time.time() - message["data"]["E"] * 0.001
            self.received += 1


def main() -> None:
    order, meter = read_order(), Meter()
    manager = BinanceWebSocketApiManager(
        exchange="binance.com",
        websocket_base_uri=f"{order.ws_url}/",
        process_stream_data=meter.take,
        output_default="dict",
        warn_on_update=False,
        disable_colorama=True,
        high_performance=True,  # create_stream doesn't wait
    )
    manager.create_stream("trade", [symbol.lower() for symbol in order.symbols])
    tell_and_leave(asyncio.run(run(order, lambda: meter.received)))


main()
