"""One WebSocket to the exchange: opened, read until it ends, and told why it ended.

A connection is given up when nothing at all comes, not even the exchange's pings. Whether its data is fresh
is judged elsewhere: a socket that answers can still deliver nothing.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import WSMsgType

from feedd.errors import FeeddError
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason
from feedd.sources.live.aiohttp_socket import FrameHandlers, Socket, receiver_for
from feedd.sources.live.frame_reader import OnText
from feedd.venues.binance.common.envelope import MAX_FRAME_BYTES
from feedd.venues.venue import VenueRules

UNASKED_PAUSES: Final = {ConnectFailure.HTTP_429: 60.0, ConnectFailure.HTTP_418: 120.0}
"""Seconds to hold back where the exchange names none; its ban lasts two minutes at least (rest-api.md)."""

_STATUS_FAILURES = {
    403: ConnectFailure.HTTP_403,
    404: ConnectFailure.HTTP_404,
    418: ConnectFailure.HTTP_418,
    429: ConnectFailure.HTTP_429,
    451: ConnectFailure.HTTP_451,
}


@dataclass(frozen=True, slots=True)
class ConnectionTiming:
    """How long a connection waits for what, in seconds."""

    silence: float
    """Without any frame for so long it is dead."""
    request_pause: float
    """Between two requests."""
    handshake: float = 10.0
    close: float = 1.0
    """For the answer to a close frame; stopping the daemon must not take longer than 3 s."""

    @classmethod
    def under(cls, rules: VenueRules) -> ConnectionTiming:
        """Return what the venue's rules leave: its pings say what silence is, its rate how fast one asks."""
        return cls(silence=rules.silence_seconds, request_pause=1.5 / rules.messages_per_second)


class ConnectFailed(FeeddError):
    """An attempt to connect failed. `retry_after` holds the seconds that the server asked for."""

    def __init__(self, failure: ConnectFailure, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail
        self.retry_after = retry_after


def classify(error: aiohttp.ClientError | OSError) -> ConnectFailed:
    """Say which kind of failure an attempt to connect met."""
    match error:
        case aiohttp.WSServerHandshakeError():
            pause = retry_after(error.headers)
            return ConnectFailed(by_status(error.status), f"{error.status} {error.message}", pause)
        case TimeoutError():
            failure = ConnectFailure.TIMEOUT
        case aiohttp.ClientConnectorDNSError():
            failure = ConnectFailure.DNS
        case aiohttp.ClientSSLError() | ssl.SSLError():
            failure = ConnectFailure.TLS
        case aiohttp.ClientConnectionError() | OSError():
            failure = ConnectFailure.REFUSED
        case _:
            failure = ConnectFailure.PROTOCOL
    return ConnectFailed(failure, str(error) or type(error).__name__)


def by_status(status: int) -> ConnectFailure:
    """Say which kind of failure an HTTP status is."""
    if status in _STATUS_FAILURES:
        return _STATUS_FAILURES[status]
    if 400 <= status < 500:
        return ConnectFailure.HTTP_4XX
    return ConnectFailure.HTTP_5XX if status >= 500 else ConnectFailure.PROTOCOL


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Return the seconds that the server asks to wait, if it does."""
    text = (headers or {}).get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


def pause_for(failure: ConnectFailure, asked: float | None) -> float | None:
    """Return for how many seconds the exchange wants to be left alone, if it does.

    Args:
        failure: what it answered.
        asked: the seconds that it named.
    """
    return asked or UNASKED_PAUSES.get(failure)


async def connect(http: aiohttp.ClientSession, url: str, timing: ConnectionTiming) -> Socket:
    """Open a connection. Raises ConnectFailed."""
    try:
        async with asyncio.timeout(timing.handshake):
            return await http.ws_connect(
                url,
                autoping=False,  # a ping is a sign of life, so it must be seen here
                max_msg_size=MAX_FRAME_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_receive=None, ws_close=timing.close),
                decode_text=False,
            )
    except (aiohttp.ClientError, OSError) as error:
        raise classify(error) from error


Refuse = Callable[[InvalidReason, str, bytes, float], None]
"""Takes a frame that can't be a message: why, what was found, the frame, and when it was read."""


class Connection:
    """Reads an open WebSocket. What it delivers is handed on in its order."""

    def __init__(
        self,
        socket: Socket,
        take: OnText,
        refuse: Refuse,
        timing: ConnectionTiming,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = socket
        self._receiver = receiver_for(socket, monotonic)
        self._take = take
        self._refuse = refuse
        self._timing = timing
        self._monotonic = monotonic
        self._patience: asyncio.Timeout | None = None
        self._silence_timer: asyncio.TimerHandle | None = None
        self._ending: DisconnectReason | None = None
        self._bug: Exception | None = None

    @property
    def close_code(self) -> int | None:
        """The code of the close frame; None where there was none."""
        return self._socket.close_code

    async def read(self, requests: Iterable[str] = ()) -> DisconnectReason:
        """Read until the connection ends, has shown no frame for too long, or is told to end.

        Args:
            requests: what to send first.
        """
        try:
            async with asyncio.timeout(None) as self._patience, asyncio.TaskGroup() as asking:
                asked = asking.create_task(self._send(requests))
                try:
                    self._watch_silence()
                    self._receiver.start(FrameHandlers(self._take, self._reject_binary, self._failed))
                    return await self._pump()
                finally:
                    asked.cancel()
                    self._stop_watching()
        except TimeoutError:
            if self._bug is not None:
                raise self._bug from None
            return self._ending or DisconnectReason.TIMEOUT

    def end(self, reason: DisconnectReason) -> None:
        """Have `read` return with that reason."""
        if self._ending is None and self._patience is not None:
            self._ending = reason
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _send(self, requests: Iterable[str]) -> None:
        for request in requests:
            try:
                await self._socket.send_str(request)
            except ConnectionError:
                return  # whoever reads is told as well, and why
            await asyncio.sleep(self._timing.request_pause)

    async def close(self) -> None:
        """Close the socket with a close frame."""
        try:
            # A peer that has vanished answers no close frame, and may not even take one.
            async with asyncio.timeout(self._timing.close):
                await self._socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
        except TimeoutError:
            pass

    def _watch_silence(self) -> None:
        # Looked at when it may be due, not moved with every frame: that would cost more than the frame.
        left = self._receiver.read_at + self._timing.silence - self._monotonic()
        loop = asyncio.get_running_loop()
        if left > 0.0:
            self._silence_timer = loop.call_later(left, self._watch_silence)
        elif self._patience is not None:
            self._patience.reschedule(loop.time())

    def _stop_watching(self) -> None:
        if self._silence_timer is not None:
            self._silence_timer.cancel()
        self._patience = None
        self._receiver.stop()

    def _reject_binary(self, raw: bytes, read_at: float) -> None:
        self._refuse(InvalidReason.BINARY, f"{len(raw)} bytes", raw, read_at)

    def _failed(self, bug: Exception) -> None:
        # `read` raises it where it is waited for.
        self._bug = bug
        self.end(DisconnectReason.PROTOCOL_ERROR)
        self._receiver.stop()

    async def _pump(self) -> DisconnectReason:
        while True:
            message = await self._receiver.receive_control()
            if message.type is WSMsgType.PING:
                try:
                    await self._socket.pong(message.data)
                except ConnectionError:
                    return DisconnectReason.RESET
            elif message.type is not WSMsgType.PONG:
                return self._why_ended(message.type, self._receiver.read_at)

    def _why_ended(self, message_type: WSMsgType, read_at: float) -> DisconnectReason:
        if message_type is WSMsgType.CLOSE:
            return DisconnectReason.SERVER_CLOSE
        if message_type is WSMsgType.ERROR:
            if self._socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                self._refuse(InvalidReason.TOO_BIG, f"more than {MAX_FRAME_BYTES} bytes", b"", read_at)
            return DisconnectReason.PROTOCOL_ERROR
        return DisconnectReason.RESET
