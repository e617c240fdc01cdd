"""`make stack`: starts everything, prints the page of what one breaks, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.alerts.stack import PROJECT, free_port, needs_components

SCRIPT = PROJECT / "deploy" / "stack"


def free_range() -> int:
    """Return the first of five ports that nobody listens on."""
    while True:
        first = free_port()
        if first < 65000 and all(is_free(port) for port in range(first, first + 5)):
            return first


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_there(path: Path) -> bool:
    return path.exists()


@asynccontextmanager
async def stack(first: int, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), "--base-port", str(first),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        cwd=PROJECT, env=os.environ | environ,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(
    process: asyncio.subprocess.Process, pattern: str, timeout: float = 30.0
) -> re.Match[str]:
    """Read until a line matches. Raises AssertionError with all that was read otherwise."""
    assert process.stdout is not None
    read = []
    try:
        async with asyncio.timeout(timeout):
            while line := (await process.stdout.readline()).decode():
                read.append(line)
                if found := re.search(pattern, line):
                    return found
    except TimeoutError:
        pass
    raise AssertionError(f"no {pattern!r} in:\n{''.join(read)}")


async def test_what_one_breaks_is_paged_and_ctrl_c_ends_all_of_it() -> None:
    needs_components()
    first = free_range()
    async with stack(first) as process:
        folder = Path((await line_with(process, r"(/\S+feedd-stack-\S+)   the logs"))[1])
        command = await line_with(process, r"curl -d '(.*)' (http\S+)")
        fault = command[1].replace("mute", "garbage")
        broken_at = time.monotonic()
        async with aiohttp.ClientSession() as http, http.post(command[2], data=fault) as response:
            assert response.status < 300, await response.text()
        page = await line_with(process, "PAGE critical FeeddTradingHalted: BTCUSDT is halted, reason schema")
        assert time.monotonic() - broken_at < 2
        assert "runbook.md#feeddtradinghalted" in page.string
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    assert [port for port in range(first, first + 5) if not is_free(port)] == []
    assert not is_there(folder)


async def test_port_that_is_taken_is_said() -> None:
    needs_components()
    first = free_range()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + 1))
        taken.listen()
        async with stack(first) as process:
            await line_with(process, "stack: http.* does not answer|address already in use")
            assert await process.wait() == 1
    assert [port for port in range(first, first + 5) if not is_free(port)] == []


async def test_missing_prometheus_is_said(tmp_path: Path) -> None:
    async with stack(free_range(), PATH=str(tmp_path)) as process:
        await line_with(
            process, "stack: prometheus is missing: apt-get install prometheus prometheus-alertmanager"
        )
        assert await process.wait() == 1
