"""The demo: the pages that it reports answer, the fault that it suggests halts, and its end is clean."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from yarl import URL

from feedd.cli.demo import SYMBOLS, run_demo
from feedd.config.settings import Settings
from feedd.errors import SettingsError

ANY_PORT = "127.0.0.1:0"


@pytest.fixture(autouse=True)
def log_is_left_as_it_was() -> Iterator[None]:
    root = logging.getLogger("feedd")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


@asynccontextmanager
async def demo() -> AsyncIterator[str]:
    """Run the demo. Yields what it reports."""
    stop, reports = asyncio.Event(), asyncio.Queue[str]()
    task = asyncio.create_task(run_demo(stop, reports.put_nowait, ANY_PORT, exchange_port=0))
    try:
        async with asyncio.timeout(20.0):
            yield await reports.get()
    finally:
        stop.set()
        await task


async def test_every_page_that_is_reported_answers() -> None:
    async with demo() as text, aiohttp.ClientSession() as http:
        pages = re.findall(r"^  (http://\S+) ", text, re.MULTILINE)
        assert [URL(page).path for page in pages] == ["/", "/metrics", "/gate", "/"]
        for page in pages:
            async with http.get(page) as response:
                # A gate that is not open yet is a 503, and an answer.
                assert response.status == 200 or page.endswith("/gate"), page


async def test_fault_that_is_suggested_is_one_that_halts() -> None:
    async with demo() as text, aiohttp.ClientSession() as http:
        _, _, fault, url = shlex.split(next(line for line in text.splitlines() if "curl" in line))
        async with http.post(url, data=fault) as response:
            assert response.status == 200, await response.text()
            struck = await response.json()
    assert struck["symbol"] in SYMBOLS
    assert (struck["fault"], struck["stream"]) == ("mute", None)
    assert struck["seconds_left"] > Settings().stale_after_seconds + 2.0


async def test_daemon_of_the_demo_watches_its_symbols_in_real_time() -> None:
    async with demo() as text, aiohttp.ClientSession() as http:
        daemon_url = re.findall(r"--url (\S+)", text)[0]
        async with http.get(f"{daemon_url}/status") as response:
            status = await response.json()
    assert (status["source"], tuple(status["symbols"])) == ("realtime", SYMBOLS)


async def test_stopped_demo_leaves_no_listener() -> None:
    async with demo() as text:
        pages = re.findall(r"^  (http://\S+) ", text, re.MULTILINE)
    async with aiohttp.ClientSession() as http:
        for page in pages:
            with pytest.raises(aiohttp.ClientConnectionError):
                await http.get(page)


async def test_port_that_is_taken_is_an_os_error_and_stops_the_exchange() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        exchange_port = free.getsockname()[1]
        free.close()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        reports: list[str] = []
        with pytest.raises(OSError, match="address already in use"):
            await run_demo(asyncio.Event(), reports.append, listen, exchange_port)
    assert reports == []
    with socket.create_server(("127.0.0.1", exchange_port)):
        pass  # nobody listens there any more


async def test_listen_address_that_is_none_is_refused_and_reports_nothing() -> None:
    reports: list[str] = []
    with pytest.raises(SettingsError, match="FEEDD_LISTEN"):
        await run_demo(asyncio.Event(), reports.append, "nowhere", exchange_port=0)
    assert reports == []
