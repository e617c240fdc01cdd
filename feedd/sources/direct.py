"""Text frames straight from aiohttp's parser, without a queue, a future and two coroutines for each.

aiohttp hands messages out one `receive()` at a time, which costs more than decoding them and keeps a burst
waiting until the reading task's turn. This socket calls back from within the parser instead. It reaches
beneath aiohttp's public interface, so it is used only with the versions that it was read against; with any
other one the public way serves, and nothing but speed is lost. Control frames always take the public way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

import aiohttp
from aiohttp import WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from feedd.binance.decode import MAX_FRAME_BYTES

KNOWN_VERSIONS: Final = re.compile(r"3\.14\.\d+")
_QUEUE_BYTES: Final = 2**16

Socket = aiohttp.ClientWebSocketResponse[Literal[False]]
"""A WebSocket that hands out text frames as bytes."""
TakeText = Callable[[bytes], None]


class _Queue(WebSocketDataQueue):
    """Hands text frames to a callback as they are parsed; all others wait to be received."""

    take: TakeText | None = None
    take_binary: TakeText | None = None

    def feed_data(self, message: Any, size: int) -> None:
        if self.take is not None and message.type is WSMsgType.TEXT:
            self.take(message.data)
        elif self.take_binary is not None and message.type is WSMsgType.BINARY:
            self.take_binary(message.data)  # among the others, so that what came in a row is seen in a row
        else:
            super().feed_data(message, size)


class DirectSocket(aiohttp.ClientWebSocketResponse[Literal[False]]):
    """A WebSocket that can hand text frames to a callback."""

    def __init__(self, reader: Any, writer: Any, protocol: Any, response: Any, *args: Any, **kwargs: Any):
        connection = response.connection
        self._connection_protocol = connection.protocol
        self._direct = _Queue(connection.protocol, _QUEUE_BYTES, loop=response._loop)
        self._direct_parser: Any = None
        super().__init__(self._direct, writer, protocol, response, *args, **kwargs)

    @property
    def _parser(self) -> Any:
        return self._direct_parser

    @_parser.setter
    def _parser(self, parser: Any) -> None:
        # aiohttp makes a parser for the queue that it has made; ours must parse from the first byte on.
        ours = None if parser is None else WebSocketReader(self._direct, MAX_FRAME_BYTES, False, False)
        self._direct_parser = ours

    def hand_to(self, take: TakeText, take_binary: TakeText) -> None:
        """Hand frames to these, which must not raise: those that have come already, and all from now on."""
        self._connection_protocol.set_parser(self._direct_parser, self._direct)
        early = list(self._direct._buffer)
        self._direct._buffer.clear()
        self._direct.take, self._direct.take_binary = take, take_binary
        for message, size in early:
            self._direct.feed_data(message, size)

    def stop(self) -> None:
        """Hand on nothing more: what still comes is dropped."""
        self._direct.take = self._direct.take_binary = _drop


def _drop(_: bytes) -> None:
    """Take a frame of a connection that has been left."""


def socket_class() -> type[aiohttp.ClientWebSocketResponse[Any]]:
    """Return the class of sockets for a client session: the direct one where this aiohttp is known."""
    known = KNOWN_VERSIONS.fullmatch(aiohttp.__version__)
    return DirectSocket if known else aiohttp.ClientWebSocketResponse
