"""The least a client can do: picows on uvloop, orjson, and the event's latency taken. Prints what it cost."""

from __future__ import annotations

import asyncio
import json
import time

import orjson
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tests.benchmarks.client_feedd import cpu_seconds, run_client, start_flood


class Listener(WSListener):
    """Decodes a message and takes its latency."""

    received = 0
    latency = 0.0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT:
            message = orjson.loads(frame.get_payload_as_memoryview())
            Listener.latency = time.time() - message["data"]["E"] * 0.001
            Listener.received += 1


async def _measure(port: int, connections: int, messages: int) -> None:
    transports = [
        (await ws_connect(Listener, f"ws://127.0.0.1:{port}/stream?streams=s{number}usdt@trade"))[0]
        for number in range(connections)
    ]
    before = cpu_seconds()
    await start_flood(port, messages // connections)
    while Listener.received < messages // connections * connections:
        await asyncio.sleep(0.05)
    spent = cpu_seconds() - before
    print(json.dumps({"messages": Listener.received, "cpu_us": spent * 1e6 / Listener.received}))
    for transport in transports:
        transport.disconnect()


if __name__ == "__main__":
    run_client(_measure)
