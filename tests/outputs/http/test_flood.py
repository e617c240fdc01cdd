"""A flood of half-open connections from a process of its own holds up neither the feed nor its gates."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from feedd.outputs.http.listener import ListenerLimits
from tests.client.test_gate import HIT, Asker, Daemons, asking, daemons

CONNECTIONS = 500
FLIPS = 60


@asynccontextmanager
async def flooded(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    host, _, port = url.rpartition("/")[2].partition(":")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.outputs.flooder", host, port, str(CONNECTIONS), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert int(await process.stdout.readline()) == CONNECTIONS
        yield process
    finally:
        process.kill()
        await process.communicate()


async def flip(starter: Daemons, asker: Asker) -> float:
    """Flip the kill switch and back. Returns how long it took to reach the asker."""
    assert starter.process is not None
    starter.env_file.set(FLAG_TRADING_HALTED="1")
    saved_at = time.monotonic()
    halted = await asker.until(False)
    assert halted.reasons == "kill_switch"  # and not that the daemon can't be heard
    starter.env_file.set(FLAG_TRADING_HALTED="0")
    starter.process.send(signal.SIGHUP)
    await asker.until(True)
    return halted.at - saved_at


async def status(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/status") as response:
        assert response.status == 200
        found: dict[str, Any] = await response.json()
        return found


async def turned_away(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as response:
        found = re.search(r'^feedd_http_rejections_total{reason="flood"} (\d+)$', await response.text(), re.M)
    assert found is not None
    return int(found[1])


async def test_flood_holds_up_neither_feed_nor_gate(tmp_path: Path) -> None:
    async with daemons(tmp_path) as starter:
        await starter.start()
        async with asking(starter.url) as asker:
            await asker.until(True)
            before, since = await status(starter.url), time.monotonic()
            async with flooded(starter.url) as flooder:
                delays = sorted([await flip(starter, asker) for _ in range(FLIPS)])
                assert delays[FLIPS * 95 // 100 - 1] <= 0.05, delays[-5:]
                began = time.monotonic()
                during = await status(starter.url)
                # A newcomer waits in the line of the flood, and gets in.
                assert time.monotonic() - began < 3.0
                assert flooder.returncode is None
                assert await turned_away(starter.url) >= CONNECTIONS - ListenerLimits().waiting
            symbol = during["symbols"][HIT]
            assert symbol["latency_seconds"]["processing"]["p99"] < 0.01
            assert symbol["halts"] == {"kill_switch": FLIPS}  # never stale, late or disconnected
            assert symbol["connects"] == 1
            messages = [
                sum(stream["messages"] for stream in found["symbols"][HIT]["streams"].values())
                for found in (before, during)
            ]
            assert messages[1] - messages[0] > 10 * (began - since)  # of some 30 a second
