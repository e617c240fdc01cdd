from __future__ import annotations

from typing import Any

import orjson
import pytest

from feedd.exchange.faults import (
    FAULT_KINDS,
    ClockSkew,
    DropField,
    Garbage,
    GarbageMode,
    PayloadFault,
    Status,
    UnknownField,
    WrongSymbol,
    WrongType,
)
from feedd.exchange.messages import Opcode

TEXT = b'{"stream":"btcusdt@trade","data":{"e":"trade","p":"1"}}'


def test_every_fault_has_a_name_and_says_in_a_line_what_it_does() -> None:
    for name, kind in FAULT_KINDS.items():
        assert kind.name == name
        assert (kind.__doc__ or "").partition("\n")[0].endswith(".")


@pytest.mark.parametrize("mode", [GarbageMode.BAD_JSON, GarbageMode.TRUNCATED])
def test_garbage_is_no_json(mode: GarbageMode) -> None:
    opcode, text = Garbage(mode=mode).corrupt(TEXT)
    assert opcode is Opcode.TEXT
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(text)


def test_garbage_is_json_but_no_object() -> None:
    opcode, text = Garbage(mode=GarbageMode.NOT_OBJECT).corrupt(TEXT)
    assert opcode is Opcode.TEXT
    assert isinstance(orjson.loads(text), list)


def test_garbage_is_good_but_binary() -> None:
    assert Garbage(mode=GarbageMode.BINARY).corrupt(TEXT) == (Opcode.BINARY, TEXT)


def test_garbage_is_good_but_too_big() -> None:
    opcode, text = Garbage(mode=GarbageMode.TOO_BIG, size=1000).corrupt(TEXT)
    assert opcode is Opcode.TEXT
    assert len(text) > 1000
    assert orjson.loads(text)["data"] == {"e": "trade", "p": "1"}


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (DropField(field="p"), {"p": "1", "q": "2"}, {"q": "2"}),
        (DropField(field="k.c"), {"k": {"c": "1", "o": "2"}}, {"k": {"o": "2"}}),
        (WrongType(field="p"), {"p": "1"}, {"p": ["wrong type"]}),
        (WrongType(field="E"), {"E": 5}, {"E": ["wrong type"]}),
        (WrongType(field="b"), {"b": [["1", "2"]]}, {"b": "wrong type"}),
        (WrongType(field="k.x"), {"k": {"x": True}}, {"k": {"x": ["wrong type"]}}),
        (UnknownField(), {"p": "1"}, {"p": "1", "zz": "new"}),
        (WrongSymbol(), {"s": "A", "k": {"s": "A"}}, {"s": "WRONGUSDT", "k": {"s": "WRONGUSDT"}}),
        (WrongSymbol(to="B"), {"s": "A"}, {"s": "B"}),
    ],
)
def test_payload_is_rewritten(kind: PayloadFault, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert kind.applies(before)
    kind.rewrite(before)
    assert before == after


@pytest.mark.parametrize(
    ("kind", "document"),
    [
        (DropField(field="p"), {"q": "2"}),
        (DropField(field="k.c"), {"k": "c"}),
        (DropField(field="k.c"), {}),
        (WrongType(field="p"), {"q": "2"}),
        (WrongSymbol(), {"lastUpdateId": 1}),
    ],
)
def test_payload_without_the_field_is_left_alone(kind: PayloadFault, document: dict[str, Any]) -> None:
    assert not kind.applies(document)


def test_skew_moves_times_in_the_payloads_own_unit() -> None:
    document = {"e": "trade", "E": 10_000_000, "T": 9_000_000, "t": 1}
    ClockSkew(ms=-2000).rewrite(document, 1000)
    assert document == {"e": "trade", "E": 8_000_000, "T": 7_000_000, "t": 1}


@pytest.mark.parametrize(
    ("status", "stream", "is_silencing"),
    [
        ("BREAK", "trade", True),
        ("HALT", "trade", False),
        ("CANCEL_ONLY", "trade", False),
        ("CANCEL_ONLY", "kline_1s", True),
        ("NEW_AND_UNKNOWN", "kline_1s", False),
    ],
)
def test_status_silences_what_binance_says_it_does(status: str, stream: str, is_silencing: bool) -> None:
    assert Status(status=status).is_silencing(stream) is is_silencing
