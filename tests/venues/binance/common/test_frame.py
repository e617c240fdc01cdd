"""A decoded message of a combined stream: its stream's name, and a payload of any kind."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import astuple

from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.payloads import Trade
from tests.venues.binance.spot.frames import combined, data


def test_combined_message_decodes_to_the_name_of_its_stream_and_its_payload() -> None:
    frame = msgspec.json.decode(combined("trade", t=7), type=Frame[Trade])
    assert (frame.stream, astuple(frame.data)) == ("btcusdt@trade", astuple(data("trade", t=7)))


@pytest.mark.parametrize(
    "content", [b'{"stream":"btcusdt@trade"}', b'{"data":{}}', b'{"stream":1,"data":{}}']
)
def test_message_without_its_envelope_is_none(content: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(content, type=Frame[dict[str, object]])


def test_decoded_message_can_not_be_changed() -> None:
    frame = Frame(stream="btcusdt@trade", data=data("trade"))
    with pytest.raises(AttributeError):
        frame.stream = "ethusdt@trade"  # type: ignore[misc]  # which is what is shown
