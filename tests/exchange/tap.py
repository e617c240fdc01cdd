"""A client that keeps all it is sent, for tests to look at and to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from feedd.exchange import Exchange


class Tap:
    """One connection, read to its end. aiohttp answers the pings meanwhile."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.texts: list[str] = []
        self.binaries: list[bytes] = []
        self.close_code: int | None = None
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._read())

    @property
    def messages(self) -> list[Any]:
        """Everything sent as text, parsed."""
        return [orjson.loads(text) for text in self.texts]

    def data(self, stream: str = "") -> list[dict[str, Any]]:
        """The payloads of one stream, or of all, on a combined connection."""
        return [
            message["data"]
            for message in self.messages
            if "data" in message and stream in ("", message["stream"])
        ]

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def until(self, condition: Callable[[], bool], timeout: float = 5.0) -> None:
        """Wait until what was read makes a condition true."""
        async with asyncio.timeout(timeout):
            while not condition():
                await self._changed.wait()
                self._changed.clear()

    async def until_over(self) -> int | None:
        """Wait for the end, and return the close code."""
        async with asyncio.timeout(5):
            await self._task
        return self.close_code

    async def next_data(self, stream: str = "") -> dict[str, Any]:
        """Wait for one more message."""
        count = len(self.data(stream))
        await self.until(lambda: len(self.data(stream)) > count)
        return self.data(stream)[count]

    async def ask(self, **request: Any) -> Any:
        """Send a control request and wait for its answer."""
        await self.socket.send_json(request)
        return await self.answer()

    async def answer(self) -> Any:
        """Wait for the next message that is no market data."""

        def answers() -> list[Any]:
            return [message for message in self.messages if "result" in message or "error" in message]

        count = len(answers())
        await self.until(lambda: len(answers()) > count)
        return answers()[count]

    async def _read(self) -> None:
        try:
            await self._take_all()
        finally:
            self._changed.set()

    async def _take_all(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.texts.append(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                self.binaries.append(message.data)
            self._changed.set()
        self.close_code = self.socket.close_code


@asynccontextmanager
async def tap(
    session: aiohttp.ClientSession, exchange: Exchange, *streams: str, path: str | None = None, **options: Any
) -> AsyncIterator[Tap]:
    """Connect to combined streams, or to any path, and read until the block ends."""
    url = exchange.ws_url + (path if path is not None else "/stream?streams=" + "/".join(streams))
    async with session.ws_connect(url, max_msg_size=0, **options) as socket:
        yield (reader := Tap(socket))
        await socket.close()
        await reader.until_over()
