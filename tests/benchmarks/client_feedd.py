"""Runs feedd's whole pipeline against the flood and prints what it cost: CPU per message, and memory."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from feedd.daemon import Daemon
from feedd.settings import resolve


def cpu_seconds() -> float:
    """Return the CPU time that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def daemon_for(port: int, connections: int) -> Daemon:
    """Return a daemon with one symbol per connection, each with its trades."""
    arguments = {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": ",".join(f"S{number}USDT" for number in range(connections)),
        "FEEDD_STREAMS": "trade",
        "FEEDD_WS_URL": f"ws://127.0.0.1:{port}",
        "FEEDD_REST_URL": f"http://127.0.0.1:{port}",
        "FEEDD_LISTEN": "127.0.0.1:0",
    }
    return Daemon(resolve(None, {}, arguments).settings)


def received(daemon: Daemon) -> int:
    """Return how many messages have been handed on."""
    return sum(lane.messages for session in daemon.desk.sessions.values() for lane in session.lanes.values())


async def start_flood(port: int, messages_per_connection: int) -> None:
    """Have the server send that many messages on every connection."""
    url = f"http://127.0.0.1:{port}/start?messages={messages_per_connection}"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        await response.read()


async def wait_connected(daemon: Daemon) -> None:
    """Wait until every symbol has its connection."""
    while not all(session.is_connected for session in daemon.desk.sessions.values()):
        await asyncio.sleep(0.05)


async def _measure(port: int, connections: int, messages: int) -> None:
    daemon = daemon_for(port, connections)
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    await daemon.listening()
    await wait_connected(daemon)
    await asyncio.sleep(0.3)  # the clock is measured meanwhile; it is not what is measured here
    before = cpu_seconds()
    await start_flood(port, messages // connections)
    while received(daemon) < messages // connections * connections:
        await asyncio.sleep(0.05)
    spent = cpu_seconds() - before
    print(json.dumps({"messages": received(daemon), "cpu_us": spent * 1e6 / received(daemon)}))
    stop.set()
    await task


def run_client(measure: Callable[[int, int, int], Coroutine[Any, Any, None]]) -> None:
    """Run a client with the port, the connections and the messages that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("messages", type=int)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(arguments.port, arguments.connections, arguments.messages))


if __name__ == "__main__":
    run_client(_measure)
