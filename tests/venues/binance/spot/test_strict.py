"""Frames of exactly the known shape are decoded; a field more or less, or of another type, is refused."""

from __future__ import annotations

import msgspec
import orjson
import pytest

from feedd.venues.binance.spot.payloads import Kline
from feedd.venues.binance.spot.streams import STREAMS as DEFINITIONS
from feedd.venues.binance.spot.strict import STRICT_DECODERS
from tests.venues.binance.spot.frames import STREAMS, combined, payload, wrapped


@pytest.mark.parametrize("stream", STREAMS)
def test_known_shape_is_decoded(stream: str) -> None:
    payload_type = DEFINITIONS[stream].payload_type
    message = STRICT_DECODERS[payload_type](combined(stream))
    assert message.stream == f"btcusdt@{stream}"
    assert isinstance(message.data, payload_type)


@pytest.mark.parametrize("stream", STREAMS)
def test_any_other_shape_is_refused(stream: str) -> None:
    decode, known = STRICT_DECODERS[DEFINITIONS[stream].payload_type], payload(stream)
    needed = next(name for name in known if name in ("s", "u", "lastUpdateId"))
    more, less = known | {"new": 1}, {name: value for name, value in known.items() if name != needed}
    for content in (more, less, known | {needed: 1.5}):
        with pytest.raises(msgspec.ValidationError):
            decode(wrapped(stream, content))
    with pytest.raises(msgspec.ValidationError):
        decode(orjson.dumps({"stream": f"btcusdt@{stream}", "data": known, "new": 1}))


def test_candle_with_a_new_field_is_refused() -> None:
    known = payload("kline_1s")
    with pytest.raises(msgspec.ValidationError):
        STRICT_DECODERS[Kline](wrapped("kline_1s", known | {"k": known["k"] | {"new": 1}}))
