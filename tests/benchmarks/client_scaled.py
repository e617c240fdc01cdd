"""A whole feedd in a process of its own, with a connect budget beyond what the exchange allows an address.

Takes settings as `KEY=value` arguments after the budget, prints its address, and ends with a line on stdin.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from dataclasses import replace

import uvloop

from feedd import logs
from feedd.config.resolve import resolve
from feedd.daemon import Daemon


async def _run(budget: int, arguments: dict[str, str]) -> None:
    settings = replace(resolve(None, {}, arguments).settings, connect_budget=budget)
    logs.set_up(settings.log_level, settings.log_format)
    daemon, stop = Daemon(settings, settled=gc.freeze), asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    task = asyncio.create_task(daemon.run(stop))
    print(await daemon.listening(), flush=True)
    await task


def main() -> None:
    budget, *pairs = sys.argv[1:]
    arguments = dict(pair.split("=", 1) for pair in pairs)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(int(budget), arguments))


if __name__ == "__main__":
    main()
