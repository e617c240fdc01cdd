"""What a client takes a gate for, and for how long."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from feedd.client.gate_store import GateStore, GateView

BTC = "BTCUSDT"


def encoded(**event: Any) -> bytes:
    return msgspec.json.encode(event)


def state(source: str = "realtime", **symbols: list[str]) -> bytes:
    gates = {name: {"halted": bool(why), "reasons": why, "since": "…"} for name, why in symbols.items()}
    return encoded(type="state", source=source, at="…", symbols=gates)


def gate(symbol: str, *reasons: str) -> bytes:
    return encoded(type="gate", symbol=symbol, halted=bool(reasons), reasons=reasons, added=[], removed=[])


def store(*frames: bytes, allow_static: bool = False) -> GateStore:
    """Return a store to which these frames were applied at 100 s."""
    gates = GateStore(allow_static)
    for frame in frames:
        gates.apply_event(frame, now=100.0, asked_at=100.0)
    return gates


def reasons(gates: GateStore, symbol: str = BTC, now: float = 100.0) -> tuple[str, ...]:
    view = gates.snapshot.view(symbol, now)
    assert view.is_open == gates.snapshot.is_open(symbol, now)
    return view.reasons


def test_nothing_is_open_before_the_daemon_has_reported() -> None:
    assert reasons(store()) == ("unreachable",)


def test_state_sets_every_gate() -> None:
    gates = store(state(BTCUSDT=[], ETHUSDT=["stale"]))
    assert reasons(gates) == ()
    assert reasons(gates, "ETHUSDT") == ("stale",)
    assert reasons(gates, "DOGEUSDT") == ("unknown_symbol",)


def test_symbols_are_found_in_small_letters_too() -> None:
    gates = store(state(BTCUSDT=[]))
    assert gates.snapshot.view("btcusdt", 100.0) == GateView(BTC, ())
    assert gates.snapshot.is_open("btcusdt", 100.0)


def test_change_replaces_the_reasons_of_one_symbol() -> None:
    gates = store(state(BTCUSDT=[], ETHUSDT=[]), gate(BTC, "stale", "latency"))
    assert reasons(gates) == ("stale", "latency")
    assert reasons(gates, "ETHUSDT") == ()
    gates.apply_event(gate(BTC), 100.0, 100.0)
    assert reasons(gates) == ()


def test_new_state_forgets_symbols_that_are_gone() -> None:
    assert reasons(store(state(BTCUSDT=[]), state(ETHUSDT=[]))) == ("unknown_symbol",)


def test_silence_closes_after_two_seconds_and_a_heartbeat_reopens() -> None:
    gates = store(state(BTCUSDT=[]))
    assert reasons(gates, now=101.99) == ()
    assert reasons(gates, now=102.0) == ("silent",)
    gates.apply_event(encoded(type="heartbeat", uptime_seconds=7.0), 103.0, 100.0)
    assert reasons(gates, now=104.9) == ()


def test_silence_comes_beside_the_last_reasons() -> None:
    assert reasons(store(state(BTCUSDT=["stale"])), now=103.0) == ("stale", "silent")


def test_state_counts_from_when_it_was_asked_for() -> None:
    gates = GateStore(allow_static=False)
    gates.apply_event(state(BTCUSDT=[]), now=100.0, asked_at=98.5)
    assert reasons(gates, now=100.4) == ()
    assert reasons(gates, now=100.5) == ("silent",)


def test_gate_event_is_no_heartbeat() -> None:
    gates = store(state(BTCUSDT=["stale"]))
    gates.apply_event(gate(BTC), 101.9, 100.0)
    assert reasons(gates, now=102.0) == ("silent",)


def test_heartbeats_that_were_read_late_prove_nothing() -> None:
    gates = store(state(BTCUSDT=[]), encoded(type="heartbeat", uptime_seconds=50.0))
    # The process stood still for ten seconds; then it reads what had come in the first two of them.
    for uptime in (51.0, 52.0):
        gates.apply_event(encoded(type="heartbeat", uptime_seconds=uptime), 110.0, 100.0)
    assert reasons(gates, now=110.0) == ("silent",)
    gates.apply_event(encoded(type="heartbeat", uptime_seconds=60.5), 110.51, 100.0)
    assert reasons(gates, now=112.4) == ()


def test_heartbeat_without_uptime_counts_when_it_is_read() -> None:
    gates = store(state(BTCUSDT=[]))
    gates.apply_event(encoded(type="heartbeat", at="…"), 103.0, 100.0)
    assert reasons(gates, now=104.9) == ()


def test_clocks_that_drift_apart_do_not_close_the_gate() -> None:
    gates = store(state(BTCUSDT=[]))
    for beat in range(100_000):
        now = 100.0 + beat * 1.0001  # the daemon's clock is slow by 100 parts in a million
        gates.apply_event(encoded(type="heartbeat", uptime_seconds=float(beat)), now, 100.0)
        assert gates.snapshot.is_open(BTC, now)


def test_lost_connection_closes_everything_at_once_and_a_new_one_begins_anew() -> None:
    gates = store(state(BTCUSDT=[]), encoded(type="heartbeat", uptime_seconds=5000.0))
    gates.invalidate("unreachable")
    assert reasons(gates) == ("unreachable",)
    # A restarted daemon's uptime begins anew, which must not be taken for a heartbeat of long ago.
    gates.apply_event(state(BTCUSDT=[]), 110.0, 110.0)
    gates.apply_event(encoded(type="heartbeat", uptime_seconds=1.0), 111.0, 110.0)
    assert reasons(gates, now=112.9) == ()


@pytest.mark.parametrize("event", [gate(BTC), encoded(type="heartbeat", uptime_seconds=1.0)])
def test_nothing_counts_before_the_state(event: bytes) -> None:
    assert reasons(store(event)) == ("unreachable",)


def test_static_source_is_closed_without_being_asked_for() -> None:
    # The daemon says so itself; should it ever forget, the client doesn't.
    assert reasons(store(state("static", BTCUSDT=[]))) == ("static_source",)
    assert reasons(store(state("static", BTCUSDT=["static_source"]))) == ("static_source",)
    assert reasons(store(state("static", BTCUSDT=["stale"]), gate(BTC))) == ("static_source",)
    assert reasons(store(state("static", BTCUSDT=[]), allow_static=True)) == ()
    assert reasons(store(state("somewhere", BTCUSDT=[]))) == ("static_source",)


def test_halted_without_a_reason_is_halted() -> None:
    for vague in ({"halted": True}, {}):
        assert reasons(store(encoded(type="state", source="realtime", symbols={BTC: vague}))) == ("halted",)
    assert reasons(store(state(BTCUSDT=[]), encoded(type="gate", symbol=BTC))) == ("halted",)


def test_reasons_and_events_that_are_not_known_yet() -> None:
    assert reasons(store(state(BTCUSDT=["comet"]))) == ("comet",)
    assert reasons(store(state(BTCUSDT=[]), encoded(type="fanfare", symbol=BTC))) == ()


@pytest.mark.parametrize("frame", [b"", b"{", b"[]", b'{"type":"gate","reasons":7}', b"\xff"])
def test_what_is_no_event_is_an_error(frame: bytes) -> None:
    gates = store(state(BTCUSDT=[]))
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        gates.apply_event(frame, 100.0, 100.0)
