"""Loads on a daemon's HTTP side. Each checks the daemon's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from feedd.drill.case import HttpLoad
from feedd.errors import FeeddError

_SCRAPES: Final = 30
_GATE_REQUESTS: Final = 300
_AT_ONCE: Final = 20
_CONSUMERS: Final = 20
_UNREAD_SECONDS: Final = 1.0
_UPGRADE: Final = (
    b"GET /gate/events HTTP/1.1\r\nHost: feedd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: ZmVlZGQgaXMgZHJpbGxlZA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_BAD_REQUESTS: Final = (
    b"no http at all\r\n\r\n",
    b"GET /gate HTTP/9.9\r\n\r\n",
    b"GET /gate HTTP/1.1\r\nHost: feedd\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
    b"POST /gate HTTP/1.1\r\nHost: feedd\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
)


class AnswerError(FeeddError):
    """The daemon has answered wrongly, or not at all."""


async def apply_load(load: HttpLoad, http: aiohttp.ClientSession, url: str) -> None:
    """Apply one load to the daemon at `url`.

    Raises:
        AnswerError: the daemon has answered wrongly, or not at all.
    """
    try:
        await _LOADS[load](http, url)
    except (aiohttp.ClientError, OSError) as error:
        raise AnswerError(f"{load}: {error!r}") from error


async def _scrape(http: aiohttp.ClientSession, url: str) -> None:
    # More scrapes than the daemon writes at once are told to come again: 503.
    await _request_often(http, f"{url}/metrics", _SCRAPES, (200, 503))


async def _request_gate(http: aiohttp.ClientSession, url: str) -> None:
    # Other symbols may be halted at the time: the answer is then 503, and just as good.
    await _request_often(http, f"{url}/gate", _GATE_REQUESTS, (200, 503))


async def _request_often(http: aiohttp.ClientSession, url: str, times: int, right: tuple[int, ...]) -> None:
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask() -> int:
        async with places, http.get(url) as response:
            await response.read()
            return response.status

    statuses = await asyncio.gather(*(ask() for _ in range(times)))
    wrong = sorted({status for status in statuses if status not in right})
    if wrong:
        raise AnswerError(f"{url} has answered {wrong}")


async def _never_read(_: aiohttp.ClientSession, url: str) -> None:
    reader, writer = await _open(url)
    try:
        writer.write(_UPGRADE)
        _expect(await reader.readline(), b" 101 ")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of both directions
        await asyncio.sleep(_UNREAD_SECONDS)
    finally:
        writer.transport.abort()


async def _come_and_go(http: aiohttp.ClientSession, url: str) -> None:
    for _ in range(_CONSUMERS):
        reader, writer = await _open(url)
        try:
            writer.write(_UPGRADE)
            _expect(await reader.readline(), b" 101 ")
        finally:
            writer.transport.abort()


async def _send_bad_requests(_: aiohttp.ClientSession, url: str) -> None:
    for request in _BAD_REQUESTS:
        reader, writer = await _open(url)
        try:
            writer.write(request)
            _expect(await reader.readline(), b" 4")
        finally:
            writer.transport.abort()


async def _open(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)


def _expect(line: bytes, status: bytes) -> None:
    if status not in line:
        raise AnswerError(f"expected HTTP {status.decode().strip()}, found {line.decode(errors='replace')!r}")


_LOADS: Final[Mapping[HttpLoad, Callable[[aiohttp.ClientSession, str], Awaitable[None]]]] = {
    HttpLoad.SCRAPES: _scrape,
    HttpLoad.GATE_REQUESTS: _request_gate,
    HttpLoad.STALLED_CONSUMER: _never_read,
    HttpLoad.ABORTING_CONSUMERS: _come_and_go,
    HttpLoad.BAD_REQUESTS: _send_bad_requests,
}
