"""The least a client can do: picows on uvloop, orjson, and the message's latency taken."""

from __future__ import annotations

import asyncio
import ssl
import time

import orjson
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.benchmarks.clients.order import Order, note_delays, read_order, run, tell
from tests.benchmarks.clients.stamp import PRICE_BASE


class Flooded(WSListener):
    """Takes the latency from the event time, as Binance's messages allow."""

    received = 0
    latency = 0.0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            message = orjson.loads(frame.get_payload_as_memoryview())
            Flooded.latency = time.time() - message["data"]["E"] * 0.001
            Flooded.received += 1


DELAYS: list[float] = []


class Paced(WSListener):
    """Takes the latency from the price, which is exact, and keeps it."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            message = orjson.loads(frame.get_payload_as_memoryview())
            DELAYS.append(time.monotonic() + PRICE_BASE - float(message["data"]["p"]))


async def _connect(order: Order) -> list[WSTransport]:
    listener = Flooded if order.rate is None else Paced
    tls = None if order.tls_port is None else ssl.create_default_context()
    urls = [f"{order.ws_url}/stream?streams={symbol.lower()}@trade" for symbol in order.symbols]
    return [(await ws_connect(listener, url, ssl_context=tls))[0] for url in urls]


async def main() -> None:
    order = read_order()
    transports = await _connect(order)
    if order.rate is None:
        cost = await run(order, lambda: Flooded.received)
    else:
        cost = await run(order, lambda: len(DELAYS))
        note_delays(cost, DELAYS[order.connections :])
    tell(cost)
    for transport in transports:
        transport.disconnect()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
