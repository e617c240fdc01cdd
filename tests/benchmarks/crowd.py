"""Many consumers of one relay, cheap enough that it is the daemon that is measured.

Each keeps what it is sent as it comes; frames are told apart only when a test asks for what was received.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from typing import Final, cast

HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: feedd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_ANSWER = b'{"result":null'
_TRADE_ID = re.compile(rb'"t":(\d+)')


class Member(asyncio.Protocol):
    """One consumer."""

    def __init__(self, path: str, reads: bool) -> None:
        self._path = path
        self._reads = reads
        self._chunks: list[tuple[float, bytes]] = []
        self.is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_over = False
        self._answered = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(HANDSHAKE.format(path=self._path).encode())

    def data_received(self, data: bytes) -> None:
        if self.is_open.done():
            self._chunks.append((time.time(), data))
            if _ANSWER in data:
                self._answered.set()
        else:
            head, _, rest = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            self._chunks.append((time.time(), rest))
            self.is_open.set_result(None)
            if not self._reads:
                self.transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_over = True

    async def ask(self, request: bytes) -> None:
        """Send a short request and wait until it is answered."""
        self._answered.clear()
        self.transport.write(b"\x81" + bytes([0x80 | len(request)]) + b"\0\0\0\0" + request)
        await self._answered.wait()

    @property
    def trade_ids(self) -> list[int]:
        """The ids of the trades that were received, in their order."""
        return [int(number) for number in _TRADE_ID.findall(b"".join(data for _, data in self._chunks))]

    @property
    def last_trade_id(self) -> int | None:
        """The newest trade's id, if it has come in one piece."""
        found = _TRADE_ID.findall(self._chunks[-1][1])
        return int(found[-1]) if found else None

    @property
    def trade_times(self) -> dict[int, float]:
        """When each trade that came in one piece was there to be read, in seconds since the epoch."""
        return {int(number): at for at, data in self._chunks for number in _TRADE_ID.findall(data)}


async def join(port: int, path: str, reads: bool = True) -> Member:
    """Connect one consumer."""
    loop = asyncio.get_running_loop()
    dialling = socket.socket()
    dialling.setblocking(False)
    if not reads:
        dialling.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    await loop.sock_connect(dialling, ("127.0.0.1", port))
    _, member = await loop.create_connection(lambda: Member(path, reads), sock=dialling)
    await member.is_open
    return member
