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

from tests.benchmarks.clients.order import Order, resident_bytes, until, warm_up
from tests.benchmarks.clients.with_feedd import received, running, settings_for
from tests.benchmarks.processes import serving

CONNECTIONS = 10
LIMIT_BYTES = 5 * 1024 * 1024


async def memory_growth(order: Order) -> int:
    """Send an order ten times; returns by how many bytes the process grew from the first time to the last."""
    async with running(settings_for(order)) as (daemon, _):
        await warm_up(order, lambda: received(daemon))
        after_first = 0
        for part in range(1, 11):
            await asyncio.to_thread(order.begin)
            await until(lambda: received(daemon), order.connections + part * order.messages)
            gc.collect()
            after_first = after_first or resident_bytes()
        return resident_bytes() - after_first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000_000)
    arguments = parser.parse_args()
    began = time.monotonic()
    with serving() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        growth = runner.run(memory_growth(server.order(CONNECTIONS, arguments.messages // 10)))
    seconds = time.monotonic() - began
    print(f"{arguments.messages} messages in {seconds:.0f} s: resident memory grew by {growth / 1e6:.2f} MB")
    sys.exit(growth >= LIMIT_BYTES)


if __name__ == "__main__":
    main()
