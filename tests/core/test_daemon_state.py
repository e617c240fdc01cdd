"""What all symbols share: flags, source, readiness, and the limits each session is given."""

from __future__ import annotations

import pytest

from feedd.config.settings import ResumePolicy, Settings
from feedd.core.daemon_state import Desk
from feedd.core.latency import ClockSample
from feedd.core.symbol_state import Session
from feedd.model import DisconnectReason, Reason, Source
from feedd.venues.binance.spot.payloads import Frame
from tests.venues.binance.spot.frames import data, frame

SYMBOLS = ("BTCUSDT", "ETHUSDT")


def desk_of(settings: Settings) -> Desk:
    return Desk(settings, now=100.0, wall=1_795_000_000.0)


def new_desk() -> Desk:
    return desk_of(Settings(symbols=SYMBOLS, realtime=True))


def quote(session: Session, now: float) -> None:
    name = f"{session.symbol.lower()}@bookTicker"
    message = Frame(name, data("bookTicker", u=session.lanes[name].messages))
    assert session.receive(session.lanes[message.stream], message.data, now)
    session.handed_on(now, now)


def go_live(session: Session) -> None:
    session.connected(101.0)
    quote(session, 101.0)


def live_desk() -> Desk:
    desk = new_desk()
    for session in desk.sessions.values():
        go_live(session)
    return desk


def reasons(desk: Desk) -> dict[str, tuple[Reason, ...]]:
    return {symbol: session.gate.reasons for symbol, session in desk.sessions.items()}


def test_each_symbol_has_its_session_with_every_stream() -> None:
    desk = desk_of(Settings(symbols=SYMBOLS, streams=("trade", "depth@100ms")))
    assert {symbol: list(session.lanes) for symbol, session in desk.sessions.items()} == {
        "BTCUSDT": ["btcusdt@trade", "btcusdt@depth@100ms"],
        "ETHUSDT": ["ethusdt@trade", "ethusdt@depth@100ms"],
    }
    assert reasons(desk) == dict.fromkeys(SYMBOLS, (Reason.STARTING,))


@pytest.mark.parametrize(("realtime", "source"), [(True, Source.REALTIME), (False, Source.STATIC)])
def test_source_is_the_flags(realtime: bool, source: Source) -> None:
    assert desk_of(Settings(realtime=realtime)).source is source


def test_sessions_get_the_limits_of_the_settings() -> None:
    settings = Settings(
        symbols=SYMBOLS,
        stale_after_seconds=10.0,
        stale_after_by_symbol={"ETHUSDT": 60.0},
        resume_after_seconds=7.0,
        resume=ResumePolicy.MANUAL,
    )
    sessions = desk_of(settings).sessions.values()
    assert [session.deadline for session in sessions] == [110.0, 160.0]
    assert {(session.gate.resume_after, session.gate.policy) for session in sessions} == {
        (7.0, ResumePolicy.MANUAL)
    }


@pytest.mark.parametrize(("limit", "halted"), [(0.5, True), (2.0, False)])
def test_latency_limit_is_the_settings(limit: float, halted: bool) -> None:
    desk = desk_of(Settings(latency_limit_seconds=limit))
    session = desk.sessions["BTCUSDT"]
    desk.clock.update([ClockSample(100.0, 100.0, 1_795_000_001.0)])
    for trade_id in range(3):
        message = frame("trade", t=trade_id, E=1_795_000_000_000)
        session.receive(session.lanes[message.stream], message.data, 100.0)
        session.handed_on(100.0, 100.0)
    assert session.gate.halted is halted


def test_kill_switch_of_the_settings_halts_from_the_start() -> None:
    desk = desk_of(Settings(symbols=SYMBOLS, trading_halted=True))
    assert desk.kill_switch
    assert reasons(desk) == dict.fromkeys(SYMBOLS, (Reason.KILL_SWITCH, Reason.STARTING))


def test_kill_switch_halts_every_symbol_until_it_is_taken_back() -> None:
    desk = live_desk()
    desk.set_kill_switch(True, 102.0)
    assert (desk.kill_switch, reasons(desk)) == (True, dict.fromkeys(SYMBOLS, (Reason.KILL_SWITCH,)))
    desk.set_kill_switch(False, 103.0)
    assert (desk.kill_switch, reasons(desk)) == (False, dict.fromkeys(SYMBOLS, ()))


def test_unreadable_flags_halt_every_symbol_until_they_can_be_read() -> None:
    desk = live_desk()
    desk.set_flags_unreadable(True, 102.0)
    assert desk.flags_unreadable
    assert reasons(desk) == dict.fromkeys(SYMBOLS, (Reason.FLAGS_UNREADABLE,))
    desk.set_flags_unreadable(False, 103.0)
    assert (desk.flags_unreadable, reasons(desk)) == (False, dict.fromkeys(SYMBOLS, ()))


def test_other_settings_keep_the_sessions_that_stay() -> None:
    desk = live_desk()
    kept = desk.sessions["ETHUSDT"]
    desk.follow(Settings(symbols=("ETHUSDT", "BNBUSDT"), realtime=True, stale_after_seconds=3.0), 102.0)
    assert (list(desk.sessions), desk.source) == (["ETHUSDT", "BNBUSDT"], Source.REALTIME)
    assert desk.sessions["ETHUSDT"] is kept
    assert reasons(desk) == {"ETHUSDT": (), "BNBUSDT": (Reason.STARTING,)}
    assert [session.deadline for session in desk.sessions.values()] == [104.0, 105.0]


def test_symbol_that_comes_later_is_halted_by_the_same_flags() -> None:
    desk = live_desk()
    desk.set_flags_unreadable(True, 102.0)
    desk.follow(Settings(symbols=("BNBUSDT",), trading_halted=True), 103.0)
    expected = (Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.STARTING)
    assert reasons(desk) == {"BNBUSDT": expected}


def test_other_settings_take_the_kill_switch_back() -> None:
    desk = live_desk()
    desk.set_kill_switch(True, 102.0)
    desk.follow(Settings(symbols=SYMBOLS), 103.0)
    assert (desk.kill_switch, reasons(desk)) == (False, dict.fromkeys(SYMBOLS, ()))


def test_re_arm_lifts_what_it_may_and_names_the_rest() -> None:
    desk = live_desk()
    desk.follow(Settings(symbols=SYMBOLS, resume=ResumePolicy.MANUAL), 102.0)
    for session in desk.sessions.values():
        session.disconnected(DisconnectReason.RESET, 103.0)
    bitcoin = desk.sessions["BTCUSDT"]
    bitcoin.connected(104.0)
    quote(bitcoin, 104.0)
    quote(bitcoin, 109.0)
    assert desk.rearm(110.0) == {"ETHUSDT": (Reason.DISCONNECTED,)}
    assert reasons(desk) == {"BTCUSDT": (), "ETHUSDT": (Reason.DISCONNECTED, Reason.LATCHED)}


def test_re_arm_asks_nothing_of_what_is_not_latched() -> None:
    assert new_desk().rearm(102.0) == {}


def test_new_desk_is_not_ready() -> None:
    assert new_desk().unready() == dict.fromkeys(SYMBOLS, (Reason.STARTING,))


def test_desk_is_ready_once_every_symbol_has_good_data() -> None:
    desk = new_desk()
    go_live(desk.sessions["BTCUSDT"])
    assert desk.unready() == {"ETHUSDT": (Reason.STARTING,)}
    go_live(desk.sessions["ETHUSDT"])
    assert desk.unready() == {}


def test_static_data_is_never_ready() -> None:
    desk = desk_of(Settings(symbols=("BTCUSDT",)))
    go_live(desk.sessions["BTCUSDT"])
    assert not desk.sessions["BTCUSDT"].gate.halted
    assert desk.unready() == {"BTCUSDT": (Reason.STATIC_SOURCE,)}


def test_what_a_person_decided_leaves_the_desk_ready() -> None:
    desk = live_desk()
    desk.set_kill_switch(True, 102.0)
    desk.set_flags_unreadable(True, 102.0)
    gate = desk.sessions["BTCUSDT"].gate
    gate.policy = ResumePolicy.MANUAL
    desk.sessions["BTCUSDT"].disconnected(DisconnectReason.RESET, 103.0)
    assert desk.unready() == {"BTCUSDT": (Reason.DISCONNECTED,)}
    go_live(desk.sessions["BTCUSDT"])
    quote(desk.sessions["BTCUSDT"], 120.0)
    assert Reason.LATCHED in gate.active
    assert desk.unready() == {}


def test_new_desk_has_nothing_to_tell_of_its_consumers() -> None:
    consumers = new_desk().consumers
    assert (consumers.connected, consumers.messages_dropped, sum(consumers.disconnects.values())) == (0, 0, 0)
