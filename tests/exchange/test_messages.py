from __future__ import annotations

import orjson
import pytest
from aiohttp import WSMsgType

from feedd.exchange.messages import (
    MarketMessage,
    Opcode,
    TimeUnit,
    close_frame,
    envelope,
    message_frame,
    parse_unit,
    scale_times,
    shift_times,
    websocket_frame,
)

PAYLOADS = {TimeUnit.MILLISECOND: b'{"E":1}', TimeUnit.MICROSECOND: b'{"E":1000}'}


def unframe(frame: bytes) -> tuple[int, bytes]:
    """Read a frame by the letter of RFC 6455, 5.2."""
    assert frame[0] & 0xF0 == 0x80
    assert frame[1] & 0x80 == 0
    length, start = frame[1], 2
    if length >= 126:
        start = 4 if length == 126 else 10
        length = int.from_bytes(frame[2:start])
    assert len(frame) == start + length
    return frame[0] & 0x0F, frame[start:]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_frame_tells_its_length(size: int) -> None:
    assert unframe(websocket_frame(Opcode.TEXT, b"x" * size)) == (WSMsgType.TEXT, b"x" * size)


def test_short_lengths_use_the_short_form() -> None:
    assert websocket_frame(Opcode.PING, b"ab") == b"\x89\x02ab"


def test_close_frame_holds_code_and_a_reason_that_fits() -> None:
    opcode, content = unframe(close_frame(1008, "r" * 200))
    assert (opcode, content) == (WSMsgType.CLOSE, b"\x03\xf0" + b"r" * 123)


def test_message_takes_the_shape_that_was_asked_for() -> None:
    message = MarketMessage("BTCUSDT", "depth@100ms", PAYLOADS)
    assert unframe(message_frame(message, TimeUnit.MILLISECOND, False) or b"") == (1, b'{"E":1}')
    combined = message_frame(message, TimeUnit.MICROSECOND, True) or b""
    assert unframe(combined) == (1, b'{"stream":"btcusdt@depth@100ms","data":{"E":1000}}')


def test_unit_that_nobody_had_asked_for_is_no_frame() -> None:
    assert message_frame(MarketMessage("BTCUSDT", "trade", {}), TimeUnit.MILLISECOND, True) is None


def test_label_and_spoiling_change_what_is_sent() -> None:
    message = MarketMessage("BTCUSDT", "trade", PAYLOADS, lambda text: (Opcode.BINARY, text[:9]), "x@y")
    frame = message_frame(message, TimeUnit.MILLISECOND, True)
    assert unframe(frame or b"") == (WSMsgType.BINARY, b'{"stream"')


def test_envelope_keeps_names_beyond_ascii() -> None:
    assert orjson.loads(envelope("测试@trade", b"{}")) == {"stream": "测试@trade", "data": {}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"e": "trade", "E": 1, "T": 2, "t": 3}, {"e": "trade", "E": 11, "T": 12, "t": 3}),
        ({"e": "aggTrade", "E": 1, "T": 2, "a": 3}, {"e": "aggTrade", "E": 11, "T": 12, "a": 3}),
        ({"e": "depthUpdate", "E": 1, "u": 2}, {"e": "depthUpdate", "E": 11, "u": 2}),
        (
            {"e": "24hrTicker", "E": 1, "O": 2, "C": 3, "n": 4},
            {"e": "24hrTicker", "E": 11, "O": 12, "C": 13, "n": 4},
        ),
        ({"e": "referencePrice", "t": 1}, {"e": "referencePrice", "t": 11}),
        ({"u": 1, "b": "2", "A": "3"}, {"u": 1, "b": "2", "A": "3"}),
        (
            {"e": "kline", "E": 1, "k": {"t": 2, "T": 3, "f": 4}},
            {"e": "kline", "E": 11, "k": {"t": 12, "T": 13, "f": 4}},
        ),
    ],
)
def test_shift_moves_times_and_nothing_else(before: dict[str, object], after: dict[str, object]) -> None:
    shift_times(before, 10)
    assert before == after


def test_scale_tells_times_in_a_finer_unit() -> None:
    document = {"e": "trade", "E": 5, "T": 4, "t": 3}
    scale_times(document, 1000)
    assert document == {"e": "trade", "E": 5000, "T": 4000, "t": 3}


def test_unit_is_milliseconds_unless_told_otherwise() -> None:
    assert parse_unit("MICROSECOND") is parse_unit("microsecond") is TimeUnit.MICROSECOND
    assert parse_unit("") is parse_unit("MILLISECOND") is parse_unit("parsec") is TimeUnit.MILLISECOND
