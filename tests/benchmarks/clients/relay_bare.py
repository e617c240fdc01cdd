"""The least a relay can do: a uvloop server that writes the same prebuilt frame to each consumer."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import uvloop

from tests.benchmarks.clients.consumers import listening
from tests.benchmarks.clients.order import Order, cpu_seconds, read_order, resident_bytes, tell
from tests.benchmarks.clients.relay_feedd import DRAIN_SECONDS, RelayCost
from tests.benchmarks.server import Connection, Hub, Stream, sleep_exactly, sleep_until


class Recorder:
    """Stands in for a stream's transport, to have a frame as the server sends it."""

    frame = b""

    def write(self, frame: bytes) -> None:
        self.frame = frame


def prebuilt_frame(name: str) -> bytes:
    """Return a message of that stream."""
    recorder = Recorder()
    Stream(cast(asyncio.Transport, recorder), name, combined=True).send_one()
    return recorder.frame


async def measure(order: Order) -> RelayCost:
    """Serve the consumers, at the order's rate."""
    hub = Hub()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(hub), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    frame, path = prebuilt_frame("s10usdt@trade"), "/stream?streams=s10usdt@trade"
    listeners = listening(port, order.consumers, path, order.consumers_core, exact=False)
    heard = await asyncio.to_thread(listeners.__enter__)
    transports = [stream.transport for stream in hub.streams]
    before, began = cpu_seconds(), time.monotonic()
    await _write(order, frame, transports)
    spent, seconds = cpu_seconds() - before, time.monotonic() - began
    await asyncio.sleep(DRAIN_SECONDS)
    await asyncio.to_thread(listeners.__exit__, None, None, None)
    delivered = order.messages * order.consumers
    assert heard[0].messages == delivered, heard[0].messages
    cpu_us = spent * 1e6 / order.messages
    return RelayCost(order.messages, cpu_us, seconds, resident_bytes(), delivered=delivered)


async def _write(order: Order, frame: bytes, transports: list[asyncio.Transport]) -> None:
    sleep_exactly()
    assert order.rate is not None
    due = time.monotonic()
    for _ in range(order.messages):
        due = max(due, sleep_until(due) - 0.005) + 1.0 / order.rate
        for transport in transports:
            transport.write(frame)
        await asyncio.sleep(0)  # uvloop writes when its turn is over


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(measure(read_order())))
