"""Decoders for frames of exactly the known shape: one pass decodes a frame and checks it against its schema.

They refuse whatever has a field more or less than payloads.py says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, get_args

import msgspec

from feedd.venues.binance.common.frame import Frame, PayloadType
from feedd.venues.binance.spot.payloads import Candle, Kline, Payload


class _StrictFrame(Frame[PayloadType], Generic[PayloadType], frozen=True, forbid_unknown_fields=True):
    """A frame of exactly the known shape."""


class _StrictCandle(Candle, frozen=True, forbid_unknown_fields=True):
    """A candle of exactly the known shape."""


def _strict(payload_type: type[Payload]) -> type[Payload]:
    candle = [("candle", _StrictCandle, msgspec.field(name="k"))] if payload_type is Kline else []
    return msgspec.defstruct(  # type: ignore[return-value]  # a subclass of payload_type, which mypy can't see
        payload_type.__name__,
        candle,
        bases=(payload_type,),
        frozen=True,
        gc=False,
        forbid_unknown_fields=True,
    )


def _strict_decoder(payload_type: type[Payload]) -> Callable[[bytes], Frame[Payload]]:
    return msgspec.json.Decoder(_StrictFrame[_strict(payload_type)]).decode  # type: ignore[misc]


STRICT_DECODERS: Final = {each: _strict_decoder(each) for each in get_args(Payload)}
"""By payload type."""
