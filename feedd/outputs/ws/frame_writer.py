"""WebSocket frames as a server sends them (RFC 6455, 5.2): whole, and unmasked, so the same for everyone."""

from __future__ import annotations

import struct
from typing import Final

_TEXT: Final = 0x81
_PING: Final = 0x89
_PONG: Final = 0x8A


def text_frame(payload: bytes) -> bytes:
    """Return a text message."""
    return _frame(_TEXT, payload)


def ping_frame(payload: bytes) -> bytes:
    """Return a ping. The payload may have 125 bytes."""
    return _frame(_PING, payload)


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping with that payload."""
    return _frame(_PONG, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload
