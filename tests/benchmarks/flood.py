"""A server that sends prebuilt trades to WebSocket clients as fast as they read, and costs them nothing.

It runs in a process of its own, so that only the client is measured. It knows just enough of HTTP and
WebSocket for that: every `GET /stream?streams=<symbol>@trade` is upgraded, `GET /start?messages=N` (N per
connection) begins the flood, and `GET /api/v3/time` answers.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import re
import struct
import time
from typing import cast
from urllib.parse import unquote

import uvloop

FRAMES_IN_A_WRITE = 64
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Connection(asyncio.Protocol):
    """One client: an HTTP question, or a WebSocket to flood."""

    def __init__(self, flooded: list[Connection]) -> None:
        self._flooded = flooded
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.symbol = ""
        self.next_id = 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()
        if self in self._flooded:
            self._flooded.remove(self)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        if self.symbol:
            if data[0] & 0x0F == 0x8:
                self.transport.close()
            return
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        if key is not None:
            digest = base64.b64encode(hashlib.sha1(key[1] + _ACCEPT_SUFFIX).digest())
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
            )
            self.symbol = unquote(path.decode()).partition("streams=")[2].partition("@")[0]
            self._flooded.append(self)
            return
        started = re.search(rb"/start\?messages=(\d+)", path)
        if started is not None:
            for connection in self._flooded:
                connection.begin(int(started[1]))
        body = b'{"serverTime":%d}' % (time.time() * 1000)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )

    def begin(self, messages: int) -> None:
        task = asyncio.ensure_future(self._flood(messages))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flood(self, messages: int) -> None:
        upper = self.symbol.upper().encode()
        template = (
            b'{"stream":"'
            + self.symbol.encode()
            + b'@trade","data":{"e":"trade","E":%d,"s":"'
            + upper
            + b'",'
            b'"t":%d,"p":"64250.01000000","q":"0.01250000","T":%d,"m":true,"M":true}}'
        )
        last = self.next_id + messages
        while self.next_id < last:
            await self._can_write.wait()
            now = int(time.time() * 1000)
            ids = range(self.next_id, min(last, self.next_id + FRAMES_IN_A_WRITE))
            self.transport.write(b"".join(_frame(template % (now, number, now)) for number in ids))
            self.next_id = ids.stop
            await asyncio.sleep(0)


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    return (b"\x81" + bytes([size]) if size < 126 else b"\x81\x7e" + struct.pack(">H", size)) + payload


async def _serve(port: int) -> None:
    flooded: list[Connection] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(flooded), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments.port))


if __name__ == "__main__":
    main()
