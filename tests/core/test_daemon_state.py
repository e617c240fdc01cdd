"""What all symbols share: flags, source, readiness, and the limits each session is given."""

from __future__ import annotations

import pytest

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.symbol_state import SymbolState
from feedd.core.venue_clock import ClockSample
from feedd.model import DisconnectReason, Reason, ResumePolicy, Source
from feedd.venues.binance.common.frame import Frame
from tests.venues.binance.spot.frames import data, frame

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def state_of(settings: Settings) -> DaemonState:
    return DaemonState(settings, now=100.0, wall=1_795_000_000.0)


def new_state() -> DaemonState:
    return state_of(Settings(symbols=SYMBOLS, realtime=True))


def quote(symbol_state: SymbolState, now: float) -> None:
    name = f"{symbol_state.symbol.lower()}@bookTicker"
    message = Frame(name, data("bookTicker", u=symbol_state.streams[name].messages))
    assert symbol_state.receive(symbol_state.streams[message.stream], message.data, now)
    symbol_state.handed_on(symbol_state.streams[message.stream], now, now)


def go_live(symbol_state: SymbolState) -> None:
    symbol_state.connected(101.0)
    quote(symbol_state, 101.0)


def live_state() -> DaemonState:
    state = new_state()
    for symbol_state in state.symbols.values():
        go_live(symbol_state)
    return state


def reasons(state: DaemonState) -> dict[str, tuple[Reason, ...]]:
    return {symbol: symbol_state.gate.reasons for symbol, symbol_state in state.symbols.items()}


def test_each_symbol_has_its_session_with_every_stream() -> None:
    state = state_of(Settings(symbols=SYMBOLS, streams=("trade", "depth@100ms")))
    assert {symbol: list(symbol_state.streams) for symbol, symbol_state in state.symbols.items()} == {
        "BTCUSDT": ["btcusdt@trade", "btcusdt@depth@100ms"],
        "ETHUSDT": ["ethusdt@trade", "ethusdt@depth@100ms"],
    }
    assert reasons(state) == dict.fromkeys(SYMBOLS, (Reason.STARTING,))


@pytest.mark.parametrize(("realtime", "source"), [(True, Source.REALTIME), (False, Source.STATIC)])
def test_source_is_the_flags(realtime: bool, source: Source) -> None:
    assert state_of(Settings(realtime=realtime)).source is source


def test_sessions_get_the_limits_of_the_settings() -> None:
    settings = Settings(
        symbols=SYMBOLS,
        stale_after_seconds=10.0,
        stale_after_by_symbol={"ETHUSDT": 60.0},
        resume_after_seconds=7.0,
        resume=ResumePolicy.MANUAL,
    )
    symbol_states = state_of(settings).symbols.values()
    assert [symbol_state.deadline for symbol_state in symbol_states] == [110.0, 160.0]
    assert {(symbol_state.gate.resume_after, symbol_state.gate.policy) for symbol_state in symbol_states} == {
        (7.0, ResumePolicy.MANUAL)
    }


@pytest.mark.parametrize(("limit", "halted"), [(0.5, True), (2.0, False)])
def test_latency_limit_is_the_settings(limit: float, halted: bool) -> None:
    state = state_of(Settings(latency_limit_seconds=limit))
    symbol_state = state.symbols["BTCUSDT"]
    state.clock.update([ClockSample(100.0, 100.0, 1_795_000_001.0)])
    for trade_id in range(3):
        message = frame("trade", t=trade_id, E=1_795_000_000_000)
        symbol_state.receive(symbol_state.streams[message.stream], message.data, 100.0)
        symbol_state.handed_on(symbol_state.streams[message.stream], 100.0, 100.0)
    assert symbol_state.gate.halted is halted


def test_kill_switch_of_the_settings_halts_from_the_start() -> None:
    state = state_of(Settings(symbols=SYMBOLS, trading_halted=True))
    assert state.kill_switch
    assert reasons(state) == dict.fromkeys(SYMBOLS, (Reason.KILL_SWITCH, Reason.STARTING))


def test_kill_switch_halts_every_symbol_until_it_is_taken_back() -> None:
    state = live_state()
    state.set_kill_switch(True, 102.0)
    assert (state.kill_switch, reasons(state)) == (True, dict.fromkeys(SYMBOLS, (Reason.KILL_SWITCH,)))
    state.set_kill_switch(False, 103.0)
    assert (state.kill_switch, reasons(state)) == (False, dict.fromkeys(SYMBOLS, ()))


def test_unreadable_flags_halt_every_symbol_until_they_can_be_read() -> None:
    state = live_state()
    state.set_flags_unreadable(True, 102.0)
    assert state.flags_unreadable
    assert reasons(state) == dict.fromkeys(SYMBOLS, (Reason.FLAGS_UNREADABLE,))
    state.set_flags_unreadable(False, 103.0)
    assert (state.flags_unreadable, reasons(state)) == (False, dict.fromkeys(SYMBOLS, ()))


def test_other_settings_keep_the_sessions_that_stay() -> None:
    state = live_state()
    kept = state.symbols["ETHUSDT"]
    state.apply_settings(
        Settings(symbols=("ETHUSDT", "BNBUSDT"), realtime=True, stale_after_seconds=3.0), 102.0
    )
    assert (list(state.symbols), state.source) == (["ETHUSDT", "BNBUSDT"], Source.REALTIME)
    assert state.symbols["ETHUSDT"] is kept
    assert reasons(state) == {"ETHUSDT": (), "BNBUSDT": (Reason.STARTING,)}
    assert [symbol_state.deadline for symbol_state in state.symbols.values()] == [104.0, 105.0]


def test_symbol_that_comes_later_is_halted_by_the_same_flags() -> None:
    state = live_state()
    state.set_flags_unreadable(True, 102.0)
    state.apply_settings(Settings(symbols=("BNBUSDT",), trading_halted=True), 103.0)
    expected = (Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.STARTING)
    assert reasons(state) == {"BNBUSDT": expected}


def test_other_settings_take_the_kill_switch_back() -> None:
    state = live_state()
    state.set_kill_switch(True, 102.0)
    state.apply_settings(Settings(symbols=SYMBOLS), 103.0)
    assert (state.kill_switch, reasons(state)) == (False, dict.fromkeys(SYMBOLS, ()))


def test_re_arm_lifts_what_it_may_and_names_the_rest() -> None:
    state = live_state()
    state.apply_settings(Settings(symbols=SYMBOLS, resume=ResumePolicy.MANUAL), 102.0)
    for symbol_state in state.symbols.values():
        symbol_state.disconnected(DisconnectReason.RESET, 103.0)
    bitcoin = state.symbols["BTCUSDT"]
    bitcoin.connected(104.0)
    quote(bitcoin, 104.0)
    quote(bitcoin, 109.0)
    assert state.rearm(110.0) == {"ETHUSDT": (Reason.DISCONNECTED,)}
    assert reasons(state) == {"BTCUSDT": (), "ETHUSDT": (Reason.DISCONNECTED, Reason.LATCHED)}


def test_re_arm_asks_nothing_of_what_is_not_latched() -> None:
    assert new_state().rearm(102.0) == {}


def test_new_desk_is_not_ready() -> None:
    assert new_state().unready() == dict.fromkeys(SYMBOLS, (Reason.STARTING,))


def test_desk_is_ready_once_every_symbol_has_good_data() -> None:
    state = new_state()
    go_live(state.symbols["BTCUSDT"])
    assert state.unready() == {"ETHUSDT": (Reason.STARTING,)}
    go_live(state.symbols["ETHUSDT"])
    assert state.unready() == {}


def test_static_data_is_never_ready() -> None:
    state = state_of(Settings(symbols=("BTCUSDT",)))
    go_live(state.symbols["BTCUSDT"])
    assert not state.symbols["BTCUSDT"].gate.halted
    assert state.unready() == {"BTCUSDT": (Reason.STATIC_SOURCE,)}


def test_what_a_person_decided_leaves_the_desk_ready() -> None:
    state = live_state()
    state.set_kill_switch(True, 102.0)
    state.set_flags_unreadable(True, 102.0)
    gate = state.symbols["BTCUSDT"].gate
    gate.policy = ResumePolicy.MANUAL
    state.symbols["BTCUSDT"].disconnected(DisconnectReason.RESET, 103.0)
    assert state.unready() == {"BTCUSDT": (Reason.DISCONNECTED,)}
    go_live(state.symbols["BTCUSDT"])
    quote(state.symbols["BTCUSDT"], 120.0)
    assert Reason.LATCHED in gate.active
    assert state.unready() == {}


@pytest.mark.parametrize(("now", "expected"), [(105.0, False), (105.001, True)])
def test_daemon_without_progress_for_five_seconds_is_stuck(now: float, expected: bool) -> None:
    state = new_state()
    assert state.seconds_without_progress(now) == pytest.approx(now - 100.0)
    assert state.is_stuck(now) is expected


def test_progress_ends_being_stuck() -> None:
    state = new_state()
    state.note_progress(200.0)
    assert not state.is_stuck(205.0)
    assert state.is_stuck(205.5)


def test_failed_reload_keeps_the_time_of_the_last_good_one() -> None:
    state = new_state()
    state.reload_succeeded(110.0)
    state.reload_failed()
    assert (state.last_reload_successful, state.last_reload_success_at) == (False, 110.0)
    state.reload_succeeded(120.0)
    assert (state.last_reload_successful, state.last_reload_success_at) == (True, 120.0)


def test_outcome_of_a_reload_without_an_env_file_is_noted() -> None:
    state = new_state()
    state.note_reload(False)
    seen = [state.last_reload_successful]
    state.note_reload(True)
    assert [*seen, state.last_reload_successful] == [False, True]
