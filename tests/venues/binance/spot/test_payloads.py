"""The payloads, field by field: what must be there, of which type and within which bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from feedd.venues.binance.spot.payloads import Candle, NamedEvent
from feedd.venues.binance.spot.streams import STREAMS as DEFINITIONS
from tests.venues.binance.spot.frames import STREAMS, payload

EVENTFUL = tuple(stream for stream in STREAMS if "E" in payload(stream))
IGNORED = ("M", "B")


def convert(stream: str, content: dict[str, Any]) -> Any:
    return msgspec.convert(content, DEFINITIONS[stream].payload_type)


@pytest.mark.parametrize("stream", STREAMS)
def test_documented_message_has_every_field_and_keeps_its_values(stream: str) -> None:
    content = payload(stream)
    assert msgspec.to_builtins(convert(stream, content), str_keys=True) == content | {
        key: [tuple(level) for level in content[key]] for key in content if isinstance(content[key], list)
    }


@pytest.mark.parametrize(("stream", "key"), [(stream, key) for stream in STREAMS for key in payload(stream)])
def test_field_must_be_there_unless_it_is_to_be_ignored(stream: str, key: str) -> None:
    content = payload(stream)
    del content[key]
    if stream in ("trade", "aggTrade") and key == "M":
        convert(stream, content)
    else:
        with pytest.raises(msgspec.ValidationError, match=f"missing required field `{key}`"):
            convert(stream, content)


@pytest.mark.parametrize("key", payload("kline_1s")["k"])
def test_candles_field_must_be_there_unless_it_is_to_be_ignored(key: str) -> None:
    content = payload("kline_1s")
    del content["k"][key]
    if key == "B":
        convert("kline_1s", content)
    else:
        with pytest.raises(msgspec.ValidationError, match=f"missing required field `{key}`"):
            convert("kline_1s", content)


@pytest.mark.parametrize(("stream", "key"), [(stream, key) for stream in STREAMS for key in payload(stream)])
def test_field_of_another_type_is_refused(stream: str, key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"at `\$\.{key}`"):
        convert(stream, payload(stream, **{key: 1.5}))


@pytest.mark.parametrize("stream", EVENTFUL)
@pytest.mark.parametrize(
    ("time", "is_valid"),
    [
        (1_795_000_000, False),
        (999_999_999_999, False),
        (1_000_000_000_000, True),
        (9_999_999_999_999, True),
        (10_000_000_000_000, False),
        (1_795_000_000_000_000, False),
        (-1, False),
    ],
)
def test_event_time_is_in_milliseconds(stream: str, time: int, is_valid: bool) -> None:
    if is_valid:
        assert convert(stream, payload(stream, E=time)).event_time == time
    else:
        with pytest.raises(msgspec.ValidationError, match=r"Expected `int` .* - at `\$\.E`"):
            convert(stream, payload(stream, E=time))


@pytest.mark.parametrize(
    ("stream", "key", "lowest"),
    [
        ("trade", "t", 0),
        ("aggTrade", "a", 0),
        ("bookTicker", "u", 0),
        ("depth@100ms", "U", 0),
        ("depth5", "lastUpdateId", 0),
        ("ticker", "F", -1),
        ("ticker_1h", "L", -1),
    ],
)
def test_identifier_is_within_its_bounds(stream: str, key: str, lowest: int) -> None:
    for value in (lowest, 2**63 - 1):
        convert(stream, payload(stream, **{key: value}))
    for value in (lowest - 1, 2**63, 10**30):
        with pytest.raises(msgspec.ValidationError, match=rf"Expected `int` .* - at `\$\.{key}`"):
            convert(stream, payload(stream, **{key: value}))


@pytest.mark.parametrize("stream", STREAMS)
def test_message_cannot_be_changed(stream: str) -> None:
    message = convert(stream, payload(stream))
    with pytest.raises(AttributeError, match="immutable type"):
        message.symbol = "ETHUSDT"


@pytest.mark.parametrize("stream", STREAMS)
def test_message_tells_its_event_time_or_that_it_has_none(stream: str) -> None:
    message = convert(stream, payload(stream))
    assert message.event_time == payload(stream).get("E")
    assert message.symbol == payload(stream).get("s")
    assert isinstance(message, NamedEvent) is (stream in EVENTFUL)


def test_candle_without_trades_has_no_trade_ids() -> None:
    candle = convert("kline_1s", payload("kline_1s")).candle
    assert isinstance(candle, Candle)
    assert (candle.first_trade_id, candle.last_trade_id, candle.trades) == (-1, -1, 0)
