"""The two ways in which frames come out of aiohttp, behind one interface.

The direct one takes text frames straight from the parser, without a queue, a future and two coroutines each.

aiohttp hands messages out one `receive()` at a time, which costs more than decoding them and keeps a burst
waiting until the reading task's turn. This socket calls back from within the parser instead. It reaches
beneath aiohttp's public interface, so it is used only with the versions that it was read against; with any
other one the public way serves, and nothing but speed is lost. Control frames always take the public way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import aiohttp
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http import WSMessageTextBytes

from feedd.sources.live.frame_reader import FrameReader, OnBug, OnText
from feedd.venues.binance.common.envelope import MAX_FRAME_BYTES

KNOWN_VERSIONS: Final = re.compile(r"3\.14\.\d+")
_QUEUE_BYTES: Final = 2**16

Socket = aiohttp.ClientWebSocketResponse[Literal[False]]
"""A WebSocket that hands out text frames as bytes."""
Message: TypeAlias = aiohttp.WSMessage | WSMessageTextBytes


class _Queue(WebSocketDataQueue):
    """Hands messages to callbacks as they are parsed; all but text and binary ones wait to be received."""

    frames: FrameReader
    take_binary: OnText | None = None

    def hand_to(self, take_binary: OnText) -> None:
        """Hand binary frames to that from now on."""
        self.take_binary = take_binary

    def feed_data(self, message: Any, size: int) -> None:
        frames = self.frames
        if message.type is WSMsgType.TEXT:
            take = frames.take
        else:
            take = self.take_binary if message.type is WSMsgType.BINARY else None
        if take is None or frames.fail is None:
            super().feed_data(message, size)
            return
        try:
            # Binary frames among the others, so that what came in a row is seen in a row.
            take(message.data, frames.read_at)
        except Exception as bug:
            frames.fail(bug)  # raised here it would end in aiohttp's parser


class DirectSocket(aiohttp.ClientWebSocketResponse[Literal[False]]):
    """A WebSocket that can hand frames to callbacks."""

    def __init__(self, reader: Any, writer: Any, protocol: Any, response: Any, *args: Any, **kwargs: Any):
        connection = response.connection
        self._connection_protocol = connection.protocol
        self._direct = _Queue(connection.protocol, _QUEUE_BYTES, loop=response._loop)
        self._frames = FrameReader(WebSocketReader(self._direct, MAX_FRAME_BYTES, False, False))
        self._direct.frames = self._frames
        super().__init__(self._direct, writer, protocol, response, *args, **kwargs)

    @property
    def read_at(self) -> float:
        """When anything came last, in monotonic seconds."""
        return self._frames.read_at

    @property
    def _parser(self) -> Any:
        return self._frames

    @_parser.setter
    def _parser(self, _: Any) -> None:
        """aiohttp makes a reader for the queue that it has made; ours reads from the first byte on."""

    def hand_to(self, take: OnText, take_binary: OnText, fail: OnBug) -> None:
        """Hand frames to these: those that have come already, and all from now on."""
        self._connection_protocol.set_parser(self._frames, self._direct)
        if self._connection_protocol.transport is not None:
            self._frames.stand_before(self._connection_protocol, self._connection_protocol.transport)
        early = list(self._direct._buffer)
        self._direct._buffer.clear()
        self._frames.hand_to(take, fail)
        self._direct.hand_to(take_binary)
        for message, size in early:
            self._direct.feed_data(message, size)

    def stop(self) -> None:
        """Hand on nothing more: what still comes is dropped."""
        self._frames.hand_to(_drop)
        self._direct.hand_to(_drop)


def _drop(_: bytes, __: float) -> None:
    """Take a frame of a connection that has been left."""


@dataclass(frozen=True, slots=True)
class FrameHandlers:
    """Who takes what comes."""

    text: OnText
    binary: OnText
    bug: OnBug
    """Takes what one of the others has raised."""


class Receiver(Protocol):
    """Hands data frames to their handlers; control frames and the end are for whoever waits."""

    @property
    def read_at(self) -> float:
        """When anything came last, in monotonic seconds."""

    def start(self, handlers: FrameHandlers) -> None:
        """Hand data frames to these, those that have come already first."""

    async def receive_control(self) -> Message:
        """Wait for the next message that is no data: a ping, a pong, or the end."""

    def stop(self) -> None:
        """Hand on nothing more: what still comes is dropped."""


class DirectReceiver:
    """The way from within aiohttp's parser."""

    def __init__(self, socket: DirectSocket, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._socket = socket
        self._monotonic = monotonic
        self._received_at = monotonic()

    @property
    def read_at(self) -> float:
        return max(self._received_at, self._socket.read_at)

    def start(self, handlers: FrameHandlers) -> None:
        self._socket.hand_to(handlers.text, handlers.binary, handlers.bug)

    async def receive_control(self) -> Message:
        message = await self._socket.receive()
        self._received_at = self._monotonic()
        return message

    def stop(self) -> None:
        self._socket.stop()


class QueuedReceiver:
    """The public way: every message by a `receive()` of its own."""

    def __init__(self, socket: Socket, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._socket = socket
        self._monotonic = monotonic
        self._handlers = FrameHandlers(_drop, _drop, _ignore)
        self.read_at = monotonic()

    def start(self, handlers: FrameHandlers) -> None:
        self._handlers = handlers

    async def receive_control(self) -> Message:
        while True:
            message = await self._socket.receive()
            self.read_at = self._monotonic()
            handlers = self._handlers
            try:
                if message.type is WSMsgType.TEXT:
                    handlers.text(message.data, self.read_at)
                elif message.type is WSMsgType.BINARY:
                    handlers.binary(message.data, self.read_at)
                else:
                    return message
            except Exception as bug:
                handlers.bug(bug)

    def stop(self) -> None:
        self._handlers = FrameHandlers(_drop, _drop, _ignore)


def _ignore(_: Exception) -> None:
    """Take a bug that can't be: nothing is handed on."""


def receiver_for(socket: Socket, monotonic: Callable[[], float] = time.monotonic) -> Receiver:
    """Return the fastest way that the socket has."""
    if isinstance(socket, DirectSocket):
        return DirectReceiver(socket, monotonic)
    return QueuedReceiver(socket, monotonic)


def socket_class(reads_directly: bool = True) -> type[aiohttp.ClientWebSocketResponse[Any]]:
    """Return the class of sockets for a client session: direct if wanted, and this aiohttp is known."""
    is_known = KNOWN_VERSIONS.fullmatch(aiohttp.__version__) is not None
    return DirectSocket if reads_directly and is_known else aiohttp.ClientWebSocketResponse
