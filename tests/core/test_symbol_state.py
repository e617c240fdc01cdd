"""One symbol's feed, from the first cause of each reason to the reopening of its gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.histogram import LATENCY_BOUNDS, PROCESSING_BOUNDS, Histogram
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import ClockSample, VenueClock
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason, ResumePolicy
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.payloads import Payload
from feedd.venues.binance.spot.tables import SPOT
from tests.core.replay import became_active, replayed
from tests.venues.binance.spot.frames import frame

STALE_AFTER = 10.0
LATENCY_LIMIT = 1.0
RESUME_AFTER = 5.0
CLOCK_ERROR = 0.02
VENUE_TIME_AT_ZERO = 1_795_000_000.0
UNTRUSTED = tuple(reason for reason in InvalidReason if reason is not InvalidReason.UNKNOWN_EVENT)


def synced_clock() -> VenueClock:
    clock = VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO)
    clock.update([ClockSample(-CLOCK_ERROR, CLOCK_ERROR, VENUE_TIME_AT_ZERO)])
    return clock


def new_symbol_state(
    *streams: str, policy: ResumePolicy = ResumePolicy.AUTO, clock: VenueClock | None = None
) -> SymbolState:
    return SymbolState(
        "BTCUSDT",
        [SPOT.parse_stream(name) for name in streams or ("trade", "bookTicker")],
        SymbolLimits(STALE_AFTER, LATENCY_LIMIT, RESUME_AFTER, policy),
        clock or synced_clock(),
        now=0.0,
    )


def open_symbol_state(policy: ResumePolicy = ResumePolicy.AUTO) -> SymbolState:
    """A session whose gate was opened by a trade at second 1."""
    symbol_state = new_symbol_state(policy=policy)
    symbol_state.connected(0.5)
    trade(symbol_state, 1.0)
    symbol_state.gate.changes.clear()
    return symbol_state


def hand_on(symbol_state: SymbolState, message: Frame[Payload], now: float, processing: float = 0.0) -> bool:
    """Do with a message what its owner does. Returns whether it was news."""
    if not symbol_state.receive(symbol_state.streams[message.stream], message.data, now):
        return False
    symbol_state.handed_on(symbol_state.streams[message.stream], now, now + processing)
    return True


def trade(symbol_state: SymbolState, now: float, latency: float = 0.05, processing: float = 0.0) -> None:
    """Hand on the next trade."""
    message = frame(
        "trade",
        t=symbol_state.streams["btcusdt@trade"].messages,
        E=round((VENUE_TIME_AT_ZERO + now - latency) * 1000.0),
    )
    assert hand_on(symbol_state, message, now, processing)


def quote(symbol_state: SymbolState, now: float) -> None:
    """Hand on the next quote, which has no event time."""
    assert hand_on(
        symbol_state, frame("bookTicker", u=symbol_state.streams["btcusdt@bookTicker"].messages), now
    )


def late_trades(symbol_state: SymbolState, now: float, count: int = 3) -> None:
    for _ in range(count):
        trade(symbol_state, now, latency=LATENCY_LIMIT + 0.1)


def invalid(symbol_state: SymbolState, now: float, count: int = 3) -> None:
    for _ in range(count):
        symbol_state.invalid(InvalidReason.BAD_JSON, now)


def test_new_session_is_starting_and_not_connected() -> None:
    symbol_state = new_symbol_state()
    assert (symbol_state.is_connected, symbol_state.gate.reasons) == (False, (Reason.STARTING,))
    assert list(symbol_state.streams) == ["btcusdt@trade", "btcusdt@bookTicker"]
    assert symbol_state.deadline == STALE_AFTER


def test_handshake_alone_opens_nothing() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    assert (symbol_state.is_connected, symbol_state.gate.reasons) == (True, (Reason.STARTING,))
    assert (symbol_state.counts.connects, symbol_state.backoff_seconds) == (1, 0.0)


@pytest.mark.parametrize("message", [trade, quote])
def test_first_message_opens_the_gate(message: Callable[[SymbolState, float], None]) -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    message(symbol_state, 1.0)
    assert (symbol_state.gate.halted, symbol_state.gate.since) == (False, 1.0)


def test_invalid_first_messages_leave_it_starting() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    invalid(symbol_state, 1.0, count=2)
    assert symbol_state.gate.reasons == (Reason.STARTING,)


def test_late_first_messages_never_open_the_gate() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    late_trades(symbol_state, 1.0, count=2)
    assert symbol_state.gate.reasons == (Reason.STARTING,)
    late_trades(symbol_state, 1.0, count=1)
    assert symbol_state.gate.reasons == (Reason.LATENCY,)


def lose_connection(symbol_state: SymbolState) -> None:
    symbol_state.disconnected(DisconnectReason.RESET, 2.0)


def fall_silent(symbol_state: SymbolState) -> None:
    assert symbol_state.deadline is not None
    symbol_state.tick(symbol_state.deadline)


AUTOMATIC_HALTS = pytest.mark.parametrize(
    ("reason", "begin", "end"),
    [
        (Reason.DISCONNECTED, lose_connection, lambda symbol_state: symbol_state.connected(19.0)),
        (Reason.STALE, fall_silent, lambda symbol_state: None),
        (Reason.LATENCY, lambda symbol_state: late_trades(symbol_state, 2.0), lambda symbol_state: None),
        (Reason.SCHEMA, lambda symbol_state: invalid(symbol_state, 2.0), lambda symbol_state: None),
        (
            Reason.INTERNAL,
            lambda symbol_state: symbol_state.failed(2.0),
            lambda symbol_state: symbol_state.rebuilt(19.0),
        ),
    ],
)


@AUTOMATIC_HALTS
def test_automatic_halt_lifts_after_a_spell_of_good_data(
    reason: Reason, begin: Callable[[SymbolState], None], end: Callable[[SymbolState], None]
) -> None:
    symbol_state = open_symbol_state()
    begin(symbol_state)
    assert symbol_state.gate.reasons == (reason,)
    end(symbol_state)
    trade(symbol_state, 20.0)
    trade(symbol_state, 20.0 + RESUME_AFTER - 0.001)
    assert symbol_state.gate.reasons == (reason,)
    trade(symbol_state, 20.0 + RESUME_AFTER)
    assert not symbol_state.gate.halted
    assert became_active(symbol_state.gate.changes) == {reason: 1}


@AUTOMATIC_HALTS
def test_manual_policy_latches_an_automatic_halt_until_re_armed(
    reason: Reason, begin: Callable[[SymbolState], None], end: Callable[[SymbolState], None]
) -> None:
    symbol_state = open_symbol_state(ResumePolicy.MANUAL)
    begin(symbol_state)
    assert symbol_state.gate.rearm(18.0) == (reason,)
    end(symbol_state)
    trade(symbol_state, 20.0)
    assert symbol_state.gate.rearm(20.0) == (reason,)
    trade(symbol_state, 20.0 + RESUME_AFTER)
    assert symbol_state.gate.reasons == (Reason.LATCHED,)
    assert symbol_state.gate.rearm(30.0) == ()
    assert not symbol_state.gate.halted


@pytest.mark.parametrize("reason", [Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.EXCHANGE])
def test_halt_from_outside_lifts_at_once(reason: Reason) -> None:
    symbol_state = open_symbol_state()
    symbol_state.gate.trip(reason, 2.0)
    trade(symbol_state, 3.0)
    assert symbol_state.gate.reasons == (reason,)
    symbol_state.gate.clear(reason, 4.0)
    assert (symbol_state.gate.halted, symbol_state.gate.since) == (False, 4.0)


def test_other_thresholds_count_at_once() -> None:
    symbol_state = open_symbol_state()
    symbol_state.apply_limits(SymbolLimits(3.0, 0.2, 2.0, ResumePolicy.AUTO), 2.0)
    assert symbol_state.deadline == 4.0
    for _ in range(3):
        trade(symbol_state, 3.0, latency=0.3)
    assert symbol_state.gate.reasons == (Reason.LATENCY,)
    trade(symbol_state, 3.5)
    trade(symbol_state, 5.5)
    assert not symbol_state.gate.halted


def test_failed_first_connect_is_disconnected() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connect_failed(ConnectFailure.DNS, 0.5)
    assert symbol_state.gate.reasons == (Reason.STARTING, Reason.DISCONNECTED)
    assert symbol_state.counts.connect_failures[ConnectFailure.DNS] == 1


def test_failed_attempt_beside_an_open_connection_halts_nothing() -> None:
    symbol_state = open_symbol_state()
    symbol_state.connect_failed(ConnectFailure.TIMEOUT, 2.0)
    assert not symbol_state.gate.halted
    assert symbol_state.counts.connect_failures[ConnectFailure.TIMEOUT] == 1


def test_connection_made_before_the_old_one_ends_halts_nothing() -> None:
    symbol_state = open_symbol_state()
    symbol_state.connected(2.0)
    symbol_state.disconnected(DisconnectReason.ROTATION, 3.0)
    assert (symbol_state.is_connected, symbol_state.gate.changes) == (True, [])
    assert symbol_state.counts.disconnects[DisconnectReason.ROTATION] == 1
    symbol_state.disconnected(DisconnectReason.RESET, 4.0)
    assert symbol_state.gate.reasons == (Reason.DISCONNECTED,)


def test_handshake_does_not_make_a_stale_feed_fresh() -> None:
    symbol_state = open_symbol_state()
    symbol_state.disconnected(DisconnectReason.RESET, 2.0)
    symbol_state.tick(11.0)
    symbol_state.connected(12.0)
    symbol_state.gate.good(12.0)
    assert symbol_state.gate.causes == {Reason.STALE}


def test_feed_is_stale_at_its_deadline_and_not_before() -> None:
    symbol_state = open_symbol_state()
    assert symbol_state.deadline == 11.0
    symbol_state.tick(10.999)
    assert not symbol_state.gate.halted
    symbol_state.tick(11.0)
    assert (symbol_state.gate.reasons, symbol_state.gate.since) == ((Reason.STALE,), 11.0)


def test_stale_feed_has_no_deadline_until_a_message_comes() -> None:
    symbol_state = open_symbol_state()
    symbol_state.tick(11.0)
    assert symbol_state.deadline is None
    quote(symbol_state, 15.0)
    assert symbol_state.deadline == 15.0 + STALE_AFTER


def test_feed_that_never_speaks_is_stale() -> None:
    symbol_state = new_symbol_state()
    symbol_state.tick(STALE_AFTER)
    assert symbol_state.gate.reasons == (Reason.STARTING, Reason.STALE)


@pytest.mark.parametrize("reason", InvalidReason)
def test_invalid_message_does_not_make_the_feed_fresh(reason: InvalidReason) -> None:
    symbol_state = open_symbol_state()
    symbol_state.invalid(reason, 9.0)
    assert symbol_state.deadline == 11.0


def test_repetition_is_counted_apart_and_does_not_make_the_feed_fresh() -> None:
    symbol_state = open_symbol_state()
    repeated = frame("trade", t=0, E=round((VENUE_TIME_AT_ZERO + 0.95) * 1000))
    assert not hand_on(symbol_state, repeated, 9.0)
    stream_state = symbol_state.streams["btcusdt@trade"]
    assert (
        stream_state.messages,
        stream_state.sequence.duplicates,
        stream_state.last_at,
        symbol_state.deadline,
    ) == (1, 1, 1.0, 11.0)


def test_each_stream_counts_for_itself() -> None:
    symbol_state = open_symbol_state()
    quote(symbol_state, 2.0)
    quote(symbol_state, 3.0)
    stream_states = symbol_state.streams
    assert [(stream_state.messages, stream_state.last_at) for stream_state in stream_states.values()] == [
        (1, 1.0),
        (2, 3.0),
    ]
    assert symbol_state.last_message_at == 3.0


def test_delay_is_confirmed_by_exactly_three_measurable_messages() -> None:
    symbol_state = open_symbol_state()
    late_trades(symbol_state, 2.0, count=2)
    quote(symbol_state, 2.0)
    assert not symbol_state.gate.halted
    late_trades(symbol_state, 2.0, count=1)
    assert symbol_state.gate.reasons == (Reason.LATENCY,)


def test_latency_at_the_limit_halts_nothing() -> None:
    symbol_state = open_symbol_state()
    for _ in range(5):
        trade(symbol_state, 2.0, latency=LATENCY_LIMIT)
    assert not symbol_state.gate.halted


def test_message_in_time_ends_the_row_of_late_ones() -> None:
    symbol_state = open_symbol_state()
    late_trades(symbol_state, 2.0, count=2)
    trade(symbol_state, 2.0)
    late_trades(symbol_state, 2.0, count=2)
    assert not symbol_state.gate.halted


def test_time_spent_here_counts_as_latency_too() -> None:
    symbol_state = open_symbol_state()
    for _ in range(3):
        trade(symbol_state, 2.0, latency=0.6, processing=0.5)
    assert symbol_state.gate.reasons == (Reason.LATENCY,)


def test_messages_without_event_time_do_not_heal_a_delay() -> None:
    symbol_state = open_symbol_state()
    late_trades(symbol_state, 2.0)
    quote(symbol_state, 3.0)
    quote(symbol_state, 10.0)
    assert symbol_state.gate.causes == {Reason.LATENCY}


def test_late_message_begins_the_spell_of_good_data_anew() -> None:
    symbol_state = open_symbol_state()
    symbol_state.tick(11.0)
    trade(symbol_state, 12.0)
    late_trades(symbol_state, 16.0, count=1)
    trade(symbol_state, 17.0)
    assert symbol_state.gate.reasons == (Reason.STALE,)
    trade(symbol_state, 22.0)
    assert not symbol_state.gate.halted


def test_impossible_latency_is_counted_and_neither_halts_nor_heals() -> None:
    symbol_state = open_symbol_state()
    late_trades(symbol_state, 2.0, count=2)
    trade(symbol_state, 2.0, latency=-5.0)
    assert (symbol_state.counts.negative_latency, symbol_state.gate.halted) == (1, False)
    late_trades(symbol_state, 2.0, count=1)
    assert symbol_state.gate.reasons == (Reason.LATENCY,)
    for second in range(3, 30):
        trade(symbol_state, float(second), latency=-5.0)
    assert symbol_state.gate.causes == {Reason.LATENCY}
    assert symbol_state.counts.negative_latency == 28


def test_negative_latency_within_the_clocks_error_is_counted_and_measures() -> None:
    symbol_state = open_symbol_state()
    late_trades(symbol_state, 2.0)
    trade(symbol_state, 3.0, latency=-CLOCK_ERROR / 2)
    assert (symbol_state.counts.negative_latency, symbol_state.gate.causes) == (1, set())


def clock_with_error(seconds: float) -> VenueClock:
    clock = VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO)
    clock.update([ClockSample(-seconds, seconds, VENUE_TIME_AT_ZERO)])
    return clock


@pytest.mark.parametrize(
    "clock", [VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO), clock_with_error(LATENCY_LIMIT)]
)
def test_negative_latency_of_a_clock_that_is_hardly_known_measures_nothing(clock: VenueClock) -> None:
    symbol_state = new_symbol_state(clock=clock)
    late_trades(symbol_state, 2.0)
    trade(symbol_state, 3.0, latency=-0.001)
    assert (symbol_state.counts.negative_latency, symbol_state.gate.causes) == (1, {Reason.LATENCY})


def test_impossible_latency_is_not_observed_as_a_good_one() -> None:
    symbol_state = open_symbol_state()
    trade(symbol_state, 2.0, latency=-CLOCK_ERROR / 2)
    trade(symbol_state, 3.0, latency=-5.0)
    assert sum(symbol_state.exchange_latency.counts) == sum(symbol_state.total_latency.counts) == 2
    assert symbol_state.streams["btcusdt@trade"].messages == 3


def test_latencies_are_observed_where_they_can_be_measured() -> None:
    symbol_state = open_symbol_state()
    trade(symbol_state, 2.0, latency=0.25, processing=0.5)
    quote(symbol_state, 3.0)
    assert symbol_state.processing_latency.total == pytest.approx(0.5)
    assert sum(symbol_state.processing_latency.counts) == 3
    assert symbol_state.exchange_latency.total == pytest.approx(0.05 + 0.25)
    assert symbol_state.total_latency.total == pytest.approx(0.05 + 0.75)
    assert sum(symbol_state.exchange_latency.counts) == sum(symbol_state.total_latency.counts) == 2


@pytest.mark.parametrize("reason", UNTRUSTED)
def test_three_untrusted_messages_in_a_row_halt(reason: InvalidReason) -> None:
    symbol_state = open_symbol_state()
    symbol_state.invalid(reason, 2.0)
    symbol_state.invalid(reason, 2.0)
    assert not symbol_state.gate.halted
    symbol_state.invalid(reason, 3.0)
    assert (symbol_state.gate.reasons, symbol_state.gate.since) == ((Reason.SCHEMA,), 3.0)
    assert symbol_state.counts.invalid[reason] == 3


def test_message_between_them_breaks_the_row() -> None:
    symbol_state = open_symbol_state()
    invalid(symbol_state, 2.0, count=2)
    trade(symbol_state, 2.0)
    invalid(symbol_state, 2.0, count=2)
    assert not symbol_state.gate.halted


def test_six_untrusted_of_the_last_hundred_halt_until_they_are_past() -> None:
    symbol_state = open_symbol_state()
    for _ in range(5):
        invalid(symbol_state, 2.0, count=1)
        for _ in range(15):
            trade(symbol_state, 2.0)
    assert not symbol_state.gate.halted
    invalid(symbol_state, 3.0, count=1)
    assert symbol_state.gate.reasons == (Reason.SCHEMA,)
    for _ in range(19):
        trade(symbol_state, 4.0)
    assert symbol_state.gate.causes == {Reason.SCHEMA}
    trade(symbol_state, 4.0)
    assert symbol_state.gate.causes == set()
    trade(symbol_state, 9.0)
    assert not symbol_state.gate.halted


def test_five_untrusted_of_the_last_hundred_are_tolerated() -> None:
    symbol_state = open_symbol_state()
    for _ in range(50):
        invalid(symbol_state, 2.0, count=1)
        for _ in range(19):
            trade(symbol_state, 2.0)
    assert not symbol_state.gate.halted


def test_untrusted_message_begins_the_spell_of_good_data_anew() -> None:
    symbol_state = open_symbol_state()
    symbol_state.tick(11.0)
    trade(symbol_state, 12.0)
    invalid(symbol_state, 16.0, count=1)
    trade(symbol_state, 17.0)
    assert symbol_state.gate.reasons == (Reason.STALE,)


def test_unknown_events_never_halt() -> None:
    symbol_state = open_symbol_state()
    for _ in range(1_000):
        symbol_state.invalid(InvalidReason.UNKNOWN_EVENT, 2.0)
    assert not symbol_state.gate.halted
    assert symbol_state.counts.invalid[InvalidReason.UNKNOWN_EVENT] == 1_000


def test_unknown_fields_are_counted_and_halt_nothing() -> None:
    symbol_state = open_symbol_state()
    symbol_state.unknown_fields(2)
    symbol_state.unknown_fields(1)
    assert (symbol_state.counts.unknown_fields, symbol_state.gate.halted) == (3, False)


ANEW = pytest.mark.parametrize(
    "begin_anew",
    [
        lambda symbol_state: symbol_state.rebuilt(4.0),
        lambda symbol_state: symbol_state.begin([], measures_latency=True, now=4.0),
    ],
    ids=["rebuilt", "other source"],
)


@ANEW
def test_session_that_begins_anew_forgets_the_row_of_late_messages(
    begin_anew: Callable[[SymbolState], None],
) -> None:
    symbol_state = open_symbol_state()
    late_trades(symbol_state, 2.0, count=2)
    begin_anew(symbol_state)
    late_trades(symbol_state, 5.0, count=2)
    assert Reason.LATENCY not in symbol_state.gate.active


@ANEW
def test_session_that_begins_anew_forgets_the_untrusted_messages(
    begin_anew: Callable[[SymbolState], None],
) -> None:
    symbol_state = open_symbol_state()
    invalid(symbol_state, 2.0, count=2)
    begin_anew(symbol_state)
    invalid(symbol_state, 5.0, count=2)
    assert Reason.SCHEMA not in symbol_state.gate.active
    assert symbol_state.counts.invalid[InvalidReason.BAD_JSON] == 4


@ANEW
def test_session_that_begins_anew_has_no_good_data_yet(begin_anew: Callable[[SymbolState], None]) -> None:
    symbol_state = open_symbol_state()
    trade(symbol_state, 3.0)
    begin_anew(symbol_state)
    assert symbol_state.disconnected(DisconnectReason.RESET, 60.0) == 0.0


@ANEW
def test_session_that_begins_anew_takes_the_next_message_for_the_first(
    begin_anew: Callable[[SymbolState], None],
) -> None:
    symbol_state = open_symbol_state()
    begin_anew(symbol_state)
    assert hand_on(symbol_state, frame("trade", t=1_000, E=round((VENUE_TIME_AT_ZERO + 4.9) * 1000)), 5.0)
    assert symbol_state.streams["btcusdt@trade"].sequence.gaps == 0


def static_symbol_state() -> SymbolState:
    """A session that left its live source for a recording at second 20."""
    symbol_state = open_symbol_state()
    symbol_state.disconnected(DisconnectReason.SHUTDOWN, 20.0)
    symbol_state.begin(
        [SPOT.parse_stream("trade"), SPOT.parse_stream("kline_1m")], measures_latency=False, now=20.0
    )
    symbol_state.connected(20.0)
    return symbol_state


def test_other_source_waits_for_its_first_message() -> None:
    symbol_state = static_symbol_state()
    assert (symbol_state.gate.reasons, symbol_state.deadline) == ((Reason.STARTING,), 20.0 + STALE_AFTER)
    trade(symbol_state, 21.0)
    assert not symbol_state.gate.halted


def test_other_source_adds_its_streams_and_keeps_the_counts() -> None:
    symbol_state = open_symbol_state()
    stream_state = symbol_state.streams["btcusdt@trade"]
    symbol_state.begin(
        [SPOT.parse_stream("trade"), SPOT.parse_stream("kline_1m")], measures_latency=True, now=20.0
    )
    assert list(symbol_state.streams) == ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@kline_1m"]
    assert symbol_state.streams["btcusdt@trade"] is stream_state
    assert stream_state.messages == 1


def test_recording_measures_no_latency() -> None:
    symbol_state = static_symbol_state()
    for _ in range(5):
        trade(symbol_state, 21.0, latency=86_400.0)
    assert not symbol_state.gate.halted
    assert sum(symbol_state.total_latency.counts) == 1


def test_source_that_measures_again_judges_latency_again() -> None:
    symbol_state = static_symbol_state()
    trade(symbol_state, 21.0)
    symbol_state.begin([], measures_latency=True, now=30.0)
    late_trades(symbol_state, 31.0)
    assert symbol_state.gate.reasons == (Reason.LATENCY,)


def test_data_that_has_ended_is_stale_at_once() -> None:
    symbol_state = static_symbol_state()
    trade(symbol_state, 21.0)
    symbol_state.ended(22.0)
    assert (symbol_state.gate.reasons, symbol_state.deadline) == ((Reason.STALE,), None)


def test_connection_that_delivered_was_good_for_that_long() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    trade(symbol_state, 1.0)
    quote(symbol_state, 61.0)
    assert symbol_state.disconnected(DisconnectReason.SERVER_CLOSE, 65.0) == 60.0


def test_connection_that_delivered_nothing_was_never_good() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    assert symbol_state.disconnected(DisconnectReason.RESET, 100.0) == 0.0


def test_reconnect_begins_a_new_account_of_good_data() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    trade(symbol_state, 1.0)
    trade(symbol_state, 61.0)
    symbol_state.disconnected(DisconnectReason.RESET, 62.0)
    symbol_state.connected(63.0)
    assert symbol_state.disconnected(DisconnectReason.RESET, 64.0) == 0.0


def test_second_connection_goes_on_with_the_account_of_good_data() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    trade(symbol_state, 1.0)
    symbol_state.connected(30.0)
    trade(symbol_state, 61.0)
    assert symbol_state.disconnected(DisconnectReason.ROTATION, 62.0) == 60.0
    trade(symbol_state, 71.0)
    assert symbol_state.disconnected(DisconnectReason.RESET, 72.0) == 70.0


def test_late_messages_are_no_good_data() -> None:
    symbol_state = new_symbol_state()
    symbol_state.connected(0.5)
    late_trades(symbol_state, 1.0)
    late_trades(symbol_state, 61.0)
    assert symbol_state.disconnected(DisconnectReason.RESET, 62.0) == 0.0


EVENTS = (
    "message", "late message", "future message", "quote", "repetition", "jump",
    "untrusted", "unknown event", "connect", "connect failed", "disconnect", "failed", "rebuilt",
    "switch", "end", "halt", "resume",
)  # fmt: skip


class Story:
    """Tells a session what happened, and keeps the books apart from it."""

    def __init__(self, policy: ResumePolicy) -> None:
        self.symbol_state = new_symbol_state(policy=policy)
        self.now = 0.0
        self.frames = 0
        self.next_id = 0
        self.newest = frame("trade", t=0)

    def happens(self, seconds: float, event: str) -> None:
        self.pass_time(seconds)
        symbol_state, now = self.symbol_state, self.now
        match event:
            case "connect":
                symbol_state.connected(now)
            case "connect failed":
                symbol_state.connect_failed(ConnectFailure.REFUSED, now)
            case "disconnect":
                if symbol_state.is_connected:
                    symbol_state.disconnected(DisconnectReason.RESET, now)
            case "failed":
                symbol_state.failed(now)
            case "rebuilt":
                symbol_state.rebuilt(now)
            case "switch":
                while symbol_state.is_connected:
                    symbol_state.disconnected(DisconnectReason.SHUTDOWN, now)
                symbol_state.begin([SPOT.parse_stream("trade")], measures_latency=True, now=now)
            case "end":
                symbol_state.ended(now)
            case "halt":
                symbol_state.gate.trip(Reason.KILL_SWITCH, now)
            case "resume":
                symbol_state.gate.clear(Reason.KILL_SWITCH, now)
            case _:
                if symbol_state.is_connected:
                    self.frames += 1
                    self.read(event)

    def pass_time(self, seconds: float) -> None:
        """Let the owner's timer fire when it is due."""
        self.now += seconds
        if self.symbol_state.deadline is not None and self.symbol_state.deadline <= self.now:
            self.symbol_state.tick(self.now)

    def read(self, event: str) -> None:
        match event:
            case "untrusted":
                self.symbol_state.invalid(InvalidReason.WRONG_TYPE, self.now)
            case "unknown event":
                self.symbol_state.invalid(InvalidReason.UNKNOWN_EVENT, self.now)
            case "quote":
                self.next_id += 1
                hand_on(self.symbol_state, frame("bookTicker", u=self.next_id), self.now)
            case "repetition":
                hand_on(self.symbol_state, self.newest, self.now)
            case _:
                self.next_id += 5 if event == "jump" else 1
                latency = {"late message": 3.0, "future message": -3.0}.get(event, 0.1)
                event_time = round((VENUE_TIME_AT_ZERO + self.now - latency) * 1000.0)
                self.newest = frame("trade", t=self.next_id, E=event_time)
                hand_on(self.symbol_state, self.newest, self.now)

    def accounted(self) -> int:
        stream_states = self.symbol_state.streams.values()
        taken = sum(
            stream_state.messages + stream_state.sequence.duplicates for stream_state in stream_states
        )
        return taken + sum(self.symbol_state.counts.invalid.values())


@given(
    st.sampled_from(ResumePolicy),
    st.lists(
        st.tuples(
            st.sampled_from((0.0, 0.1, 1.0, RESUME_AFTER, STALE_AFTER)),
            st.sampled_from(EVENTS) | st.just("message"),
        ),
        max_size=80,
    ),
)
def test_any_story_is_accounted_for_and_opens_the_gate_only_on_good_data(
    policy: ResumePolicy, events: list[tuple[float, str]]
) -> None:
    story = Story(policy)
    symbol_state, gate = story.symbol_state, story.symbol_state.gate
    story.happens(0.0, "connect")
    for seconds, event in events:
        story.happens(seconds, event)
        assert story.accounted() == story.frames
        assert gate.causes <= gate.active.keys()
        if not gate.halted:
            assert symbol_state.is_connected
            assert symbol_state.age(story.now) < symbol_state.stale_after
        if not symbol_state.is_connected:
            assert {Reason.DISCONNECTED, Reason.STARTING} & gate.active.keys()
    assert replayed(gate.changes) == gate.active.keys()
    assert sum(symbol_state.processing_latency.counts) == sum(
        stream_state.messages for stream_state in symbol_state.streams.values()
    )


@given(st.lists(st.sampled_from(EVENTS), max_size=80))
def test_any_story_ends_in_an_open_gate_once_all_is_well(events: list[str]) -> None:
    story = Story(ResumePolicy.AUTO)
    for event in events:
        story.happens(0.1, event)
    for event in ("connect", "rebuilt", "resume", *["message"] * 200):
        story.happens(0.1, event)
    assert story.symbol_state.gate.reasons == ()


@pytest.mark.parametrize("status", ["BREAK", "HALT", "CANCEL_ONLY", "END_OF_DAY", "SOMETHING_NEW"])
def test_symbol_that_the_exchange_does_not_trade_is_halted_until_it_does(status: str) -> None:
    symbol_state = open_symbol_state()
    symbol_state.note_status(status, 2.0)
    assert symbol_state.gate.reasons == (Reason.EXCHANGE,)
    symbol_state.note_status("TRADING", 3.0)
    assert not symbol_state.gate.halted
    assert symbol_state.gate.halts[Reason.EXCHANGE] == 1


def test_symbol_that_is_not_traded_stays_halted_through_a_new_beginning() -> None:
    symbol_state = open_symbol_state()
    symbol_state.note_status("BREAK", 2.0)
    symbol_state.begin((), measures_latency=True, now=3.0)
    trade(symbol_state, 3.5)
    assert symbol_state.gate.reasons == (Reason.EXCHANGE,)


def test_recorded_data_does_not_ask_whether_the_symbol_is_traded_today() -> None:
    symbol_state = open_symbol_state()
    symbol_state.note_status("BREAK", 2.0)
    symbol_state.begin((), measures_latency=False, now=3.0)
    trade(symbol_state, 3.5)
    assert not symbol_state.gate.halted


def test_connection_that_feedd_ends_itself_closes_the_gate_without_an_alarm() -> None:
    symbol_state = open_symbol_state()
    symbol_state.disconnected(DisconnectReason.SHUTDOWN, 2.0)
    assert symbol_state.gate.reasons == (Reason.STARTING,)
    assert sum(symbol_state.gate.halts.values()) == 0
    symbol_state.connected(3.0)
    assert symbol_state.gate.halted
    trade(symbol_state, 3.5)
    assert not symbol_state.gate.halted


def awaiting_symbol_state() -> SymbolState:
    """A live session that awaits trades and quotes from second 0 on; a trade has come."""
    symbol_state = new_symbol_state()
    symbol_state.begin(
        [SPOT.parse_stream("trade"), SPOT.parse_stream("bookTicker")], measures_latency=True, now=0.0
    )
    symbol_state.connected(0.5)
    trade(symbol_state, 1.0)
    return symbol_state


def looked(symbol_state: SymbolState, now: float) -> list[str]:
    return [stream_state.stream.name for stream_state in symbol_state.mute_changes(now)]


def test_only_recorded_data_is_not_live() -> None:
    assert (new_symbol_state().is_live, static_symbol_state().is_live) == (True, False)


def test_usual_gap_is_that_of_all_streams_together() -> None:
    symbol_state = awaiting_symbol_state()
    symbol_state.mute_changes(1.0)
    assert symbol_state.mean_interval is None
    for _ in range(4):
        trade(symbol_state, 1.5)
    symbol_state.mute_changes(2.0)
    assert symbol_state.mean_interval == pytest.approx(0.25)
    quote(symbol_state, 2.5)
    symbol_state.mute_changes(3.0)
    assert symbol_state.mean_interval == pytest.approx(1.0 / (4.0 + 0.5))


def test_stream_that_goes_mute_while_its_sibling_speaks_is_told_of_until_it_speaks() -> None:
    symbol_state = awaiting_symbol_state()
    trade(symbol_state, 59.0)
    assert (looked(symbol_state, 59.999), looked(symbol_state, 60.0), looked(symbol_state, 61.0)) == (
        [],
        ["bookTicker"],
        [],
    )
    quote(symbol_state, 62.0)
    assert (looked(symbol_state, 62.0), looked(symbol_state, 63.0)) == (["bookTicker"], [])


def test_stream_is_not_mute_where_its_siblings_are_silent_too() -> None:
    symbol_state = awaiting_symbol_state()
    trade(symbol_state, 60.0)
    assert looked(symbol_state, 60.0 + STALE_AFTER / 2.0) == []
    assert looked(symbol_state, 60.0 + STALE_AFTER / 2.0 - 0.001) == ["bookTicker"]


@pytest.mark.parametrize(
    ("streams", "measures_latency"), [(["trade"], True), (["trade", "bookTicker"], False)]
)
def test_stream_that_the_source_need_not_bring_is_never_mute(
    streams: list[str], measures_latency: bool
) -> None:
    symbol_state = awaiting_symbol_state()
    quote(symbol_state, 2.0)
    symbol_state.begin(map(SPOT.parse_stream, streams), measures_latency, now=3.0)
    trade(symbol_state, 100.0)
    assert looked(symbol_state, 101.0) == []


SECONDS = st.sampled_from((0.003, 0.02, 0.07, 0.3, 2.0, 9.0, 20.0))
"""None of them, and no sum of two, is close to a bound."""


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=20))
def test_any_duration_is_counted_in_the_bucket_where_it_belongs(durations: list[tuple[float, float]]) -> None:
    symbol_state = new_symbol_state(clock=VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO))
    exchange, processing = Histogram(LATENCY_BOUNDS), Histogram(PROCESSING_BOUNDS)
    total = Histogram(LATENCY_BOUNDS)
    for now, (latency, seconds) in enumerate(durations, 30):
        trade(symbol_state, float(now), latency, seconds)
        measured = now + VENUE_TIME_AT_ZERO - round((VENUE_TIME_AT_ZERO + now - latency) * 1000.0) / 1000.0
        exchange.observe(measured)
        processing.observe(now + seconds - now)
        total.observe(measured + seconds)
    for found, expected in (
        (symbol_state.exchange_latency, exchange),
        (symbol_state.processing_latency, processing),
        (symbol_state.total_latency, total),
    ):
        assert found.counts == expected.counts
        assert found.total == pytest.approx(expected.total)


MARKET, PUBLIC = "market", "public"


def routed_symbol_state() -> SymbolState:
    """A symbol whose trades and quotes come by different routes."""
    symbol_state = new_symbol_state()
    trades, quotes = SPOT.parse_stream("trade"), SPOT.parse_stream("bookTicker")
    routed = (replace(trades, route=MARKET), replace(quotes, route=PUBLIC))
    symbol_state.begin(routed, measures_latency=True, now=0.0)
    return symbol_state


def test_every_route_must_be_connected_and_the_number_of_connections_is_that_of_all() -> None:
    symbol_state = routed_symbol_state()
    assert (symbol_state.is_connected, symbol_state.open_connections) == (False, 0)
    symbol_state.connected(0.1, MARKET)
    assert not symbol_state.is_connected
    symbol_state.connected(0.1, PUBLIC)
    assert (symbol_state.is_connected, symbol_state.open_connections) == (True, 2)
    symbol_state.disconnected(DisconnectReason.RESET, 0.2, PUBLIC)
    assert not symbol_state.is_connected
    assert Reason.DISCONNECTED in symbol_state.gate.active


def test_gate_opens_only_on_good_data_of_every_route() -> None:
    symbol_state = routed_symbol_state()
    symbol_state.connected(0.1, MARKET)
    symbol_state.connected(0.1, PUBLIC)
    for second in range(1, 9):
        trade(symbol_state, float(second))
    assert symbol_state.gate.active.keys() == {Reason.STARTING}
    newest = [symbol_state.last_message_at]
    quote(symbol_state, 8.5)
    assert not symbol_state.gate.halted
    newest.append(symbol_state.last_message_at)
    assert (newest, symbol_state.age(9.0)) == ([None, 8.0], 1.0)


def test_route_that_falls_silent_halts_although_the_other_goes_on() -> None:
    symbol_state = routed_symbol_state()
    symbol_state.connected(0.1, MARKET)
    symbol_state.connected(0.1, PUBLIC)
    quote(symbol_state, 1.0)
    trade(symbol_state, 1.0)
    assert symbol_state.deadline == 1.0 + STALE_AFTER
    trade(symbol_state, STALE_AFTER)
    symbol_state.tick(1.0 + STALE_AFTER)
    assert Reason.STALE in symbol_state.gate.causes
    trade(symbol_state, 1.5 + STALE_AFTER)
    assert Reason.STALE in symbol_state.gate.causes, "trades say nothing of quotes"
    quote(symbol_state, 2.0 + STALE_AFTER)
    assert Reason.STALE not in symbol_state.gate.causes


def test_bug_on_one_route_is_over_only_when_that_route_is_rebuilt() -> None:
    symbol_state = routed_symbol_state()
    symbol_state.failed(1.0, MARKET)
    symbol_state.failed(1.0, PUBLIC)
    symbol_state.rebuilt(2.0, MARKET)
    assert Reason.INTERNAL in symbol_state.gate.causes
    symbol_state.rebuilt(3.0, PUBLIC)
    assert Reason.INTERNAL not in symbol_state.gate.causes


def test_rebuilding_one_route_leaves_the_sequences_of_the_other() -> None:
    symbol_state = routed_symbol_state()
    trade(symbol_state, 1.0)
    quote(symbol_state, 1.0)
    symbol_state.failed(2.0, PUBLIC)
    symbol_state.rebuilt(2.0, PUBLIC)
    newest = {state.stream.name: state.sequence.newest for state in symbol_state.streams.values()}
    assert newest["trade"] is not None
    assert newest["bookTicker"] is None


def test_route_that_waits_longest_is_the_backoff_that_is_shown() -> None:
    symbol_state = routed_symbol_state()
    symbol_state.delay_reconnect(3.0, MARKET)
    symbol_state.delay_reconnect(8.0, PUBLIC)
    assert symbol_state.backoff_seconds == 8.0
    symbol_state.connected(1.0, PUBLIC)
    assert symbol_state.backoff_seconds == 3.0
    symbol_state.delay_reconnect(5.0, PUBLIC)
    assert symbol_state.backoff_seconds == 3.0, "what is connected waits for nothing"


def test_next_message_that_is_expected_sooner_moves_the_deadline_back() -> None:
    symbol_state = new_symbol_state()
    assert not symbol_state.expect_next(60.0)
    assert symbol_state.deadline == 60.0 + STALE_AFTER
    assert symbol_state.expect_next(0.0)
    assert symbol_state.deadline == STALE_AFTER


def test_messages_that_came_during_a_rebuild_are_counted() -> None:
    symbol_state = new_symbol_state()
    symbol_state.discard()
    assert symbol_state.counts.discarded == 1
