"""The daemon's WebSocket consumers: each is written to straight away, within bounds, and let go for a reason.

A frame is built once, whoever gets it, and goes to a consumer's socket as it is: no task and no wait per
message. What a socket does not take waits in the consumer's own queue, which is bounded in bytes and in
messages. One that doesn't keep up is let go: it never slows the others and never grows the daemon's memory.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT
from typing import Any, Final, Literal, Self

from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from feedd.config.settings import Settings
from feedd.logs import fields
from feedd.model import ConsumerDisconnect
from feedd.outputs.ws.client_limits import ClientLimits, ClientRules
from feedd.outputs.ws.consumer_counts import ConsumerCounts
from feedd.outputs.ws.frame_writer import ping_frame, pong_frame

log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.0
"""How long a consumer's answer to a close frame is awaited."""
MAX_INBOUND_BYTES: Final = 64 * 1024
SOCKET_BYTES: Final = 64 * 1024
"""What may wait at a socket before the consumer's own queue fills; also what is taken from there at once."""
NAME_LENGTH: Final = 80

_KERNEL_BYTES: Final = 128 * 1024
"""What the kernel may hold unsent. Left alone it takes megabytes, and hides that a consumer is behind."""
_CLOSE_CODES: Final = {
    ConsumerDisconnect.SLOW: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.HALT: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.STATIC_SOURCE: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.LIMIT: WSCloseCode.TRY_AGAIN_LATER,
    ConsumerDisconnect.PROTOCOL_ERROR: WSCloseCode.POLICY_VIOLATION,
    ConsumerDisconnect.SHUTDOWN: WSCloseCode.GOING_AWAY,
    ConsumerDisconnect.CLIENT: WSCloseCode.OK,
}

TextHandler = Callable[[bytes], None]
"""Takes what a consumer says."""
Socket = web.WebSocketResponse[Literal[False]]
"""A WebSocket that hands out text as bytes."""


@dataclass(frozen=True, slots=True)
class Close:
    """Why a consumer is let go, and the text of its close frame."""

    reason: ConsumerDisconnect
    text: str


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How far behind a consumer may be."""

    max_bytes: int
    max_messages: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return what the settings allow."""
        return cls(settings.consumer_queue_bytes, settings.consumer_queue_messages)


class Consumer:
    """A connected consumer."""

    def __init__(
        self,
        request: web.Request,
        response: Socket,
        transport: asyncio.Transport,
        counts: ConsumerCounts,
        limits: QueueLimits,
        rules: ClientRules,
    ) -> None:
        self.name = name_of(request)
        self.response = response
        self._streams: Collection[str] = ()
        self.delivered = 0
        """Messages that its socket was given."""
        self._counts = counts
        self._limits = limits
        self._rules = rules
        self._request = request
        self._protocol = request.protocol
        self._transport = transport
        self._since = time.monotonic()
        self._delivered_bytes = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._behind_since: float | None = None
        self._client_limits = ClientLimits(rules)
        self._catching_up: asyncio.Task[None] | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._is_over = False
        self._end: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self._bound_buffers()

    def send(self, frame: bytes) -> None:
        """Send a frame, now if its socket takes it; a consumer that is too far behind is let go."""
        if self._is_over:
            return
        if self._waiting or self._protocol.writing_paused:
            self._put_off(frame)
        elif not self._transport.is_closing():
            self._transport.write(frame)
            self.delivered += 1
            self._delivered_bytes += len(frame)

    def end(self, reason: ConsumerDisconnect, text: str = "") -> None:
        """Let the consumer go. What waits is still sent, unless that is the very trouble."""
        if self._is_over:
            return
        self._is_over = True
        self._end.set_result(Close(reason, text or reason))
        if reason in (ConsumerDisconnect.SLOW, ConsumerDisconnect.CLIENT):
            self._drop_waiting(is_counted=reason is ConsumerDisconnect.SLOW)

    async def serve(self, handle_text: TextHandler) -> None:
        """Serve until one side ends it."""
        self._counts.joined()
        self._ping_later()
        listening = asyncio.create_task(self._listen(handle_text))
        ending = Close(ConsumerDisconnect.CLIENT, "")
        try:
            ending = await self._end
        finally:
            self._counts.left(ending.reason)
            self._log_end(ending)
            await self._stop(listening)
            await self._close(ending)

    def shows(self, streams: Collection[str]) -> None:
        """Describe it with these streams, which may change; without any there is nothing to choose."""
        self._streams = streams

    def apply_limits(self, limits: QueueLimits) -> None:
        """Let it be as far behind as this from now on."""
        self._limits = limits

    def describe(self) -> dict[str, Any]:
        """Return what a person asks of a consumer. Durations are seconds."""
        now = time.monotonic()
        return {
            "name": self.name,
            "address": self._request.remote,
            "path": self._request.path,
            "streams": len(self._streams),
            "connected_seconds": round(now - self._since, 3),
            "delivered": self.delivered,
            "waiting_messages": len(self._waiting),
            "waiting_bytes": self._unread_bytes,
            "behind_seconds": 0.0 if self._behind_since is None else round(now - self._behind_since, 3),
        }

    # --- writing

    @property
    def _unread_bytes(self) -> int:
        return self._waiting_bytes + self._transport.get_write_buffer_size()

    def _bound_buffers(self) -> None:
        self._transport.set_write_buffer_limits(high=min(SOCKET_BYTES, self._limits.max_bytes // 2))
        tcp = self._transport.get_extra_info("socket")
        tcp.setsockopt(IPPROTO_TCP, TCP_NOTSENT_LOWAT, _KERNEL_BYTES)

    def _control(self, frame: bytes) -> None:
        """Send a ping or a pong, which need not wait their turn."""
        if not self._transport.is_closing():
            self._transport.write(frame)

    def _put_off(self, frame: bytes) -> None:
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._unread_bytes > self._limits.max_bytes or len(self._waiting) > self._limits.max_messages:
            self.end(ConsumerDisconnect.SLOW)
        elif self._catching_up is None:
            self._behind_since = time.monotonic()
            self._catching_up = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Send what waits, as fast as the socket takes it."""
        try:
            while self._waiting and not self._transport.is_closing():
                await self._request.writer.drain()
                self._send_waiting(SOCKET_BYTES)
        except ConnectionError:
            pass  # whoever listens finds that the consumer is gone
        finally:
            self._catching_up = self._behind_since = None

    def _send_waiting(self, limit: float) -> None:
        frames, size = [], 0
        while self._waiting and size < limit:
            frames.append(self._waiting.popleft())
            size += len(frames[-1])
        self._transport.write(b"".join(frames))
        self.delivered += len(frames)
        self._delivered_bytes += size
        self._waiting_bytes -= size

    def _drop_waiting(self, is_counted: bool) -> None:
        if is_counted:
            self._counts.dropped(len(self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0

    # --- listening

    async def _listen(self, handle_text: TextHandler) -> None:
        try:
            while not self._is_over:
                message = await self.response.receive()
                match message.type:
                    case WSMsgType.TEXT | WSMsgType.BINARY | WSMsgType.PING | WSMsgType.PONG:
                        self._handle_frame(message.type, bytes(message.data), handle_text)
                    case WSMsgType.ERROR if isinstance(message.data, WebSocketError):
                        self.end(ConsumerDisconnect.PROTOCOL_ERROR)
                    case _:
                        self.end(ConsumerDisconnect.CLIENT)
        except Exception:
            log.exception("a bug was contained; the consumer is let go", extra=fields(consumer=self.name))
            self.end(ConsumerDisconnect.PROTOCOL_ERROR, "internal error")

    def _handle_frame(self, kind: WSMsgType, payload: bytes, handle_text: TextHandler) -> None:
        if not self._client_limits.may_speak(time.monotonic()):
            self.end(ConsumerDisconnect.PROTOCOL_ERROR, "Too many requests")
        elif kind is WSMsgType.PING:
            self._control(pong_frame(payload))
        elif kind is WSMsgType.PONG:
            self._client_limits.ponged(payload)
        else:
            handle_text(payload)

    def _keep_alive(self) -> None:
        now = time.monotonic()
        if self._client_limits.is_silent(now):
            self.end(ConsumerDisconnect.PROTOCOL_ERROR, "Pong timeout")
            return
        payload = b"%d" % (time.time() * 1000)
        self._client_limits.pinged(payload, now)
        self._control(ping_frame(payload))
        self._ping_later()

    def _ping_later(self) -> None:
        self._ping_timer = asyncio.get_running_loop().call_later(self._rules.ping_seconds, self._keep_alive)

    # --- ending

    def _log_end(self, ending: Close) -> None:
        is_slow = ending.reason is ConsumerDisconnect.SLOW
        log.log(
            logging.WARNING if is_slow else logging.DEBUG,
            "a consumer was too slow and is let go" if is_slow else "a consumer is gone",
            extra=fields(
                consumer=self.name,
                address=self._request.remote,
                reason=ending.reason,
                detail=ending.text,
                delivered=self.delivered,
            ),
        )

    async def _stop(self, listening: asyncio.Task[None]) -> None:
        self._is_over = True
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        tasks = [task for task in (listening, self._catching_up) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self, ending: Close) -> None:
        transport = self._transport
        if self._waiting and not transport.is_closing():
            self._send_waiting(math.inf)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                code = _CLOSE_CODES[ending.reason]
                await self.response.close(code=code, message=_close_text(ending.text))
        except (TimeoutError, ConnectionError):
            if ending.reason is not ConsumerDisconnect.CLIENT:
                self._counts.dropped(self._count_unsent())
            transport.abort()
        else:
            # A transport closes only once all is written: one that doesn't read would put that off for ever.
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.abort)

    def _count_unsent(self) -> int:
        """Return about how many of the delivered messages the socket has not taken."""
        unsent = self._transport.get_write_buffer_size()
        return math.ceil(unsent * self.delivered / self._delivered_bytes) if unsent else 0


class ConsumerRegistry:
    """Who is connected, and whether there is room for more."""

    def __init__(self, settings: Settings, rules: ClientRules | None = None) -> None:
        """Begin with nobody, and room for as many as the settings say."""
        self.counts = ConsumerCounts()
        self._places = settings.consumers_max
        self._limits = QueueLimits.of(settings)
        self._rules = rules or ClientRules()
        self._present: dict[Consumer, None] = {}

    def apply_settings(self, _: Settings, new: Settings) -> None:
        """Give that much room from now on, also to those who are there; nobody is let go for it at once."""
        self._places = new.consumers_max
        self._limits = QueueLimits.of(new)
        for consumer in self._present:
            consumer.apply_limits(self._limits)

    async def admit(self, request: web.Request) -> Consumer:
        """Shake hands. Raises an HTTP error where the request is no handshake or there is no room."""
        if self.counts.connected >= self._places:
            self.counts.refused(ConsumerDisconnect.LIMIT)
            text = f"all {self._places} places for consumers are taken\n"
            raise web.HTTPServiceUnavailable(text=text)
        response: Socket = web.WebSocketResponse(
            timeout=CLOSE_SECONDS,
            autoping=False,
            max_msg_size=MAX_INBOUND_BYTES,
            compress=False,  # every consumer gets the same bytes
            decode_text=False,
        )
        try:
            await response.prepare(request)
        except (ValueError, ConnectionError) as error:
            # A key that is no ASCII text, or a consumer that has left and hears nothing of this.
            raise web.HTTPBadRequest(text=f"handshake: {error}\n") from None
        transport = request.transport
        if transport is None or transport.is_closing():
            raise web.HTTPBadRequest(text="handshake: the consumer has left\n")
        return Consumer(request, response, transport, self.counts, self._limits, self._rules)

    async def serve(self, consumer: Consumer, handle_text: TextHandler = lambda _: None) -> None:
        """Serve a consumer until one side ends it."""
        self._present[consumer] = None
        try:
            await consumer.serve(handle_text)
        finally:
            del self._present[consumer]

    def status(self) -> dict[str, Any]:
        """Return what a person asks of the consumers, and of every one of them."""
        return {**self.counts.status(), "present": [consumer.describe() for consumer in self._present]}

    def stop(self) -> None:
        """Let everyone go, because the daemon stops."""
        for consumer in self._present:
            consumer.end(ConsumerDisconnect.SHUTDOWN)


def _close_text(text: str) -> bytes:
    # RFC 6455, 5.5: a control frame holds 125 bytes, two of them for the code.
    return text.encode()[:123].decode(errors="ignore").encode()


def name_of(request: web.Request) -> str:
    """Return what a consumer calls itself: `?name=`, or its User-Agent. Safe to log and to show."""
    said = request.query.get("name") or request.headers.get("User-Agent") or "unnamed"
    return "".join(letter if letter.isprintable() else "?" for letter in said[:NAME_LENGTH])
