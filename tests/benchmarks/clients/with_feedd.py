"""feedd: the daemon as it is run, every part of it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import uvloop

from feedd.config.resolve import resolve
from feedd.config.settings import Settings
from feedd.core.stream_state import StreamState
from feedd.daemon import Daemon
from feedd.sources.symbol_pipeline import Deliver
from tests.benchmarks.clients.order import Order, note_delays, read_order, run, tell
from tests.benchmarks.clients.stamp import price_in, send_time

CONNECT_BUDGET = 100_000
"""Binance allows an address 300 connections in five minutes; the server here doesn't count."""


def settings_for(order: Order, **more: str) -> Settings:
    """Return the settings of a daemon with one symbol per connection, each with its trades."""
    arguments = {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": ",".join(order.symbols),
        "FEEDD_STREAMS": "trade",
        "FEEDD_WS_URL": order.ws_url,
        "FEEDD_REST_URL": order.rest_url,
        "FEEDD_LISTEN": "127.0.0.1:0",
        # What waits in a flood is late by nature; a halted symbol would not show what a message costs.
        "FEEDD_LATENCY_LIMIT_SECONDS": "60",
    }
    return replace(resolve(None, {}, arguments | more).settings, connect_budget=CONNECT_BUDGET)


@asynccontextmanager
async def running(settings: Settings, deliver: Deliver | None = None) -> AsyncIterator[tuple[Daemon, str]]:
    """Run a daemon; yields it and where it listens. Its gates must be open at the end."""
    daemon, stop = Daemon(settings, deliver, settled=gc.freeze), asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    try:
        yield daemon, str(await daemon.listening())
        halted = [symbol for symbol, session in daemon.state.symbols.items() if session.gate.halted]
        assert not halted, f"halted: {halted}"
    finally:
        stop.set()
        await task


def received(daemon: Daemon) -> int:
    """Return how many messages have been handed on."""
    return sum(
        stream.messages for session in daemon.state.symbols.values() for stream in session.streams.values()
    )


class Arrivals:
    """Notes when messages are handed on."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._frames: list[bytes] = []

    def deliver(self, stream_state: StreamState, raw: bytes) -> None:
        # Read afterwards: it would be measured otherwise.
        self._times.append(time.monotonic())
        self._frames.append(raw)

    def __len__(self) -> int:
        return len(self._times)

    def delays(self) -> list[tuple[float, float]]:
        """Return when each message was handed on (monotonic seconds), and how long after its sending."""
        sent = (send_time(price_in(frame)) for frame in self._frames)
        return [(at, at - before) for at, before in zip(self._times, sent, strict=True)]


async def main() -> None:
    order = read_order()
    arrivals = Arrivals()
    async with running(settings_for(order), None if order.rate is None else arrivals.deliver) as (daemon, _):
        if order.rate is None:
            cost = await run(order, lambda: received(daemon))
        else:
            cost = await run(order, lambda: len(arrivals))
            note_delays(cost, [delay for _, delay in arrivals.delays()[order.connections :]])
        tell(cost)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
