"""A client by hand, for what a well-behaved one can't show: resets, silence, half-open and unread sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from feedd.exchange import Exchange

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: exchange\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class RawClient:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def shake_hands(self, path: str) -> None:
        """Become a WebSocket."""
        self.writer.write(HANDSHAKE.format(path=path).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    def send(self, opcode: int, payload: bytes = b"") -> None:
        """Send one frame, masked with zeros as a client may."""
        assert len(payload) < 126
        self.writer.write(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    async def receive(self) -> tuple[int, bytes]:
        """Read one frame."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first & 0x0F, await self.reader.readexactly(length)

    async def receive_until(self, opcode: int) -> bytes:
        """Read up to a frame of one kind and return what it holds."""
        while True:
            found, payload = await self.receive()
            if found == opcode:
                return payload


@asynccontextmanager
async def dial(exchange: Exchange) -> AsyncIterator[RawClient]:
    """Open a TCP connection that buffers little, and abort it at the end."""
    host, _, port = exchange.ws_url.removeprefix("ws://").rpartition(":")
    dialled = socket.socket()
    dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    dialled.setblocking(False)
    await asyncio.get_running_loop().sock_connect(dialled, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=dialled)
    try:
        async with asyncio.timeout(10):
            yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def connect(exchange: Exchange, path: str = "/ws/btcusdt@trade") -> AsyncIterator[RawClient]:
    """Open a stream connection."""
    async with dial(exchange) as client:
        await client.shake_hands(path)
        yield client
