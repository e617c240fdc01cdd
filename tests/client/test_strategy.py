"""The README's example strategy: it is the file that is shipped, and the file works."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from textwrap import indent

from feedd.exchange import Exchange, ExchangeSettings
from tests.client.proxy import Proxy
from tests.running import SYMBOLS, running, settings_for

PROJECT = Path(__file__).parents[2]
STRATEGY = PROJECT / "examples" / "strategy.py"
HIT = SYMBOLS[0]


def test_readme_shows_the_strategy_as_it_is() -> None:
    text = STRATEGY.read_text()
    assert indent(text, "    ") in (PROJECT / "README.md").read_text()
    assert len(text.splitlines()) < 40


async def test_strategy_buys_while_open_and_cancels_on_a_halt() -> None:
    async with (
        Exchange(ExchangeSettings(symbols=SYMBOLS, rate=50.0)) as exchange,
        running(settings_for(exchange)) as daemon,
        Proxy(daemon.url, exchange.ws_url) as proxy,
    ):
        await daemon.until_open()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(STRATEGY),
            proxy.url,
            HIT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            assert await line_with(process, f"buy {HIT} at ")
            daemon.daemon.state.set_kill_switch(True, time.monotonic())
            exchange.set_fault("gap", symbol=HIT, stream="trade", count=3)
            lines = {await line_with(process, "halted (", "missed 3 of trade") for _ in range(2)}
            assert f"{HIT} halted (kill_switch): every order is cancelled" in lines
            assert "missed 3 of trade: begin anew" in lines
        finally:
            process.kill()
            await process.communicate()


async def line_with(process: asyncio.subprocess.Process, *texts: str) -> str:
    """Read what it prints until a line has one of these in it."""
    assert process.stdout is not None
    printed = []
    async with asyncio.timeout(20.0):
        while line := (await process.stdout.readline()).decode():
            if any(text in line for text in texts):
                return line.rstrip()
            printed.append(line)
    raise AssertionError("".join(printed))
