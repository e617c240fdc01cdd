"""Cuts text frames out of what a socket brings, and leaves all others to aiohttp.

Nearly all that an exchange sends are short text frames, whole, one after the other (RFC 6455, 5.2: a first
byte of 0x81, a second one below 127). They are handed on from here with the time at which they were read.
Whatever is anything else, a ping, a part of a message, a frame of 64 KiB or more, goes to aiohttp's reader as
it came, which keeps every rule of the protocol.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

_WHOLE_TEXT: Final = 0x81
_FIN: Final = 0x80
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_LENGTH_IN_TWO: Final = 126
_MASK_BYTES: Final = 4
_IS_CONTROL: Final = 0x08

OnText = Callable[[bytes, float], None]
"""Takes a frame's payload, read at a monotonic time."""
OnBug = Callable[[Exception], None]
"""Told of a bug that a frame was met with."""
Fed = tuple[bool, bytes]
"""aiohttp's answer: whether the protocol was broken, and what was left over."""
_FED: Final = (False, b"")


class Reader(Protocol):
    """aiohttp's reader, as far as it is used."""

    def feed_data(self, data: bytes) -> Fed: ...

    def feed_eof(self) -> None: ...


class FrameReader:
    """Stands between a socket and aiohttp, which gets every frame until it is known whom to hand text to.

    It is what aiohttp takes for its reader, and from `stand_before` on the socket's protocol as well.
    """

    def __init__(self, reader: Reader, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.take: OnText | None = None
        self.fail: OnBug | None = None
        self.read_at = monotonic()
        """When something came last."""
        self._reader = reader
        self._monotonic = monotonic
        self._protocol: asyncio.Protocol | None = None
        self._is_broken = False
        self._rest = b""
        """The beginning of a frame that is not whole yet."""
        self._foreign_left = 0
        """How many bytes of the frame that aiohttp reads are still to come."""
        self._in_parts = False
        """aiohttp has read a part of a message and waits for the next."""

    def hand_to(self, take: OnText, fail: OnBug | None = None) -> None:
        """Hand text to `take` from now on, and what it raises to `fail`, which stays where it is None."""
        self.take = take
        if fail is not None:
            self.fail = fail

    def stand_before(self, protocol: asyncio.Protocol, transport: asyncio.Transport) -> None:
        """Have the socket hand over what it reads without the detour by aiohttp's protocol."""
        self._protocol = protocol
        transport.set_protocol(cast(asyncio.BaseProtocol, self))

    def feed_data(self, data: bytes) -> Fed:
        """Take what was read from the socket."""
        self.read_at = self._monotonic()
        if self._rest:
            data, self._rest = self._rest + data, b""
        position = 0
        while position < len(data):
            if not self._foreign_left:
                position = self._consume_texts(data, position)
                if not self._is_foreign(data, position):
                    self._rest = data[position:]
                    break
            portion = data[position : position + self._foreign_left]
            position += len(portion)
            self._foreign_left -= len(portion)
            if self._reader.feed_data(portion)[0]:
                return True, b""
        return _FED

    def feed_eof(self) -> None:
        """Nothing more comes."""
        self._reader.feed_eof()

    # --- the protocol that the socket sees

    def data_received(self, data: bytes) -> None:
        if not self._is_broken:
            self._is_broken = self.feed_data(data)[0]  # after that aiohttp reads no more either

    def eof_received(self) -> bool | None:
        return None if self._protocol is None else self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol is not None:
            self._protocol.resume_writing()

    # --- frames

    def _consume_texts(self, data: bytes, position: int) -> int:
        """Hand on whole text frames, as many as follow each other; returns where the next frame begins."""
        # No slice may end before it begins: compiled, that is a SystemError.
        take, read_at, end = self.take, self.read_at, len(data)
        if take is None or self._in_parts:
            return position
        try:
            while position + 4 <= end and data[position] == _WHOLE_TEXT:
                size, start = data[position + 1], position + 2
                if size == _LENGTH_IN_TWO:
                    size, start = data[position + 2] << 8 | data[position + 3], position + 4
                elif size > _LENGTH_IN_TWO:
                    break
                if start + size > end:
                    break
                position = start + size
                take(data[start:position], read_at)
        except Exception as bug:
            if self.fail is None:
                raise
            self.fail(bug)
        return position

    def _is_foreign(self, data: bytes, position: int) -> bool:
        """Tell whether a frame for aiohttp begins there; if so, note how long it is."""
        left = len(data) - position
        if left < 2:
            return False
        first, second = data[position], data[position + 1]
        size, head = second & _LENGTH, 2
        if size >= _LENGTH_IN_TWO:
            head = 4 if size == _LENGTH_IN_TWO else 10
            if left < head:
                return False
            size = int.from_bytes(data[position + 2 : position + head], "big")
        whole = head + (_MASK_BYTES if second & _MASKED else 0) + size
        is_ours = self.take is not None and not self._in_parts and first == _WHOLE_TEXT
        if is_ours and second <= _LENGTH_IN_TWO and left < whole:
            return False
        self._foreign_left = whole
        if not first & _IS_CONTROL:
            self._in_parts = not first & _FIN
        return True
