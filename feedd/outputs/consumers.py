"""One WebSocket consumer of the daemon: a bounded queue, and an end with a reason.

What is told to a consumer is queued and sent by its own task. One that doesn't keep up is let go: it never
slows the others and never grows the daemon's memory.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import WSCloseCode, WSMsgType, web

from feedd.core.desk import Consumers
from feedd.model import ConsumerDisconnect

CLOSE_SECONDS = 1.0
"""How long a consumer's answer to a close frame is awaited."""
PING_SECONDS = 20.0
MAX_INBOUND_BYTES = 64 * 1024

_CLOSE_CODES = {
    ConsumerDisconnect.SLOW: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.HALT: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.STATIC_SOURCE: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.LIMIT: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.PROTOCOL_ERROR: WSCloseCode.PROTOCOL_ERROR,
    ConsumerDisconnect.SHUTDOWN: WSCloseCode.GOING_AWAY,
    ConsumerDisconnect.CLIENT: WSCloseCode.OK,
}


class Consumer:
    """A connected consumer, which is only told things."""

    def __init__(self, socket: web.WebSocketResponse, counts: Consumers, queue_bytes: int) -> None:
        self._socket = socket
        self._counts = counts
        self._queue_bytes = queue_bytes
        self._queue: deque[str] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._end: asyncio.Future[ConsumerDisconnect] = asyncio.get_running_loop().create_future()

    def tell(self, text: str) -> None:
        """Queue a message; a consumer whose queue would overflow is let go."""
        if self._end.done():
            return
        if self._queued_bytes + len(text) > self._queue_bytes:
            self._counts.messages_dropped += len(self._queue) + 1
            self._queue.clear()
            self.end(ConsumerDisconnect.SLOW)
            return
        self._queue.append(text)
        self._queued_bytes += len(text)
        self._wake.set()

    def end(self, reason: ConsumerDisconnect) -> None:
        """Let the consumer go."""
        if not self._end.done():
            self._end.set_result(reason)

    async def serve(self, request: web.Request) -> None:
        """Serve until one side ends it."""
        self._counts.connected += 1
        tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._listen())]
        try:
            reason = await self._end
        except asyncio.CancelledError:
            reason = ConsumerDisconnect.CLIENT
            raise
        finally:
            self._counts.connected -= 1
            self._counts.disconnects[reason] += 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._close(request, reason)

    async def _send(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    text = self._queue.popleft()
                    self._queued_bytes -= len(text)
                    await self._socket.send_str(text)
        except ConnectionError:
            self.end(ConsumerDisconnect.CLIENT)

    async def _listen(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.ERROR:
                self.end(ConsumerDisconnect.PROTOCOL_ERROR)
        self.end(ConsumerDisconnect.CLIENT)

    async def _close(self, request: web.Request, reason: ConsumerDisconnect) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._socket.close(code=_CLOSE_CODES[reason], message=reason.encode())
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()


def accept() -> web.WebSocketResponse:
    """Return the server's side of a consumer's WebSocket."""
    return web.WebSocketResponse(
        heartbeat=PING_SECONDS, timeout=CLOSE_SECONDS, max_msg_size=MAX_INBOUND_BYTES, compress=False
    )
