"""`make soak`: does feedd's memory grow? Millions of messages through the whole pipeline of one process.

The resident memory after the first tenth is compared with the one after the last message.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time

import uvloop

from tests.benchmarks.client_feedd import daemon_for, received, resident_bytes, start_flood, wait_connected
from tests.benchmarks.ingest import flood_server

CONNECTIONS = 10
LIMIT_BYTES = 5 * 1024 * 1024


async def memory_growth(port: int, messages: int) -> int:
    """Return by how many bytes the process grew from the first tenth of the messages to the last one."""
    daemon = daemon_for(port, CONNECTIONS)
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    await daemon.listening()
    await wait_connected(daemon)
    share = messages // 10
    after_first = 0
    for part in range(1, 11):
        await start_flood(port, share // CONNECTIONS)
        while received(daemon) < part * (share // CONNECTIONS) * CONNECTIONS:
            await asyncio.sleep(0.01)
        gc.collect()
        after_first = after_first or resident_bytes()
    growth = resident_bytes() - after_first
    stop.set()
    await task
    return growth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000_000)
    arguments = parser.parse_args()
    began = time.monotonic()
    with flood_server() as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        growth = runner.run(memory_growth(port, arguments.messages))
    seconds = time.monotonic() - began
    print(f"{arguments.messages} messages in {seconds:.0f} s: resident memory grew by {growth / 1e6:.2f} MB")
    sys.exit(growth >= LIMIT_BYTES)


if __name__ == "__main__":
    main()
