"""Bytes → a message that can be trusted, or a DecodeError that says what is wrong. Nothing else, ever."""

from __future__ import annotations

import json
import timeit
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedd.errors import DecodeError
from feedd.model import InvalidReason, Subscription
from feedd.venues.binance.common.control_replies import ControlReply, DecodedFrame, Drifted, ServerShutdown
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.payloads import Kline
from feedd.venues.binance.spot.streams import STREAMS as STREAMS_TABLE
from feedd.venues.binance.spot.tables import SPOT
from tests.venues.binance.spot.frames import (
    EVENT_TIME,
    STREAMS,
    SUBSCRIPTIONS,
    combined,
    payload,
    raw,
    wrapped,
)
from tests.venues.binance.spot.recording import RECORDED, RECORDING, recorded_frames

SHUTDOWN = {"e": "serverShutdown", "E": EVENT_TIME}
DEEP = "[" * 1_000 + "]" * 1_000

CANDLE = payload("kline_1s")["k"]
DECODER = SpotDecoder(SUBSCRIPTIONS.values())


def decoder_for(*wanted: str) -> SpotDecoder:
    """A decoder for wire-like names, with the symbol as it is spelt in payloads."""
    return SpotDecoder(
        Subscription(symbol, SPOT.parse_stream(name))
        for symbol, _, name in (w.partition("@") for w in wanted)
    )


def refusal(frame: bytes, decoder: SpotDecoder = DECODER) -> DecodeError:
    with pytest.raises(DecodeError) as refused:
        decoder.decode(frame)
    return refused.value


def as_builtins(message: DecodedFrame) -> Any:
    assert isinstance(message, Frame)
    return orjson.loads(msgspec.json.encode(message.data))


@pytest.mark.parametrize("stream", STREAMS)
def test_message_of_a_combined_stream_is_decoded(stream: str) -> None:
    message = DECODER.decode(combined(stream))
    assert isinstance(message, Frame)
    assert message.stream == f"btcusdt@{stream}"
    assert isinstance(message.data, STREAMS_TABLE[stream].payload_type)
    assert as_builtins(message) == payload(stream)


@pytest.mark.parametrize("stream", STREAMS)
def test_message_of_a_raw_stream_is_decoded(stream: str) -> None:
    message = DECODER.decode(raw(stream))
    assert isinstance(message, Frame)
    assert message.stream == f"btcusdt@{stream}"
    assert as_builtins(message) == payload(stream)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("make", [raw, combined])
def test_spaces_between_tokens_are_harmless(stream: str, make: Any) -> None:
    spaced = json.dumps(json.loads(make(stream)), indent=2).encode()
    assert as_builtins(DECODER.decode(spaced)) == payload(stream)
    assert as_builtins(DECODER.decode(b" \r\n\t" + make(stream) + b"\n")) == payload(stream)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("make", [raw, combined])
def test_order_of_fields_is_free(stream: str, make: Any) -> None:
    content = json.loads(make(stream), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert as_builtins(DECODER.decode(orjson.dumps(content))) == payload(stream)


@pytest.mark.parametrize("stream", ["trade", "aggTrade"])
@pytest.mark.parametrize("ignored", [True, "x", 7])
def test_field_to_be_ignored_may_say_anything_simple(stream: str, ignored: object) -> None:
    assert isinstance(DECODER.decode(combined(stream, M=ignored)), Frame)


@pytest.mark.parametrize("stream", ["trade", "aggTrade"])
def test_field_to_be_ignored_may_be_absent(stream: str) -> None:
    content = payload(stream)
    del content["M"]
    assert isinstance(DECODER.decode(wrapped(stream, content)), Frame)
    assert isinstance(DECODER.decode(orjson.dumps(content)), Frame)


def test_ignored_field_of_a_candle_may_be_absent() -> None:
    content = payload("kline_1s")
    del content["k"]["B"]
    assert isinstance(DECODER.decode(wrapped("kline_1s", content)), Frame)


@pytest.mark.parametrize("stream", STREAMS)
def test_unknown_field_of_the_payload_is_drift(stream: str) -> None:
    for frame in (combined(stream, zz=1), raw(stream, zz=1)):
        message = DECODER.decode(frame)
        assert isinstance(message, Drifted)
        assert (message.frame.stream, message.unknown_fields) == (f"btcusdt@{stream}", ("zz",))


def test_unknown_fields_are_drift_at_every_depth() -> None:
    content = payload("kline_1s", zz=1)
    content["k"]["yy"] = None
    frame = orjson.dumps({"ww": [], "stream": "btcusdt@kline_1s", "data": content, "xx": {}})
    message = DECODER.decode(frame)
    assert isinstance(message, Drifted)
    assert message.unknown_fields == ("ww", "xx", "zz", "k.yy")
    assert isinstance(message.frame.data, Kline)


def test_drifted_message_equals_the_plain_one() -> None:
    drifted = DECODER.decode(combined("trade", zz=1))
    assert isinstance(drifted, Drifted)
    assert as_builtins(drifted.frame) == payload("trade")


@pytest.mark.parametrize("stream", ["bookTicker", "depth5"])
def test_event_name_on_a_stream_without_one_is_drift(stream: str) -> None:
    message = DECODER.decode(combined(stream, e="somethingNew"))
    assert isinstance(message, Drifted)
    assert message.unknown_fields == ("e",)


@pytest.mark.parametrize(
    "content",
    [
        SHUTDOWN,
        {"stream": "!serverShutdown", "data": SHUTDOWN},
        {"stream": "!serverShutdown", "data": {}},
        {"event": SHUTDOWN},
        {"subscriptionId": 0, "event": SHUTDOWN},
    ],
)
def test_shutdown_notice_is_understood_in_each_shape(content: object) -> None:
    assert DECODER.decode(orjson.dumps(content)) == ServerShutdown()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"result": None, "id": 1}, ControlReply(1, None)),
        ({"result": None}, ControlReply(None, None)),
        ({"result": ["btcusdt@trade"], "id": "abc"}, ControlReply("abc", None)),
        ({"result": True, "id": None}, ControlReply(None, None)),
        (
            {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 2},
            ControlReply(2, "code 2: Invalid request: invalid stream"),
        ),
        ({"error": {"code": 3, "msg": "Invalid JSON"}}, ControlReply(None, "code 3: Invalid JSON")),
        ({"code": 0, "msg": "Unknown property", "id": 7}, ControlReply(7, "code 0: Unknown property")),
        ({"code": 3, "msg": "Invalid JSON"}, ControlReply(None, "code 3: Invalid JSON")),
        ({"error": "refused", "id": [1]}, ControlReply(None, "refused")),
        ({"error": {}, "id": 1}, ControlReply(1, "code None: None")),
        ({"error": {"code": [1], "msg": {}}, "id": 1}, ControlReply(1, "code an array: an object")),
    ],
)
def test_control_reply_is_understood_in_each_shape(content: object, expected: ControlReply) -> None:
    assert DECODER.decode(orjson.dumps(content)) == expected


@pytest.mark.parametrize(
    ("frame", "reason", "detail"),
    [
        (
            b"",
            InvalidReason.BAD_JSON,
            "Input is a zero-length, empty document: line 1 column 1 (char 0)",
        ),
        (
            b"\xef\xbb\xbf" + raw("trade"),
            InvalidReason.BAD_JSON,
            "UTF-8 byte order mark (BOM) is not supported: line 1 column 1 (char 0)",
        ),
        (
            b'{"e":"trade"',
            InvalidReason.BAD_JSON,
            "unexpected end of data: line 1 column 13 (char 12)",
        ),
        (b"[1,2]", InvalidReason.NOT_OBJECT, "expected an object, found an array"),
        (b'"trade"', InvalidReason.NOT_OBJECT, "expected an object, found a string"),
        (b"null", InvalidReason.NOT_OBJECT, "expected an object, found null"),
        (b"true", InvalidReason.NOT_OBJECT, "expected an object, found a boolean"),
        (b"17", InvalidReason.NOT_OBJECT, "expected an object, found a number"),
        (b"1.5", InvalidReason.NOT_OBJECT, "expected an object, found a number"),
        (b"{}", InvalidReason.MISSING_FIELD, "nothing in it says which stream it belongs to"),
        (
            b'{"e":"trade"}',
            InvalidReason.MISSING_FIELD,
            "nothing in it says which stream it belongs to",
        ),
        (b'{"e":"trade","s":"ETHUSDT"}', InvalidReason.WRONG_SYMBOL, "s: found 'ETHUSDT'"),
        (b'{"e":"somethingNew","s":"ETHUSDT"}', InvalidReason.UNKNOWN_EVENT, "event 'somethingNew'"),
        (b'{"e":"trade","s":"BTCUSDT"}', InvalidReason.MISSING_FIELD, "E, t, p, q, T, m"),
    ],
)
def test_frame_that_names_no_stream_is_refused(frame: bytes, reason: InvalidReason, detail: str) -> None:
    error = refusal(frame)
    assert (error.reason, error.detail, str(error)) == (reason, detail, f"{reason}: {detail}")


@pytest.mark.parametrize(
    ("content", "reason", "detail", "stream"),
    [
        ({"stream": 5, "data": {}}, "wrong_type", "stream: expected a string, found a number", None),
        ({"stream": "btcusdt@trade"}, "missing_field", "data", "btcusdt@trade"),
        (
            {"stream": "btcusdt@trade", "data": []},
            "wrong_type",
            "data: expected an object, found an array",
            "btcusdt@trade",
        ),
        (
            {"stream": "btcusdt@newThing", "data": {}},
            "unknown_event",
            "stream 'btcusdt@newThing' is not known",
            "btcusdt@newThing",
        ),
        (
            {"stream": "btcusdt@kline_1m", "data": {}},
            "unknown_event",
            "stream 'btcusdt@kline_1m' was not asked for",
            "btcusdt@kline_1m",
        ),
        (
            {"stream": "ethusdt@trade", "data": payload("trade", s="ETHUSDT")},
            "wrong_symbol",
            "stream 'ethusdt@trade' is of another symbol",
            "ethusdt@trade",
        ),
        (
            {"stream": "BTCUSDT@trade", "data": payload("trade")},
            "unknown_event",
            "stream 'BTCUSDT@trade' was not asked for",
            "BTCUSDT@trade",
        ),
    ],
)
def test_frame_of_a_stream_nobody_asked_for_is_refused(
    content: object, reason: str, detail: str, stream: str | None
) -> None:
    error = refusal(orjson.dumps(content))
    assert (error.reason, error.detail, error.stream) == (reason, detail, stream)


@pytest.mark.parametrize(
    ("stream", "changes", "reason", "detail"),
    [
        ("trade", {"e": "somethingNew"}, "unknown_event", "event 'somethingNew'"),
        ("trade", {"s": "ETHUSDT"}, "wrong_symbol", "s: expected 'BTCUSDT', found 'ETHUSDT'"),
        ("trade", {"s": "btcusdt"}, "wrong_symbol", "s: expected 'BTCUSDT', found 'btcusdt'"),
        ("bookTicker", {"s": ""}, "wrong_symbol", "s: expected 'BTCUSDT', found ''"),
        ("trade", {"p": 1.2345}, "wrong_type", "Expected `str`, got `float` - at `$.p`"),
        ("trade", {"p": 1}, "wrong_type", "Expected `str`, got `int` - at `$.p`"),
        ("trade", {"p": None}, "wrong_type", "Expected `str`, got `null` - at `$.p`"),
        ("trade", {"t": "880101"}, "wrong_type", "Expected `int`, got `str` - at `$.t`"),
        ("trade", {"t": 880101.0}, "wrong_type", "Expected `int`, got `float` - at `$.t`"),
        ("trade", {"t": -1}, "wrong_type", "Expected `int` >= 0 - at `$.t`"),
        ("trade", {"m": 1}, "wrong_type", "Expected `bool`, got `int` - at `$.m`"),
        ("trade", {"e": "aggTrade"}, "wrong_type", "Invalid enum value 'aggTrade' - at `$.e`"),
        (
            "trade",
            {"E": EVENT_TIME * 1_000},
            "wrong_type",
            "Expected `int` <= 9999999999999 - at `$.E`",
        ),
        (
            "trade",
            {"E": EVENT_TIME // 1_000},
            "wrong_type",
            "Expected `int` >= 1000000000000 - at `$.E`",
        ),
        ("kline_1s", {"k": []}, "wrong_type", "Expected `object`, got `array` - at `$.k`"),
        (
            "kline_1s",
            {"k": {}},
            "missing_field",
            "k.t, k.T, k.s, k.i, k.f, k.L, k.o, k.c, k.h, k.l, k.v, k.n, k.x, k.q, k.V, k.Q",
        ),
        ("depth@100ms", {"U": 7, "u": 6}, "wrong_type", "U: expected 6 (u) at most, found 7"),
        (
            "kline_1s",
            {"k": CANDLE | {"s": "ETHUSDT"}},
            "wrong_symbol",
            "k.s: expected 'BTCUSDT', found 'ETHUSDT'",
        ),
        ("kline_1s", {"k": CANDLE | {"i": "1m"}}, "wrong_type", "k.i: expected '1s', found '1m'"),
        ("depth@100ms", {"b": [["1.0"]]}, "wrong_type", "Expected `array` of length 2, got 1 - at `$.b[0]`"),
        ("depth5", {"asks": [[1, 2]]}, "wrong_type", "Expected `str`, got `int` - at `$.asks[0][0]`"),
    ],
)
def test_payload_of_another_shape_is_refused(
    stream: str, changes: dict[str, Any], reason: str, detail: str
) -> None:
    error = refusal(combined(stream, **changes))
    assert (error.reason, error.detail, error.stream) == (reason, detail, f"btcusdt@{stream}")


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        (stream, key)
        for stream in STREAMS
        for key in payload(stream)
        if (stream, key) not in (("trade", "M"), ("aggTrade", "M"))
    ],
)
def test_missing_field_is_named(stream: str, key: str) -> None:
    content = payload(stream)
    del content[key]
    error = refusal(wrapped(stream, content))
    assert (error.reason, error.detail, error.stream) == ("missing_field", key, f"btcusdt@{stream}")


@pytest.mark.parametrize(
    "frame",
    [
        b"[" * 100_000,
        b'{"stream":' * 100_000,
        b'{"stream":"btcusdt@trade","data":' + b"[" * 100_000,
        combined("trade").replace(b'"1.2345"', b"[" * 5_000 + b"]" * 5_000),
        combined("trade").replace(b"1.2345", b"\\ud800"),
        combined("trade").replace(b"1.2345", b"\\udc00\\ud800"),
        combined("trade").replace(b"1.2345", b"\xff"),
        combined("trade").replace(b"1.2345", b"\xed\xa0\x80"),
        combined("trade").replace(b"1.2345", b"\x00"),
        combined("trade").replace(b"880101", b"NaN"),
        combined("trade").replace(b"880101", b"Infinity"),
        combined("trade").replace(b"880101", b"-"),
        combined("trade").replace(b"880101", b"0880101"),
        combined("trade").replace(b"880101", b"1" * 5_000),
        combined("trade")[:-1],
        combined("trade") + b"}",
        combined("trade") * 2,
        combined("trade").replace(b'"', b"'"),
        "{}".encode("utf-16"),
        b"\x00",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(frame: bytes) -> None:
    assert refusal(frame).reason is InvalidReason.BAD_JSON


@pytest.mark.parametrize("digits", ["9223372036854775808", "1" * 30, "1" * 300])
@pytest.mark.parametrize("make", [raw, combined])
def test_integer_beyond_64_bits_is_refused(digits: str, make: Any) -> None:
    error = refusal(make("trade").replace(b"880101", digits.encode()))
    assert error.reason is InvalidReason.WRONG_TYPE


@pytest.mark.parametrize(
    "frame",
    [
        f'{{"error":{DEEP}}}',
        f'{{"error":{{"code":{DEEP},"msg":{DEEP}}}}}',
        f'{{"code":{DEEP},"msg":{DEEP}}}',
        f'{{"result":{DEEP},"id":{DEEP}}}',
    ],
)
def test_control_reply_of_great_depth_is_still_a_control_reply(frame: str) -> None:
    assert isinstance(DECODER.decode(frame.encode()), ControlReply)


@pytest.mark.parametrize("key", ["stream", "data", "e", "s", "k"])
def test_great_depth_in_any_field_is_refused(key: str) -> None:
    for frame in (f'{{"{key}":{DEEP}}}', f'{{"stream":"btcusdt@trade","data":{{"{key}":{DEEP}}}}}'):
        assert refusal(frame.encode()).reason in (InvalidReason.MISSING_FIELD, InvalidReason.WRONG_TYPE)


def repeated(frame: bytes, key: str, value: str) -> bytes:
    """Add a key that is there already at the end of the outermost object."""
    return frame[:-1] + f',"{key}":{value}}}'.encode()


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (repeated(combined("trade"), "stream", '"ethusdt@trade"'), InvalidReason.WRONG_SYMBOL),
        (repeated(combined("trade"), "stream", '"btcusdt@aggTrade"'), InvalidReason.MISSING_FIELD),
        (repeated(combined("trade"), "stream", "5"), InvalidReason.WRONG_TYPE),
        (repeated(combined("trade"), "data", "{}"), InvalidReason.MISSING_FIELD),
        (repeated(raw("trade"), "s", '"ETHUSDT"'), InvalidReason.WRONG_SYMBOL),
        (combined("trade").replace(b'"s":', b'"s":"BTCUSDT","s":"ETHUSDT","x":'), InvalidReason.WRONG_SYMBOL),
    ],
)
def test_repeated_key_cannot_smuggle_in_another_market(frame: bytes, reason: InvalidReason) -> None:
    assert refusal(frame).reason is reason


def test_repeated_stream_cannot_swap_two_symbols_of_one_connection() -> None:
    decoder = decoder_for("BTCUSDT@trade", "ETHUSDT@trade")
    error = refusal(repeated(combined("trade"), "stream", '"ethusdt@trade"'), decoder)
    assert (error.reason, error.detail) == ("wrong_symbol", "s: expected 'ETHUSDT', found 'BTCUSDT'")


def test_repeated_key_of_the_same_value_is_harmless() -> None:
    message = DECODER.decode(repeated(combined("trade"), "stream", '"btcusdt@trade"'))
    assert as_builtins(message) == payload("trade")


def test_symbols_of_one_connection_are_told_apart() -> None:
    decoder = decoder_for("BTCUSDT@trade", "ETHUSDT@trade")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        content = payload("trade", s=symbol)
        name = f"{symbol.lower()}@trade"
        for frame in (orjson.dumps(content), orjson.dumps({"stream": name, "data": content})):
            message = decoder.decode(frame)
            assert isinstance(message, Frame)
            assert message.stream == name
            assert getattr(message.data, "symbol", None) == symbol


@pytest.mark.parametrize("escape", [False, True])
def test_symbol_beyond_ascii_is_decoded(escape: bool) -> None:
    symbol = "这是测试币456"
    content = {"stream": f"{symbol}@trade", "data": payload("trade", s=symbol)}
    frame = json.dumps(content, ensure_ascii=escape).encode()
    message = decoder_for(f"{symbol}@trade").decode(frame)
    assert isinstance(message, Frame)
    assert message.stream == f"{symbol}@trade"
    assert getattr(message.data, "symbol", None) == symbol


def test_candles_of_a_raw_stream_go_by_their_interval() -> None:
    decoder = decoder_for("BTCUSDT@kline_1m", "BTCUSDT@kline_1s")
    message = decoder.decode(raw("kline_1s"))
    assert isinstance(message, Frame)
    assert message.stream == "btcusdt@kline_1s"


def test_raw_candle_of_another_interval_belongs_nowhere() -> None:
    error = refusal(raw("kline_1s"), decoder_for("BTCUSDT@kline_1m"))
    assert error.reason is InvalidReason.MISSING_FIELD


def outcome(frame: bytes, decoder: SpotDecoder, streams: dict[str, Subscription]) -> object:
    """Decode, hold what comes of it against the promise, and return what it comes down to."""
    try:
        message = decoder.decode(frame)
    except DecodeError as error:
        assert type(error.reason) is InvalidReason
        assert str(error) == f"{error.reason}: {error.detail}"
        return error.reason, error.stream
    found = message.frame if isinstance(message, Drifted) else message
    if not isinstance(found, Frame):
        assert isinstance(found, ServerShutdown | ControlReply)
        return found
    subscription = streams[found.stream]
    assert isinstance(found.data, STREAMS_TABLE[subscription.stream.name].payload_type)
    assert found.data.symbol == subscription.wire_symbol
    content = msgspec.to_builtins(found.data)
    msgspec.convert(content, STREAMS_TABLE[subscription.stream.name].payload_type)
    return type(message) is Drifted, found.stream, content


def check(
    frame: bytes, decoder: SpotDecoder = DECODER, streams: dict[str, Subscription] = SUBSCRIPTIONS
) -> None:
    # A space before it is harmless, but sends a frame of the known shape to the second look.
    assert outcome(frame, decoder, streams) == outcome(b" " + frame, decoder, streams)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(("trade", "BTCUSDT")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(("e", "s", "E", "k", "stream", "data", "result", "error", "code", "msg", "event"))
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
thorough = settings(max_examples=250)
FRAMES = st.sampled_from([make(stream) for stream in STREAMS for make in (raw, combined)])


@thorough
@given(st.binary())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"stream":"btcusdt@trade"')
def test_any_bytes_are_decoded_or_refused(frame: bytes) -> None:
    check(frame)


@thorough
@given(JSON)
def test_any_json_is_decoded_or_refused(content: object) -> None:
    check(json.dumps(content).encode())
    check(json.dumps(content, ensure_ascii=False).encode(errors="surrogatepass"))


@thorough
@given(st.sampled_from(STREAMS), JSON)
def test_any_content_of_a_stream_is_decoded_or_refused(stream: str, content: object) -> None:
    check(json.dumps({"stream": f"btcusdt@{stream}", "data": content}, separators=(",", ":")).encode())


@thorough
@given(st.sampled_from(STREAMS), st.booleans(), st.data())
def test_any_change_of_a_field_is_decoded_or_refused(stream: str, whole: bool, drawn: st.DataObject) -> None:
    content = payload(stream)
    holder = content["k"] if "k" in content and drawn.draw(st.booleans()) else content
    key = drawn.draw(st.sampled_from(sorted(holder)) | st.text())
    if drawn.draw(st.booleans()):
        holder[key] = drawn.draw(JSON)
    else:
        holder.pop(key, None)
    outer = {"stream": f"btcusdt@{stream}", "data": content} if whole else content
    check(json.dumps(outer, separators=(",", ":")).encode())


def mutated(frame: bytes, drawn: st.DataObject) -> bytes:
    """Damage some bytes: cut them out, write over them, or repeat a part of the frame."""
    for _ in range(drawn.draw(st.integers(1, 3))):
        start = drawn.draw(st.integers(0, len(frame)))
        end = drawn.draw(st.integers(start, min(len(frame), start + 20)))
        instead = drawn.draw(
            st.binary(max_size=3) | st.sampled_from((b'"', b"{", b"}", b",", b"1", frame[start:end] * 2))
        )
        frame = frame[:start] + instead + frame[end:]
    return frame


@thorough
@given(FRAMES, st.data())
def test_any_damage_to_a_frame_is_decoded_or_refused(frame: bytes, drawn: st.DataObject) -> None:
    check(mutated(frame, drawn))


@thorough
@given(FRAMES, FRAMES, st.data())
def test_any_two_frames_run_together_are_decoded_or_refused(
    one: bytes, other: bytes, drawn: st.DataObject
) -> None:
    check(one[: drawn.draw(st.integers(0, len(one)))] + other[drawn.draw(st.integers(0, len(other))) :])


@thorough
@given(st.sampled_from(STREAMS), st.sampled_from(STREAMS), st.sampled_from(("stream", "data", "e", "s", "E")))
def test_any_repeated_key_is_decoded_or_refused(stream: str, other: str, key: str) -> None:
    for value in (f'"btcusdt@{other}"', raw(other).decode(), f'"{payload(other).get("e")}"', "1"):
        check(repeated(combined(stream), key, value))
        check(repeated(raw(stream), key, value))


recorded = pytest.mark.skipif(not RECORDING.exists(), reason="the recorded session is not on this machine")


@recorded
def test_recorded_session_is_decoded_to_the_last_message() -> None:
    decoder = SpotDecoder(RECORDED.values())
    kinds = [
        type(message.data).__name__
        for message in map(decoder.decode, recorded_frames())
        if isinstance(message, Frame)
    ]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "Depth": 177,
        "BookTicker": 84,
        "AggTrade": 2,
        "Kline": 2,
    }


@recorded
@thorough
@given(st.sampled_from(recorded_frames() or [b""]), st.data())
def test_any_damage_to_a_recorded_frame_is_decoded_or_refused(frame: bytes, drawn: st.DataObject) -> None:
    check(mutated(frame, drawn), SpotDecoder(RECORDED.values()), RECORDED)


@pytest.mark.parametrize("stream", ["bookTicker", "depth5"])
def test_new_event_on_a_stream_without_event_names_is_unknown(stream: str) -> None:
    error = refusal(wrapped(stream, {"e": "somethingNew", "s": "BTCUSDT"}))
    assert (error.reason, error.detail) == (InvalidReason.UNKNOWN_EVENT, "event 'somethingNew'")


def test_new_field_of_the_exchange_does_not_swamp_the_daemon() -> None:
    """All messages have it from one moment on; a wide bound, because the machine's speed wanders."""

    def seconds(frame: bytes) -> float:
        return min(timeit.repeat(lambda: DECODER.decode(frame), number=200, repeat=5))

    assert seconds(combined("trade", zz=1)) < 60 * seconds(combined("trade"))
