"""The live feed: one reconnecting WebSocket client per symbol.

A connection is judged by what it delivers. Whether data is fresh is the session's business; here a socket is
given up when nothing at all comes (not even the exchange's pings), and how soon it is dialled again depends
on how long it had delivered good data, never on a handshake that succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import aiohttp
from aiohttp import WSMsgType

from feedd.binance.decode import MAX_FRAME_BYTES, ControlReply, Decoder, Drifted, ServerShutdown
from feedd.binance.endpoints import stream_url
from feedd.binance.streams import Stream, Subscription
from feedd.core.backoff import Backoff
from feedd.core.budget import ConnectBudget
from feedd.errors import DecodeError, FeeddError
from feedd.logs import fields
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason
from feedd.sources.intake import Intake

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
SILENCE_SECONDS = 45.0
"""The exchange pings every 20 s: two pings missed, with some slack."""
CLOSE_SECONDS = 1.0
"""How long a close frame waits for its answer; stopping the daemon must not take longer than 3 s."""

UNASKED_PAUSES = {ConnectFailure.HTTP_429: 60.0, ConnectFailure.HTTP_418: 120.0}
"""Seconds to hold back where the exchange names none; its ban lasts two minutes at least (rest-api.md)."""

_TIMEOUT = aiohttp.ClientWSTimeout(ws_receive=None, ws_close=CLOSE_SECONDS)
_STATUS_FAILURES = {
    403: ConnectFailure.HTTP_403,
    404: ConnectFailure.HTTP_404,
    418: ConnectFailure.HTTP_418,
    429: ConnectFailure.HTTP_429,
    451: ConnectFailure.HTTP_451,
}


Socket = aiohttp.ClientWebSocketResponse[Literal[False]]
"""A WebSocket that hands out text frames as bytes."""


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
            retry_after = _retry_after(error.headers)
            return ConnectFailed(_by_status(error.status), f"{error.status} {error.message}", retry_after)
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


def _by_status(status: int) -> ConnectFailure:
    if status in _STATUS_FAILURES:
        return _STATUS_FAILURES[status]
    if 400 <= status < 500:
        return ConnectFailure.HTTP_4XX
    return ConnectFailure.HTTP_5XX if status >= 500 else ConnectFailure.PROTOCOL


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    text = (headers or {}).get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


class Feed:
    """The client of one symbol: connects, reads, and connects again for as long as it runs."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        ws_url: str,
        intake: Intake,
        streams: Iterable[Stream],
        budget: ConnectBudget,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        subscriptions = [Subscription(intake.session.symbol, stream) for stream in streams]
        self._http = http
        self._session = intake.session
        self._intake = intake
        self._url = stream_url(ws_url, (subscription.wire_name for subscription in subscriptions))
        self._decoder = Decoder(subscriptions)
        self._budget = budget
        self._backoff = Backoff()
        self._monotonic = monotonic
        self._chance = chance
        self._last_frame_at = 0.0

    async def run(self) -> None:
        """Keep the symbol's feed up until cancelled; then close the socket with a close frame."""
        while True:
            try:
                delay = await self._connect_and_read()
            except Exception:
                # A bug in handling this symbol must not take the others down, nor hide.
                self._intake.failed()
                delay = self._backoff.delay(self._chance())
                await self._pause(delay)
                self._intake.rebuilt()
            else:
                await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        self._session.backoff_seconds = seconds
        await asyncio.sleep(seconds)
        self._session.backoff_seconds = 0.0

    async def _connect_and_read(self) -> float:
        """Have one connection, from handshake to end. Returns the seconds to wait before the next one."""
        await self._wait_for_budget()
        try:
            socket = await self._connect()
        except ConnectFailed as failed:
            self._heed(failed)
            delay = self._backoff.delay(self._chance(), failed.failure, failed.retry_after)
            self._intake.connect_failed(failed.failure)
            log.warning(
                "connecting failed",
                extra=fields(
                    symbol=self._session.symbol,
                    reason=failed.failure,
                    detail=failed.detail,
                    retry_in_seconds=f"{delay:.1f}",
                ),
            )
            return delay
        return await self._use(socket)

    async def _wait_for_budget(self) -> None:
        while (wait := self._budget.take(self._monotonic())) > 0.0:
            # Spread a little, so that those that wait for the same moment don't all come at once.
            await self._pause(wait + self._chance())

    def _heed(self, failed: ConnectFailed) -> None:
        """Hold the whole process back when the exchange asks for it: it counts by address."""
        pause = failed.retry_after
        if pause is None and failed.failure in UNASKED_PAUSES:
            pause = UNASKED_PAUSES[failed.failure]
        if pause is not None:
            self._budget.hold(pause, self._monotonic())
            log.error(
                "the exchange asks for a pause: nobody connects for now",
                extra=fields(reason=failed.failure, seconds=pause),
            )

    async def _connect(self) -> Socket:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                return await self._http.ws_connect(
                    self._url,
                    autoping=False,  # a ping is a sign of life, so it must be seen here
                    max_msg_size=MAX_FRAME_BYTES,
                    timeout=_TIMEOUT,
                    decode_text=False,
                )
        except (aiohttp.ClientError, OSError) as error:
            raise classify(error) from error

    async def _use(self, socket: Socket) -> float:
        self._last_frame_at = self._monotonic()
        self._intake.connected()
        log.info("connected", extra=fields(symbol=self._session.symbol, url=self._url))
        reason = DisconnectReason.SHUTDOWN
        try:
            reason = await self._read(socket)
        except Exception:
            reason = DisconnectReason.PROTOCOL_ERROR
            raise
        finally:
            self._backoff.connection_ended(self._intake.disconnected(reason))
            await _close(socket)
        delay = self._backoff.delay(self._chance())
        log.warning(
            "disconnected",
            extra=fields(
                symbol=self._session.symbol,
                reason=reason,
                close_code=socket.close_code,
                retry_in_seconds=f"{delay:.1f}",
            ),
        )
        return delay

    async def _read(self, socket: Socket) -> DisconnectReason:
        """Read until the connection ends or has shown no frame for too long."""
        try:
            async with asyncio.timeout(None) as silence:
                self._watch_silence(silence)
                try:
                    return await self._pump(socket)
                finally:
                    self._silence_timer.cancel()
        except TimeoutError:
            return DisconnectReason.TIMEOUT

    def _watch_silence(self, silence: asyncio.Timeout) -> None:
        # Looked at when it may be due, not moved with every frame: that would cost more than the frame.
        loop = asyncio.get_running_loop()
        left = self._last_frame_at + SILENCE_SECONDS - self._monotonic()
        if left <= 0.0:
            silence.reschedule(loop.time())
        else:
            self._silence_timer = loop.call_later(left, self._watch_silence, silence)

    async def _pump(self, socket: Socket) -> DisconnectReason:
        while True:
            message = await socket.receive()
            read_at = self._last_frame_at = self._monotonic()
            if message.type is WSMsgType.TEXT:
                self._take(message.data, read_at)
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.BINARY:
                error = DecodeError(InvalidReason.BINARY, f"{len(message.data)} bytes")
                self._intake.take_invalid(error, message.data, read_at)
            elif message.type is not WSMsgType.PONG:
                return self._why_ended(socket, message.type)

    def _take(self, raw: bytes, read_at: float) -> None:
        try:
            message = self._decoder.decode(raw)
        except DecodeError as error:
            self._intake.take_invalid(error, raw, read_at)
            return
        match message:
            case Drifted():
                self._intake.take_drifted(message, raw, read_at)
            case ServerShutdown():
                log.warning(
                    "the exchange will close this connection", extra=fields(symbol=self._session.symbol)
                )
            case ControlReply(error=str()):
                log.error(
                    "the exchange refused a request",
                    extra=fields(symbol=self._session.symbol, error=message.error),
                )
            case ControlReply():
                pass
            case _:
                self._intake.take(message, raw, read_at)

    def _why_ended(self, socket: Socket, message_type: WSMsgType) -> DisconnectReason:
        if message_type is WSMsgType.CLOSE:
            return DisconnectReason.SERVER_CLOSE
        if message_type is WSMsgType.ERROR:
            if socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
                error = DecodeError(InvalidReason.TOO_BIG, f"more than {MAX_FRAME_BYTES} bytes")
                self._intake.take_invalid(error, b"", self._monotonic())
            return DisconnectReason.PROTOCOL_ERROR
        return DisconnectReason.RESET


async def _close(socket: Socket) -> None:
    try:
        # A peer that has vanished answers no close frame, and may not even take one.
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)
    except TimeoutError:
        pass
