"""The two forms in which a stream's message travels: combined, in an envelope that names its stream, and raw.

Source: Binance spot docs, web-socket-streams.md: combined events are wrapped as
`{"stream":"<streamName>","data":<rawPayload>}`. The payload's bytes are never touched.
"""

from __future__ import annotations

from typing import Final

import msgspec

_BEGINNING: Final = b'{"stream":"'
"""How Binance's envelopes begin. Others are recognised too, with more work."""


class _Envelope(msgspec.Struct):
    stream: msgspec.Raw
    data: msgspec.Raw


MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""No stream of Binance comes near it; a full 5,000-level book has about 0.4 MB."""

_open: Final = msgspec.json.Decoder(_Envelope).decode


def combined_form(name: str, frame: bytes) -> bytes:
    """Return a trusted message of the stream `name` in its envelope."""
    if frame.startswith(_BEGINNING) or _payload_in(frame) is not None:
        return frame
    return b'{"stream":"%b","data":%b}' % (name.encode(), frame)


def raw_form(frame: bytes) -> bytes:
    """Return a trusted message without its envelope, as the exchange would send it on a raw stream."""
    payload = _payload_in(frame)
    return frame if payload is None else payload


def _payload_in(frame: bytes) -> bytes | None:
    try:
        return bytes(_open(frame).data)
    except msgspec.ValidationError:
        return None  # no envelope, so it is the payload itself
