"""REST's answers about the past → the messages that the streams would have carried."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.errors import DecodeError
from feedd.model import StreamKind, Subscription
from feedd.venues.binance.common.control_replies import Drifted
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.history import HISTORIES, frame_of, query
from feedd.venues.binance.spot.tables import SPOT
from tests.support.spot import DEFINITION_OF
from tests.venues.binance.spot.frames import EVENT_TIME, payload

TRADE = {
    "id": 880101, "price": "1.2345", "qty": "40.0", "quoteQty": "49.38", "time": EVENT_TIME,
    "isBuyerMaker": True, "isBestMatch": True,
}  # fmt: skip
AGGREGATE = {
    "a": 55012, "p": "1.2345", "q": "40.0", "f": 880101, "l": 880103, "T": EVENT_TIME, "m": True, "M": True,
}  # fmt: skip
ENTRIES: dict[StreamKind, dict[str, Any]] = {StreamKind.TRADE: TRADE, StreamKind.AGG_TRADE: AGGREGATE}
NUMBERS = {StreamKind.TRADE: "id", StreamKind.AGG_TRADE: "a"}
NAMES = {StreamKind.TRADE: "trade", StreamKind.AGG_TRADE: "aggTrade"}
BOTH = pytest.mark.parametrize("kind", list(ENTRIES))


def page(kind: StreamKind, *numbers: int, **changes: Any) -> bytes:
    return orjson.dumps([{**ENTRIES[kind], NUMBERS[kind]: number, **changes} for number in numbers])


def test_history_exists_where_the_stream_says_so() -> None:
    assert set(HISTORIES) == {kind for kind in StreamKind if DEFINITION_OF[kind].stream.has_history}
    paths_and_weights = {kind: (history.path, history.weight) for kind, history in HISTORIES.items()}
    assert paths_and_weights == {
        StreamKind.TRADE: ("/api/v3/historicalTrades", 25),
        StreamKind.AGG_TRADE: ("/api/v3/aggTrades", 4),
    }


def test_question_names_the_first_id_and_how_many() -> None:
    assert query("BTCUSDT", 5, 7) == {"symbol": "BTCUSDT", "fromId": "5", "limit": "7"}


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (
            StreamKind.TRADE,
            b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1795000000123,"s":"BTCUSDT","t":880101,'
            b'"p":"1.2345","q":"40.0","T":1795000000123,"m":true,"M":true},"backfill":true}',
        ),
        (
            StreamKind.AGG_TRADE,
            b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1795000000123,"s":"BTCUSDT","a":55012,'
            b'"p":"1.2345","q":"40.0","f":880101,"l":880103,"T":1795000000123,"m":true,"M":true},'
            b'"backfill":true}',
        ),
    ],
)
def test_answer_becomes_the_message_of_the_stream_with_a_mark(kind: StreamKind, raw: bytes) -> None:
    (old,) = HISTORIES[kind].decode_page(orjson.dumps([ENTRIES[kind]]), 1)
    assert frame_of(f"btcusdt@{NAMES[kind]}", "BTCUSDT", old) == raw


@BOTH
def test_message_is_one_that_the_decoder_of_the_stream_takes(kind: StreamKind) -> None:
    (old,) = HISTORIES[kind].decode_page(orjson.dumps([ENTRIES[kind]]), 1)
    decoder = SpotDecoder([Subscription("BTCUSDT", SPOT.parse_stream(NAMES[kind]))])
    message = decoder.decode(frame_of(f"btcusdt@{NAMES[kind]}", "BTCUSDT", old))
    assert isinstance(message, Drifted)
    assert message.unknown_fields == ("backfill",)
    assert msgspec.to_builtins(message.frame.data) == payload(NAMES[kind], T=EVENT_TIME)


@BOTH
def test_field_that_is_to_be_ignored_may_be_absent(kind: StreamKind) -> None:
    ignored = {"isBestMatch", "M"}
    entry = {name: value for name, value in ENTRIES[kind].items() if name not in ignored}
    (old,) = HISTORIES[kind].decode_page(orjson.dumps([entry]), 1)
    worded = {name: value for name, value in payload(NAMES[kind], T=EVENT_TIME).items() if name != "M"}
    assert orjson.loads(frame_of("x@y", "BTCUSDT", old))["data"] == worded


@BOTH
@pytest.mark.parametrize("numbers", [(), (5,), (5, 6, 9), (7, 8)])
def test_ids_may_leave_some_out_but_rise(kind: StreamKind, numbers: tuple[int, ...]) -> None:
    assert [old.number for old in HISTORIES[kind].decode_page(page(kind, *numbers), 5)] == list(numbers)


@BOTH
def test_new_fields_are_none_of_feedds_business(kind: StreamKind) -> None:
    assert len(HISTORIES[kind].decode_page(page(kind, 5, zz="new"), 5)) == 1


@pytest.mark.parametrize(
    ("kind", "body", "detail"),
    [
        (StreamKind.TRADE, b"", "truncated"),
        (StreamKind.TRADE, b"<html>", "malformed"),
        (StreamKind.TRADE, b'["\xff"]', "Expected `object`"),
        (StreamKind.TRADE, b'{"code":-1121,"msg":"Invalid symbol."}', "Expected `array`"),
        (StreamKind.TRADE, page(StreamKind.TRADE, 5, price=1.5), "$[0].price"),
        (StreamKind.TRADE, page(StreamKind.TRADE, 5, qty=None), "$[0].qty"),
        (StreamKind.TRADE, page(StreamKind.TRADE, 5, time=EVENT_TIME * 1000), "$[0].time"),
        (StreamKind.TRADE, page(StreamKind.TRADE, 5, isBuyerMaker="yes"), "$[0].isBuyerMaker"),
        (StreamKind.TRADE, page(StreamKind.TRADE, -1), "$[0].id"),
        (StreamKind.TRADE, page(StreamKind.AGG_TRADE, 5), "missing required field `id`"),
        (StreamKind.AGG_TRADE, page(StreamKind.TRADE, 5), "missing required field `a`"),
        (StreamKind.AGG_TRADE, page(StreamKind.AGG_TRADE, 5, l="x"), "$[0].l"),
        (StreamKind.AGG_TRADE, page(StreamKind.AGG_TRADE, 4), "an id above 4 expected, found 4"),
        (StreamKind.TRADE, page(StreamKind.TRADE, 5, 5), "an id above 5 expected, found 5"),
        (StreamKind.TRADE, page(StreamKind.TRADE, 5, 7, 6), "an id above 7 expected, found 6"),
    ],
)
def test_answer_that_can_not_be_trusted_is_refused_as_a_whole(
    kind: StreamKind, body: bytes, detail: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        HISTORIES[kind].decode_page(body, 5)
    assert detail in caught.value.detail


@given(st.binary(max_size=200))
def test_any_bytes_are_a_page_or_a_decode_error(body: bytes) -> None:
    with suppress(DecodeError):
        assert list(HISTORIES[StreamKind.TRADE].decode_page(body, 0)) == []
