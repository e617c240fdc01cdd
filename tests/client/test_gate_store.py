"""What a client believes of the gates, and for how long."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from feedd.client.gate_store import Board, GateView

BTC = "BTCUSDT"


def told(**event: Any) -> bytes:
    return msgspec.json.encode(event)


def state(source: str = "realtime", **symbols: list[str]) -> bytes:
    gates = {name: {"halted": bool(why), "reasons": why, "since": "…"} for name, why in symbols.items()}
    return told(type="state", source=source, at="…", symbols=gates)


def gate(symbol: str, *reasons: str) -> bytes:
    return told(type="gate", symbol=symbol, halted=bool(reasons), reasons=reasons, added=[], removed=[])


def board(*frames: bytes, allow_static: bool = False) -> Board:
    """Return a board that heard these frames at 100 s."""
    heard = Board(allow_static)
    for frame in frames:
        heard.hear(frame, now=100.0, asked_at=100.0)
    return heard


def reasons(heard: Board, symbol: str = BTC, now: float = 100.0) -> tuple[str, ...]:
    view = heard.snapshot.view(symbol, now)
    assert view.is_open == heard.snapshot.is_open(symbol, now)
    return view.reasons


def test_nothing_is_open_before_the_daemon_has_told() -> None:
    assert reasons(board()) == ("unreachable",)


def test_state_tells_every_gate() -> None:
    heard = board(state(BTCUSDT=[], ETHUSDT=["stale"]))
    assert reasons(heard) == ()
    assert reasons(heard, "ETHUSDT") == ("stale",)
    assert reasons(heard, "DOGEUSDT") == ("unknown_symbol",)


def test_symbols_are_found_in_small_letters_too() -> None:
    heard = board(state(BTCUSDT=[]))
    assert heard.snapshot.view("btcusdt", 100.0) == GateView(BTC, ())
    assert heard.snapshot.is_open("btcusdt", 100.0)


def test_change_replaces_the_reasons_of_one_symbol() -> None:
    heard = board(state(BTCUSDT=[], ETHUSDT=[]), gate(BTC, "stale", "latency"))
    assert reasons(heard) == ("stale", "latency")
    assert reasons(heard, "ETHUSDT") == ()
    heard.hear(gate(BTC), 100.0, 100.0)
    assert reasons(heard) == ()


def test_new_state_forgets_symbols_that_are_gone() -> None:
    assert reasons(board(state(BTCUSDT=[]), state(ETHUSDT=[]))) == ("unknown_symbol",)


def test_silence_closes_after_two_seconds_and_a_heartbeat_reopens() -> None:
    heard = board(state(BTCUSDT=[]))
    assert reasons(heard, now=101.99) == ()
    assert reasons(heard, now=102.0) == ("silent",)
    heard.hear(told(type="heartbeat", uptime_seconds=7.0), 103.0, 100.0)
    assert reasons(heard, now=104.9) == ()


def test_silence_is_said_beside_the_last_reasons() -> None:
    assert reasons(board(state(BTCUSDT=["stale"])), now=103.0) == ("stale", "silent")


def test_state_counts_from_when_it_was_asked_for() -> None:
    heard = Board(allow_static=False)
    heard.hear(state(BTCUSDT=[]), now=100.0, asked_at=98.5)
    assert reasons(heard, now=100.4) == ()
    assert reasons(heard, now=100.5) == ("silent",)


def test_gate_event_is_no_heartbeat() -> None:
    heard = board(state(BTCUSDT=["stale"]))
    heard.hear(gate(BTC), 101.9, 100.0)
    assert reasons(heard, now=102.0) == ("silent",)


def test_heartbeats_that_were_read_late_prove_nothing() -> None:
    heard = board(state(BTCUSDT=[]), told(type="heartbeat", uptime_seconds=50.0))
    # The process stood still for ten seconds; then it reads what had come in the first two of them.
    for uptime in (51.0, 52.0):
        heard.hear(told(type="heartbeat", uptime_seconds=uptime), 110.0, 100.0)
    assert reasons(heard, now=110.0) == ("silent",)
    heard.hear(told(type="heartbeat", uptime_seconds=60.5), 110.51, 100.0)
    assert reasons(heard, now=112.4) == ()


def test_heartbeat_without_uptime_counts_when_it_is_read() -> None:
    heard = board(state(BTCUSDT=[]))
    heard.hear(told(type="heartbeat", at="…"), 103.0, 100.0)
    assert reasons(heard, now=104.9) == ()


def test_clocks_that_drift_apart_do_not_close_the_gate() -> None:
    heard = board(state(BTCUSDT=[]))
    for beat in range(100_000):
        now = 100.0 + beat * 1.0001  # the daemon's clock is slow by 100 parts in a million
        heard.hear(told(type="heartbeat", uptime_seconds=float(beat)), now, 100.0)
        assert heard.snapshot.is_open(BTC, now)


def test_lost_connection_closes_everything_at_once_and_a_new_one_begins_anew() -> None:
    heard = board(state(BTCUSDT=[]), told(type="heartbeat", uptime_seconds=5000.0))
    heard.lose("unreachable")
    assert reasons(heard) == ("unreachable",)
    # A restarted daemon's uptime begins anew, which must not be taken for a heartbeat of long ago.
    heard.hear(state(BTCUSDT=[]), 110.0, 110.0)
    heard.hear(told(type="heartbeat", uptime_seconds=1.0), 111.0, 110.0)
    assert reasons(heard, now=112.9) == ()


@pytest.mark.parametrize("event", [gate(BTC), told(type="heartbeat", uptime_seconds=1.0)])
def test_nothing_counts_before_the_state(event: bytes) -> None:
    assert reasons(board(event)) == ("unreachable",)


def test_static_source_is_closed_without_being_asked_for() -> None:
    # The daemon says so itself; should it ever forget, the client doesn't.
    assert reasons(board(state("static", BTCUSDT=[]))) == ("static_source",)
    assert reasons(board(state("static", BTCUSDT=["static_source"]))) == ("static_source",)
    assert reasons(board(state("static", BTCUSDT=["stale"]), gate(BTC))) == ("static_source",)
    assert reasons(board(state("static", BTCUSDT=[]), allow_static=True)) == ()
    assert reasons(board(state("somewhere", BTCUSDT=[]))) == ("static_source",)


def test_halted_without_a_reason_is_halted() -> None:
    for vague in ({"halted": True}, {}):
        assert reasons(board(told(type="state", source="realtime", symbols={BTC: vague}))) == ("halted",)
    assert reasons(board(state(BTCUSDT=[]), told(type="gate", symbol=BTC))) == ("halted",)


def test_reasons_and_events_that_are_not_known_yet() -> None:
    assert reasons(board(state(BTCUSDT=["comet"]))) == ("comet",)
    assert reasons(board(state(BTCUSDT=[]), told(type="fanfare", symbol=BTC))) == ()


@pytest.mark.parametrize("frame", [b"", b"{", b"[]", b'{"type":"gate","reasons":7}', b"\xff"])
def test_what_is_no_event_is_an_error(frame: bytes) -> None:
    heard = board(state(BTCUSDT=[]))
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        heard.hear(frame, 100.0, 100.0)
