from __future__ import annotations

import math
from typing import Any

import pytest

from feedd.exchange.fault_registry import AnyFault, FaultError, FaultRegistry, expectation
from feedd.exchange.faults import CloseFault, Delay, Garbage, GarbageMode, Http, Mute, Status

NOW = 1000.0


def make_registry() -> FaultRegistry:
    return FaultRegistry(("BTCUSDT", "ETHUSDT"))


def put(registry: FaultRegistry, name: str, **options: Any) -> AnyFault:
    known = {key: options.pop(key) for key in ("symbol", "stream", "seconds") if key in options}
    return registry.set(name, NOW, **known, arguments=options)


def test_lasting_fault_is_on_until_its_time_is_over() -> None:
    registry = make_registry()
    fault = put(registry, "mute", seconds=3)
    assert registry.active() == (fault,)
    assert registry.next_expiry == 1003
    assert registry.expire(1002.9) == []
    assert registry.expire(1003) == [fault]
    assert registry.active() == ()
    assert registry.next_expiry == math.inf


def test_fault_without_seconds_is_on_until_it_is_cleared() -> None:
    registry = make_registry()
    fault = put(registry, "mute")
    assert registry.expire(NOW + 1e9) == []
    assert registry.clear(fault.id) is fault
    assert registry.clear(fault.id) is None


def test_fault_that_happens_once_does_not_stay() -> None:
    registry = make_registry()
    assert put(registry, "reset").id == 1
    assert put(registry, "mute").id == 2
    assert [fault.id for fault in registry.active()] == [2]


def test_fault_covers_its_own_symbol_and_stream_only() -> None:
    registry = make_registry()
    put(registry, "mute", symbol="btcusdt", stream="depth@100ms")
    assert registry.for_stream("BTCUSDT", "depth@100ms").get(Mute)
    assert not registry.for_stream("BTCUSDT", "depth")
    assert not registry.for_stream("ETHUSDT", "depth@100ms")


def test_wire_name_of_a_stream_names_the_symbol_too() -> None:
    fault = put(make_registry(), "mute", stream="ethusdt@kline_1s")
    assert (fault.symbol, fault.stream) == ("ETHUSDT", "kline_1s")


def test_fault_of_all_symbols_covers_each() -> None:
    registry = make_registry()
    put(registry, "delay")
    assert registry.for_stream("ETHUSDT", "trade").get(Delay)
    assert registry.find(Delay)


def test_fault_of_one_symbol_is_found_only_with_it() -> None:
    registry = make_registry()
    put(registry, "http", symbol="BTCUSDT")
    assert registry.find(Http) is None
    assert registry.find(Http, {"ETHUSDT"}) is None
    assert registry.find(Http, {"ETHUSDT", "BTCUSDT"}) is not None


def test_of_two_alike_the_later_counts() -> None:
    registry = make_registry()
    put(registry, "status", status="BREAK")
    put(registry, "status", status="HALT")
    found = registry.find(Status)
    covering = registry.for_stream("BTCUSDT", "trade").get(Status)
    assert found and found.kind.status == "HALT"
    assert covering is found


def test_fault_with_every_and_count_strikes_so_often() -> None:
    registry = make_registry()
    fault = put(registry, "garbage", every=3, count=2)
    assert [fault.hits_next() for _ in range(9)] == [False, False, True] * 2 + [False] * 3
    assert fault.hit == 2
    assert registry.expire(NOW) == [fault]


def test_arguments_have_defaults_and_are_read() -> None:
    assert put(make_registry(), "close").kind == CloseFault(code=1001, reason="")
    assert put(make_registry(), "close", code=4000, reason="x").kind == CloseFault(code=4000, reason="x")
    assert put(make_registry(), "delay", ms=2.5).kind == Delay(ms=2.5)
    assert put(make_registry(), "http", status=429, retry_after=7).kind == Http(status=429, retry_after=7)
    assert put(make_registry(), "http", retry_after=None).kind == Http()
    garbage = put(make_registry(), "garbage", mode="binary").kind
    assert isinstance(garbage, Garbage) and garbage.mode is GarbageMode.BINARY


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("nonsense", {}, "fault: expected one of mute, reset, "),
        ("mute", {"symbol": "XRPUSDT"}, "symbol: expected one of BTCUSDT, ETHUSDT; found 'XRPUSDT'"),
        ("mute", {"stream": "xrpusdt@trade", "symbol": "XRPUSDT"}, "symbol: expected one of"),
        ("reset", {"stream": "trade"}, "stream: reset is about whole connections or symbols; found 'trade'"),
        ("reset", {"seconds": 3}, "seconds: reset happens once, at once; leave it out"),
        ("mute", {"seconds": 0}, "seconds: expected more than 0; found 0"),
        ("mute", {"seconds": math.nan}, "seconds: expected more than 0; found nan"),
        ("refuse", {}, "seconds: refuse needs them, as nothing else would end it"),
        ("latency_spike", {}, "seconds: latency_spike needs them"),
        ("mute", {"ms": 3}, "ms: mute takes no argument"),
        ("delay", {"milliseconds": 3}, "milliseconds: delay takes ms"),
        ("status", {}, "status: status needs it"),
        ("status", {"status": "halt"}, "status: expected a text like [A-Z][A-Z_]*; found 'halt'"),
        ("close", {"code": 999}, "code: expected a whole number from 1000 to 4999; found 999"),
        ("close", {"code": True}, "code: expected a whole number from 1000 to 4999; found True"),
        ("close", {"code": 1000.0}, "code: expected a whole number"),
        ("delay", {"ms": "3"}, "ms: expected a number from 0; found '3'"),
        ("delay", {"ms": None}, "ms: expected a number from 0; found None"),
        ("clock_skew", {"rest": 1}, "rest: expected true or false; found 1"),
        (
            "garbage",
            {"mode": "odd"},
            "mode: expected one of bad_json, not_object, binary, too_big, truncated; found",
        ),
        ("drop_field", {"field": ""}, "field: expected a text like"),
    ],
)
def test_wrong_fault_is_refused_with_what_was_expected(name: str, options: dict[str, Any], text: str) -> None:
    registry = make_registry()
    with pytest.raises(FaultError) as caught:
        put(registry, name, **options)
    assert str(caught.value).startswith(text)
    assert registry.active() == ()


def test_refuse_of_one_symbol_needs_no_seconds() -> None:
    assert put(make_registry(), "refuse", symbol="BTCUSDT").until == math.inf


def test_expectation_tells_the_type_and_its_limits() -> None:
    assert expectation(CloseFault, "code") == "a whole number from 1000 to 4999"
    assert expectation(Http, "retry_after") == "a whole number from 0"
