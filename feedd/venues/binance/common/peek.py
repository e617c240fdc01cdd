"""What is read of a frame before it is decoded: the name of its stream. Every message passes here."""

from __future__ import annotations

from typing import Final

_NAME_AT: Final = len(b'{"stream":"')
"""Where a combined frame has the name of its stream."""


def stream_in(frame: bytes) -> bytes:
    """Peek at the name of the stream that a combined frame seems to be of; nothing where it has none."""
    end = frame.find(b'"', _NAME_AT)
    return b"" if end < 0 else frame[_NAME_AT:end]
