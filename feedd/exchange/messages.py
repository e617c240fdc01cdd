"""Market messages, their two shapes (raw and combined), and their WebSocket frames. Pure.

A frame is rendered once for all subscribers of the same shape, and therefore built by hand: a server's frames
carry no mask, so that they are the same bytes for every connection.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

Document = dict[str, Any]
"""One payload, parsed."""


class TimeUnit(Enum):
    """The unit a connection asked its times in; the value is the microseconds in one of it."""

    MILLISECOND = 1000
    MICROSECOND = 1


def parse_unit(text: str) -> TimeUnit:
    """Read a time unit; Binance takes it in either case, and milliseconds unless told otherwise."""
    return TimeUnit.MICROSECOND if text.upper() == "MICROSECOND" else TimeUnit.MILLISECOND


class Opcode(IntEnum):
    """The WebSocket frame types that a server sends (RFC 6455, 5.2)."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


Watched = Mapping[str, tuple[TimeUnit, ...]]
"""The streams of one symbol that have subscribers, by kind, each with the units they want times in."""

Corruption = Callable[[bytes], tuple[Opcode, bytes]]
"""Turns the content of a good text frame into the opcode and content to send instead."""


@dataclass(frozen=True, slots=True)
class MarketMessage:
    """One event of one stream, rendered in each unit that a subscriber wants times in."""

    symbol: str
    kind: str
    """The stream's name without the symbol: `trade`, `depth@100ms`."""
    payloads: Mapping[TimeUnit, bytes]
    corrupt: Corruption | None = None
    label: str | None = None
    """The stream name to put on the envelope where it isn't the stream's own."""

    @property
    def stream(self) -> str:
        """The name that clients subscribe to."""
        return stream_name(self.symbol, self.kind)


def stream_name(symbol: str, kind: str) -> str:
    """Name a stream as Binance does: the symbol in small letters, the rest as it is."""
    return f"{symbol.lower()}@{kind}"


def envelope(name: str, payload: bytes) -> bytes:
    """Wrap a payload in the shape of a combined stream."""
    return b'{"stream":"%b","data":%b}' % (name.encode(), payload)


def websocket_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Build one whole unmasked frame."""
    size = len(payload)
    first = 0x80 | opcode
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Build a close frame; RFC 6455 leaves 123 bytes for the reason."""
    return websocket_frame(Opcode.CLOSE, struct.pack("!H", code) + reason.encode()[:123])


def message_frame(message: MarketMessage, unit: TimeUnit, combined: bool) -> bytes | None:
    """Build the frame for one unit and shape; None if the unit was first asked for after the event."""
    payload = message.payloads.get(unit)
    if payload is None:
        return None
    text = envelope(message.label or message.stream, payload) if combined else payload
    if message.corrupt is None:
        return websocket_frame(Opcode.TEXT, text)
    return websocket_frame(*message.corrupt(text))


# Which numbers of a payload are times, by event. Without an event there are none (bookTicker, partial depth).
_TIME_FIELDS: Mapping[str | None, tuple[str, ...]] = {
    None: (),
    "trade": ("E", "T"),
    "aggTrade": ("E", "T"),
    "avgPrice": ("E", "T"),
    "24hrTicker": ("E", "O", "C"),
    "1hTicker": ("E", "O", "C"),
    "4hTicker": ("E", "O", "C"),
    "1dTicker": ("E", "O", "C"),
    "referencePrice": ("t",),
}


def shift_times(document: Document, shift: int) -> None:
    """Add `shift`, in the payload's own unit, to every time in a payload."""
    _change_times(document, lambda time: time + shift)


def scale_times(document: Document, factor: int) -> None:
    """Convert every time in a payload to a unit that is `factor` times finer."""
    _change_times(document, lambda time: time * factor)


def _change_times(document: Document, change: Callable[[int], int]) -> None:
    fields = _TIME_FIELDS.get(document.get("e"), ("E",))
    candle = document.get("k")
    for holder, names in ((document, fields), (candle if isinstance(candle, dict) else {}, ("t", "T"))):
        for name in names:
            if isinstance(holder.get(name), int):
                holder[name] = change(holder[name])
