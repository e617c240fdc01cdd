"""What is told as JSON, from a state that stands still."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.venue_clock import ClockSample
from feedd.model import DisconnectReason, Reason
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.json_views import (
    gate_event,
    gate_of_symbol,
    gates,
    heartbeat_event,
    reasons_for,
    rfc3339,
    state_event,
    status,
)
from tests.venues.binance.spot.frames import frame

WALL = 1_795_000_000.0
NOW = ClockReading(160.0, WALL + 60.0)
HIT, OTHER = "BTCUSDT", "ETHUSDT"


def state(*, realtime: bool = True, symbols: tuple[str, ...] = (HIT, OTHER)) -> DaemonState:
    """Return a state that began a minute ago."""
    return DaemonState(Settings(realtime=realtime, symbols=symbols), 100.0, WALL)


def opened(made: DaemonState, at: float = 110.0) -> DaemonState:
    """Open every gate at that time."""
    for symbol_state in made.symbols.values():
        symbol_state.connected(at)
        symbol_state.gate.good(at)
    return made


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (WALL + 0.1234, "2026-11-18T11:06:40.123Z"),
        (WALL + 0.9996, "2026-11-18T11:06:40.999Z"),
    ],
)
def test_times_are_utc_to_the_millisecond(wall: float, text: str) -> None:
    assert rfc3339(wall) == text


@pytest.mark.parametrize(
    ("realtime", "allow_static", "expected"),
    [
        (True, False, (Reason.STALE,)),
        (True, True, (Reason.STALE,)),
        (False, True, (Reason.STALE,)),
        (False, False, (Reason.STALE, Reason.STATIC_SOURCE)),
    ],
)
def test_static_data_is_a_reason_for_who_did_not_ask_for_it(
    realtime: bool, allow_static: bool, expected: tuple[Reason, ...]
) -> None:
    assert reasons_for(state(realtime=realtime), (Reason.STALE,), allow_static) == expected


def test_gate_tells_since_when_it_is_as_it_is() -> None:
    made = opened(state())
    symbol_state = made.symbols[HIT]
    assert gate_of_symbol(made, symbol_state, False, NOW) == {
        "halted": False, "reasons": (), "since": rfc3339(WALL + 10.0),
    }  # fmt: skip
    symbol_state.gate.trip(Reason.STALE, 130.0)
    assert gate_of_symbol(made, symbol_state, False, NOW) == {
        "halted": True, "reasons": (Reason.STALE,), "since": rfc3339(WALL + 30.0),
    }  # fmt: skip


def test_gates_are_open_since_the_last_of_them_opened() -> None:
    made = opened(state())
    made.symbols[HIT].gate.trip(Reason.EXCHANGE, 120.0)
    made.symbols[HIT].gate.clear(Reason.EXCHANGE, 125.0)
    made.symbols[HIT].gate.good(125.0)
    found = gates(made, False, NOW)
    assert (found["halted"], found["reasons"], found["since"]) == (False, (), rfc3339(WALL + 25.0))


def test_gates_are_halted_since_the_first_that_is_with_all_their_reasons() -> None:
    made = opened(state())
    made.symbols[OTHER].gate.trip(Reason.STALE, 130.0)
    made.symbols[HIT].gate.trip(Reason.DISCONNECTED, 140.0)
    found = gates(made, False, NOW)
    assert (found["halted"], found["since"]) == (True, rfc3339(WALL + 30.0))
    assert set(found["reasons"]) == {Reason.STALE, Reason.DISCONNECTED}
    assert list(found["symbols"]) == [HIT, OTHER]


def test_first_event_has_every_gate() -> None:
    event = state_event(state(realtime=False), False, NOW)
    assert (event["type"], event["source"], event["at"]) == ("state", "static", rfc3339(NOW.wall))
    assert event["symbols"][HIT]["reasons"] == (Reason.STARTING, Reason.STATIC_SOURCE)


def test_event_of_a_gate_bears_the_time_of_the_change() -> None:
    change = GateChange(150.0, (Reason.STALE,), (Reason.STARTING,), (Reason.STALE,))
    assert gate_event(state(), HIT, change, False, NOW) == {
        "type": "gate",
        "symbol": HIT,
        "halted": True,
        "reasons": (Reason.STALE,),
        "added": (Reason.STALE,),
        "removed": (Reason.STARTING,),
        "at": rfc3339(WALL + 50.0),
    }


def test_gate_that_opens_on_static_data_stays_closed_to_who_did_not_ask() -> None:
    change = GateChange(150.0, (), (Reason.STARTING,), ())
    made = state(realtime=False)
    assert gate_event(made, HIT, change, True, NOW)["halted"] is False
    assert gate_event(made, HIT, change, False, NOW)["reasons"] == (Reason.STATIC_SOURCE,)


def test_heartbeat_has_both_clocks() -> None:
    assert heartbeat_event(state(), NOW) == {
        "type": "heartbeat", "at": rfc3339(NOW.wall), "uptime_seconds": 60.0,
    }  # fmt: skip


def test_status_of_a_daemon_that_has_just_begun_is_complete_and_json() -> None:
    found: dict[str, Any] = orjson.loads(orjson.dumps(status(state(), NOW)))
    assert (found["source"], found["ready"], found["uptime_seconds"]) == ("realtime", False, 60.0)
    assert found["clock"] == {
        "offset_seconds": pytest.approx(0.0), "error_seconds": None, "synced_at": None,
    }  # fmt: skip
    assert found["consumers"] == {"connected": 0, "messages_dropped": 0, "disconnects": {}, "present": []}
    assert "outputs" not in found
    symbol = found["symbols"][HIT]
    assert (symbol["standing"], symbol["connected"], symbol["connects"]) == ("down", False, 0)
    assert symbol["latency_seconds"]["total"] == {"p50": None, "p90": None, "p99": None}
    assert symbol["streams"]["trade"]["age_seconds"] is None
    assert symbol["streams"]["trade"]["usual_gap_seconds"] is None


def test_status_counts_what_has_happened_and_leaves_out_what_never_did() -> None:
    made = state()
    symbol_state = made.symbols[HIT]
    symbol_state.connected(101.0)
    for number, at in ((1, 150.0), (4, 151.0)):
        message = frame("trade", t=number)
        symbol_state.receive(symbol_state.streams[message.stream], message.data, at)
        symbol_state.handed_on(symbol_state.streams[message.stream], at, at)
    symbol_state.disconnected(DisconnectReason.RESET, 155.0)
    found = status(made, NOW)["symbols"][HIT]
    assert (found["connects"], found["disconnects"], found["connect_failures"]) == (1, {"reset": 1}, {})
    assert found["halts"] == {"disconnected": 1}
    trade = found["streams"]["trade"]
    assert (trade["messages"], trade["gaps"], trade["missed"], trade["age_seconds"]) == (2, 1, 2, 9.0)


def test_status_tells_the_clock_once_it_is_measured() -> None:
    made = state()
    made.clock.update([ClockSample(150.0, 150.02, WALL + 50.01 + 2.0)])
    clock = status(made, NOW)["clock"]
    assert clock["offset_seconds"] == pytest.approx(2.0)
    assert clock["error_seconds"] == pytest.approx(0.01, abs=0.01)
    assert clock["synced_at"] == rfc3339(WALL + 50.02)


@pytest.mark.parametrize("realtime", [True, False])
def test_status_names_an_exchange_only_for_live_data(realtime: bool) -> None:
    found = status(state(realtime=realtime), NOW)
    assert (found["endpoints"] is not None) is realtime


def test_status_has_the_limits_of_each_symbol() -> None:
    settings = Settings(symbols=(HIT, OTHER), stale_after_by_symbol={OTHER: 60.0})
    found = status(DaemonState(settings, 100.0, WALL), NOW)["symbols"]
    assert [found[name]["limits"]["stale_after_seconds"] for name in (HIT, OTHER)] == [10.0, 60.0]


def test_status_shows_what_others_say_of_themselves() -> None:
    consumers = {"connected": 1, "messages_dropped": 0, "disconnects": {}, "present": [{"name": "x"}]}
    found = status(state(), NOW, consumers, {"recorder": {"file": "a"}})
    assert (found["consumers"], found["outputs"]) == (consumers, {"recorder": {"file": "a"}})
