"""One symbol's feed, from the first cause of each reason to the reopening of its gate."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.config.settings import ResumePolicy
from feedd.core.histogram import LATENCY_BOUNDS, PROCESSING_BOUNDS, Histogram
from feedd.core.latency import ClockSample, VenueClock
from feedd.core.symbol_state import Limits, Session
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason
from feedd.venues.binance.spot.payloads import Frame, Payload
from feedd.venues.binance.spot.streams import parse_stream
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


def new_session(
    *streams: str, policy: ResumePolicy = ResumePolicy.AUTO, clock: VenueClock | None = None
) -> Session:
    return Session(
        "BTCUSDT",
        [parse_stream(name) for name in streams or ("trade", "bookTicker")],
        Limits(STALE_AFTER, LATENCY_LIMIT, RESUME_AFTER, policy),
        clock or synced_clock(),
        now=0.0,
    )


def open_session(policy: ResumePolicy = ResumePolicy.AUTO) -> Session:
    """A session whose gate was opened by a trade at second 1."""
    session = new_session(policy=policy)
    session.connected(0.5)
    trade(session, 1.0)
    session.gate.changes.clear()
    return session


def hand_on(session: Session, message: Frame[Payload], now: float, processing: float = 0.0) -> bool:
    """Do with a message what its owner does. Returns whether it was news."""
    if not session.receive(session.lanes[message.stream], message.data, now):
        return False
    session.handed_on(now, now + processing)
    return True


def trade(session: Session, now: float, latency: float = 0.05, processing: float = 0.0) -> None:
    """Hand on the next trade."""
    message = frame(
        "trade",
        t=session.lanes["btcusdt@trade"].messages,
        E=round((VENUE_TIME_AT_ZERO + now - latency) * 1000.0),
    )
    assert hand_on(session, message, now, processing)


def quote(session: Session, now: float) -> None:
    """Hand on the next quote, which has no event time."""
    assert hand_on(session, frame("bookTicker", u=session.lanes["btcusdt@bookTicker"].messages), now)


def late_trades(session: Session, now: float, count: int = 3) -> None:
    for _ in range(count):
        trade(session, now, latency=LATENCY_LIMIT + 0.1)


def invalid(session: Session, now: float, count: int = 3) -> None:
    for _ in range(count):
        session.invalid(InvalidReason.BAD_JSON, now)


def test_new_session_is_starting_and_not_connected() -> None:
    session = new_session()
    assert (session.is_connected, session.gate.reasons) == (False, (Reason.STARTING,))
    assert list(session.lanes) == ["btcusdt@trade", "btcusdt@bookTicker"]
    assert session.deadline == STALE_AFTER


def test_handshake_alone_opens_nothing() -> None:
    session = new_session()
    session.connected(0.5)
    assert (session.is_connected, session.gate.reasons) == (True, (Reason.STARTING,))
    assert (session.counts.connects, session.backoff_seconds) == (1, 0.0)


@pytest.mark.parametrize("message", [trade, quote])
def test_first_message_opens_the_gate(message: Callable[[Session, float], None]) -> None:
    session = new_session()
    session.connected(0.5)
    message(session, 1.0)
    assert (session.gate.halted, session.gate.since) == (False, 1.0)


def test_invalid_first_messages_leave_it_starting() -> None:
    session = new_session()
    session.connected(0.5)
    invalid(session, 1.0, count=2)
    assert session.gate.reasons == (Reason.STARTING,)


def test_late_first_messages_never_open_the_gate() -> None:
    session = new_session()
    session.connected(0.5)
    late_trades(session, 1.0, count=2)
    assert session.gate.reasons == (Reason.STARTING,)
    late_trades(session, 1.0, count=1)
    assert session.gate.reasons == (Reason.LATENCY,)


def lose_connection(session: Session) -> None:
    session.disconnected(DisconnectReason.RESET, 2.0)


def fall_silent(session: Session) -> None:
    assert session.deadline is not None
    session.tick(session.deadline)


AUTOMATIC_HALTS = pytest.mark.parametrize(
    ("reason", "begin", "end"),
    [
        (Reason.DISCONNECTED, lose_connection, lambda session: session.connected(19.0)),
        (Reason.STALE, fall_silent, lambda session: None),
        (Reason.LATENCY, lambda session: late_trades(session, 2.0), lambda session: None),
        (Reason.SCHEMA, lambda session: invalid(session, 2.0), lambda session: None),
        (Reason.INTERNAL, lambda session: session.failed(2.0), lambda session: session.rebuilt(19.0)),
    ],
)


@AUTOMATIC_HALTS
def test_automatic_halt_lifts_after_a_spell_of_good_data(
    reason: Reason, begin: Callable[[Session], None], end: Callable[[Session], None]
) -> None:
    session = open_session()
    begin(session)
    assert session.gate.reasons == (reason,)
    end(session)
    trade(session, 20.0)
    trade(session, 20.0 + RESUME_AFTER - 0.001)
    assert session.gate.reasons == (reason,)
    trade(session, 20.0 + RESUME_AFTER)
    assert not session.gate.halted
    assert became_active(session.gate.changes) == {reason: 1}


@AUTOMATIC_HALTS
def test_manual_policy_latches_an_automatic_halt_until_re_armed(
    reason: Reason, begin: Callable[[Session], None], end: Callable[[Session], None]
) -> None:
    session = open_session(ResumePolicy.MANUAL)
    begin(session)
    assert session.gate.rearm(18.0) == (reason,)
    end(session)
    trade(session, 20.0)
    assert session.gate.rearm(20.0) == (reason,)
    trade(session, 20.0 + RESUME_AFTER)
    assert session.gate.reasons == (Reason.LATCHED,)
    assert session.gate.rearm(30.0) == ()
    assert not session.gate.halted


@pytest.mark.parametrize("reason", [Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.EXCHANGE])
def test_halt_from_outside_lifts_at_once(reason: Reason) -> None:
    session = open_session()
    session.gate.trip(reason, 2.0)
    trade(session, 3.0)
    assert session.gate.reasons == (reason,)
    session.gate.clear(reason, 4.0)
    assert (session.gate.halted, session.gate.since) == (False, 4.0)


def test_other_thresholds_count_at_once() -> None:
    session = open_session()
    session.follow(Limits(3.0, 0.2, 2.0, ResumePolicy.AUTO), 2.0)
    assert session.deadline == 4.0
    for _ in range(3):
        trade(session, 3.0, latency=0.3)
    assert session.gate.reasons == (Reason.LATENCY,)
    trade(session, 3.5)
    trade(session, 5.5)
    assert not session.gate.halted


def test_failed_first_connect_is_disconnected() -> None:
    session = new_session()
    session.connect_failed(ConnectFailure.DNS, 0.5)
    assert session.gate.reasons == (Reason.STARTING, Reason.DISCONNECTED)
    assert session.counts.connect_failures[ConnectFailure.DNS] == 1


def test_failed_attempt_beside_an_open_connection_halts_nothing() -> None:
    session = open_session()
    session.connect_failed(ConnectFailure.TIMEOUT, 2.0)
    assert not session.gate.halted
    assert session.counts.connect_failures[ConnectFailure.TIMEOUT] == 1


def test_connection_made_before_the_old_one_ends_halts_nothing() -> None:
    session = open_session()
    session.connected(2.0)
    session.disconnected(DisconnectReason.ROTATION, 3.0)
    assert (session.is_connected, session.gate.changes) == (True, [])
    assert session.counts.disconnects[DisconnectReason.ROTATION] == 1
    session.disconnected(DisconnectReason.RESET, 4.0)
    assert session.gate.reasons == (Reason.DISCONNECTED,)


def test_handshake_does_not_make_a_stale_feed_fresh() -> None:
    session = open_session()
    session.disconnected(DisconnectReason.RESET, 2.0)
    session.tick(11.0)
    session.connected(12.0)
    session.gate.good(12.0)
    assert session.gate.causes == {Reason.STALE}


def test_feed_is_stale_at_its_deadline_and_not_before() -> None:
    session = open_session()
    assert session.deadline == 11.0
    session.tick(10.999)
    assert not session.gate.halted
    session.tick(11.0)
    assert (session.gate.reasons, session.gate.since) == ((Reason.STALE,), 11.0)


def test_stale_feed_has_no_deadline_until_a_message_comes() -> None:
    session = open_session()
    session.tick(11.0)
    assert session.deadline is None
    quote(session, 15.0)
    assert session.deadline == 15.0 + STALE_AFTER


def test_feed_that_never_speaks_is_stale() -> None:
    session = new_session()
    session.tick(STALE_AFTER)
    assert session.gate.reasons == (Reason.STARTING, Reason.STALE)


@pytest.mark.parametrize("reason", InvalidReason)
def test_invalid_message_does_not_make_the_feed_fresh(reason: InvalidReason) -> None:
    session = open_session()
    session.invalid(reason, 9.0)
    assert session.deadline == 11.0


def test_repetition_is_counted_apart_and_does_not_make_the_feed_fresh() -> None:
    session = open_session()
    repeated = frame("trade", t=0, E=round((VENUE_TIME_AT_ZERO + 0.95) * 1000))
    assert not hand_on(session, repeated, 9.0)
    lane = session.lanes["btcusdt@trade"]
    assert (lane.messages, lane.sequence.duplicates, lane.last_at, session.deadline) == (1, 1, 1.0, 11.0)


def test_each_stream_counts_for_itself() -> None:
    session = open_session()
    quote(session, 2.0)
    quote(session, 3.0)
    lanes = session.lanes
    assert [(lane.messages, lane.last_at) for lane in lanes.values()] == [(1, 1.0), (2, 3.0)]
    assert session.freshness.last_at == 3.0


def test_delay_is_confirmed_by_exactly_three_measurable_messages() -> None:
    session = open_session()
    late_trades(session, 2.0, count=2)
    quote(session, 2.0)
    assert not session.gate.halted
    late_trades(session, 2.0, count=1)
    assert session.gate.reasons == (Reason.LATENCY,)


def test_latency_at_the_limit_halts_nothing() -> None:
    session = open_session()
    for _ in range(5):
        trade(session, 2.0, latency=LATENCY_LIMIT)
    assert not session.gate.halted


def test_message_in_time_ends_the_row_of_late_ones() -> None:
    session = open_session()
    late_trades(session, 2.0, count=2)
    trade(session, 2.0)
    late_trades(session, 2.0, count=2)
    assert not session.gate.halted


def test_time_spent_here_counts_as_latency_too() -> None:
    session = open_session()
    for _ in range(3):
        trade(session, 2.0, latency=0.6, processing=0.5)
    assert session.gate.reasons == (Reason.LATENCY,)


def test_messages_without_event_time_do_not_heal_a_delay() -> None:
    session = open_session()
    late_trades(session, 2.0)
    quote(session, 3.0)
    quote(session, 10.0)
    assert session.gate.causes == {Reason.LATENCY}


def test_late_message_begins_the_spell_of_good_data_anew() -> None:
    session = open_session()
    session.tick(11.0)
    trade(session, 12.0)
    late_trades(session, 16.0, count=1)
    trade(session, 17.0)
    assert session.gate.reasons == (Reason.STALE,)
    trade(session, 22.0)
    assert not session.gate.halted


def test_impossible_latency_is_counted_and_neither_halts_nor_heals() -> None:
    session = open_session()
    late_trades(session, 2.0, count=2)
    trade(session, 2.0, latency=-5.0)
    assert (session.counts.negative_latency, session.gate.halted) == (1, False)
    late_trades(session, 2.0, count=1)
    assert session.gate.reasons == (Reason.LATENCY,)
    for second in range(3, 30):
        trade(session, float(second), latency=-5.0)
    assert session.gate.causes == {Reason.LATENCY}
    assert session.counts.negative_latency == 28


def test_negative_latency_within_the_clocks_error_is_counted_and_measures() -> None:
    session = open_session()
    late_trades(session, 2.0)
    trade(session, 3.0, latency=-CLOCK_ERROR / 2)
    assert (session.counts.negative_latency, session.gate.causes) == (1, set())


def clock_with_error(seconds: float) -> VenueClock:
    clock = VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO)
    clock.update([ClockSample(-seconds, seconds, VENUE_TIME_AT_ZERO)])
    return clock


@pytest.mark.parametrize(
    "clock", [VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO), clock_with_error(LATENCY_LIMIT)]
)
def test_negative_latency_of_a_clock_that_is_hardly_known_measures_nothing(clock: VenueClock) -> None:
    session = new_session(clock=clock)
    late_trades(session, 2.0)
    trade(session, 3.0, latency=-0.001)
    assert (session.counts.negative_latency, session.gate.causes) == (1, {Reason.LATENCY})


def test_impossible_latency_is_not_observed_as_a_good_one() -> None:
    session = open_session()
    trade(session, 2.0, latency=-CLOCK_ERROR / 2)
    trade(session, 3.0, latency=-5.0)
    assert sum(session.exchange_latency.counts) == sum(session.total_latency.counts) == 2
    assert session.lanes["btcusdt@trade"].messages == 3


def test_latencies_are_observed_where_they_can_be_measured() -> None:
    session = open_session()
    trade(session, 2.0, latency=0.25, processing=0.5)
    quote(session, 3.0)
    assert session.processing_latency.total == pytest.approx(0.5)
    assert sum(session.processing_latency.counts) == 3
    assert session.exchange_latency.total == pytest.approx(0.05 + 0.25)
    assert session.total_latency.total == pytest.approx(0.05 + 0.75)
    assert sum(session.exchange_latency.counts) == sum(session.total_latency.counts) == 2


@pytest.mark.parametrize("reason", UNTRUSTED)
def test_three_untrusted_messages_in_a_row_halt(reason: InvalidReason) -> None:
    session = open_session()
    session.invalid(reason, 2.0)
    session.invalid(reason, 2.0)
    assert not session.gate.halted
    session.invalid(reason, 3.0)
    assert (session.gate.reasons, session.gate.since) == ((Reason.SCHEMA,), 3.0)
    assert session.counts.invalid[reason] == 3


def test_message_between_them_breaks_the_row() -> None:
    session = open_session()
    invalid(session, 2.0, count=2)
    trade(session, 2.0)
    invalid(session, 2.0, count=2)
    assert not session.gate.halted


def test_six_untrusted_of_the_last_hundred_halt_until_they_are_past() -> None:
    session = open_session()
    for _ in range(5):
        invalid(session, 2.0, count=1)
        for _ in range(15):
            trade(session, 2.0)
    assert not session.gate.halted
    invalid(session, 3.0, count=1)
    assert session.gate.reasons == (Reason.SCHEMA,)
    for _ in range(19):
        trade(session, 4.0)
    assert session.gate.causes == {Reason.SCHEMA}
    trade(session, 4.0)
    assert session.gate.causes == set()
    trade(session, 9.0)
    assert not session.gate.halted


def test_five_untrusted_of_the_last_hundred_are_tolerated() -> None:
    session = open_session()
    for _ in range(50):
        invalid(session, 2.0, count=1)
        for _ in range(19):
            trade(session, 2.0)
    assert not session.gate.halted


def test_untrusted_message_begins_the_spell_of_good_data_anew() -> None:
    session = open_session()
    session.tick(11.0)
    trade(session, 12.0)
    invalid(session, 16.0, count=1)
    trade(session, 17.0)
    assert session.gate.reasons == (Reason.STALE,)


def test_unknown_events_never_halt() -> None:
    session = open_session()
    for _ in range(1_000):
        session.invalid(InvalidReason.UNKNOWN_EVENT, 2.0)
    assert not session.gate.halted
    assert session.counts.invalid[InvalidReason.UNKNOWN_EVENT] == 1_000


def test_unknown_fields_are_counted_and_halt_nothing() -> None:
    session = open_session()
    session.unknown_fields(2)
    session.unknown_fields(1)
    assert (session.counts.unknown_fields, session.gate.halted) == (3, False)


ANEW = pytest.mark.parametrize(
    "begin_anew",
    [
        lambda session: session.rebuilt(4.0),
        lambda session: session.begin([], measures_latency=True, now=4.0),
    ],
    ids=["rebuilt", "other source"],
)


@ANEW
def test_session_that_begins_anew_forgets_the_row_of_late_messages(
    begin_anew: Callable[[Session], None],
) -> None:
    session = open_session()
    late_trades(session, 2.0, count=2)
    begin_anew(session)
    late_trades(session, 5.0, count=2)
    assert Reason.LATENCY not in session.gate.active


@ANEW
def test_session_that_begins_anew_forgets_the_untrusted_messages(
    begin_anew: Callable[[Session], None],
) -> None:
    session = open_session()
    invalid(session, 2.0, count=2)
    begin_anew(session)
    invalid(session, 5.0, count=2)
    assert Reason.SCHEMA not in session.gate.active
    assert session.counts.invalid[InvalidReason.BAD_JSON] == 4


@ANEW
def test_session_that_begins_anew_has_no_good_data_yet(begin_anew: Callable[[Session], None]) -> None:
    session = open_session()
    trade(session, 3.0)
    begin_anew(session)
    assert session.disconnected(DisconnectReason.RESET, 60.0) == 0.0


@ANEW
def test_session_that_begins_anew_takes_the_next_message_for_the_first(
    begin_anew: Callable[[Session], None],
) -> None:
    session = open_session()
    begin_anew(session)
    assert hand_on(session, frame("trade", t=1_000, E=round((VENUE_TIME_AT_ZERO + 4.9) * 1000)), 5.0)
    assert session.lanes["btcusdt@trade"].sequence.gaps == 0


def static_session() -> Session:
    """A session that left its live source for a recording at second 20."""
    session = open_session()
    session.disconnected(DisconnectReason.SHUTDOWN, 20.0)
    session.begin([parse_stream("trade"), parse_stream("kline_1m")], measures_latency=False, now=20.0)
    session.connected(20.0)
    return session


def test_other_source_waits_for_its_first_message() -> None:
    session = static_session()
    assert (session.gate.reasons, session.deadline) == ((Reason.STARTING,), 20.0 + STALE_AFTER)
    trade(session, 21.0)
    assert not session.gate.halted


def test_other_source_adds_its_streams_and_keeps_the_counts() -> None:
    session = open_session()
    lane = session.lanes["btcusdt@trade"]
    session.begin([parse_stream("trade"), parse_stream("kline_1m")], measures_latency=True, now=20.0)
    assert list(session.lanes) == ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@kline_1m"]
    assert session.lanes["btcusdt@trade"] is lane
    assert lane.messages == 1


def test_recording_measures_no_latency() -> None:
    session = static_session()
    for _ in range(5):
        trade(session, 21.0, latency=86_400.0)
    assert not session.gate.halted
    assert sum(session.total_latency.counts) == 1


def test_source_that_measures_again_judges_latency_again() -> None:
    session = static_session()
    trade(session, 21.0)
    session.begin([], measures_latency=True, now=30.0)
    late_trades(session, 31.0)
    assert session.gate.reasons == (Reason.LATENCY,)


def test_data_that_has_ended_is_stale_at_once() -> None:
    session = static_session()
    trade(session, 21.0)
    session.ended(22.0)
    assert (session.gate.reasons, session.deadline) == ((Reason.STALE,), None)


def test_connection_that_delivered_was_good_for_that_long() -> None:
    session = new_session()
    session.connected(0.5)
    trade(session, 1.0)
    quote(session, 61.0)
    assert session.disconnected(DisconnectReason.SERVER_CLOSE, 65.0) == 60.0


def test_connection_that_delivered_nothing_was_never_good() -> None:
    session = new_session()
    session.connected(0.5)
    assert session.disconnected(DisconnectReason.RESET, 100.0) == 0.0


def test_reconnect_begins_a_new_account_of_good_data() -> None:
    session = new_session()
    session.connected(0.5)
    trade(session, 1.0)
    trade(session, 61.0)
    session.disconnected(DisconnectReason.RESET, 62.0)
    session.connected(63.0)
    assert session.disconnected(DisconnectReason.RESET, 64.0) == 0.0


def test_second_connection_goes_on_with_the_account_of_good_data() -> None:
    session = new_session()
    session.connected(0.5)
    trade(session, 1.0)
    session.connected(30.0)
    trade(session, 61.0)
    assert session.disconnected(DisconnectReason.ROTATION, 62.0) == 60.0
    trade(session, 71.0)
    assert session.disconnected(DisconnectReason.RESET, 72.0) == 70.0


def test_late_messages_are_no_good_data() -> None:
    session = new_session()
    session.connected(0.5)
    late_trades(session, 1.0)
    late_trades(session, 61.0)
    assert session.disconnected(DisconnectReason.RESET, 62.0) == 0.0


EVENTS = (
    "message", "late message", "future message", "quote", "repetition", "jump",
    "untrusted", "unknown event", "connect", "connect failed", "disconnect", "failed", "rebuilt",
    "switch", "end", "halt", "resume",
)  # fmt: skip


class Story:
    """Tells a session what happened, and keeps the books apart from it."""

    def __init__(self, policy: ResumePolicy) -> None:
        self.session = new_session(policy=policy)
        self.now = 0.0
        self.frames = 0
        self.next_id = 0
        self.newest = frame("trade", t=0)

    def happens(self, seconds: float, event: str) -> None:
        self.pass_time(seconds)
        session, now = self.session, self.now
        match event:
            case "connect":
                session.connected(now)
            case "connect failed":
                session.connect_failed(ConnectFailure.REFUSED, now)
            case "disconnect":
                if session.is_connected:
                    session.disconnected(DisconnectReason.RESET, now)
            case "failed":
                session.failed(now)
            case "rebuilt":
                session.rebuilt(now)
            case "switch":
                while session.is_connected:
                    session.disconnected(DisconnectReason.SHUTDOWN, now)
                session.begin([parse_stream("trade")], measures_latency=True, now=now)
            case "end":
                session.ended(now)
            case "halt":
                session.gate.trip(Reason.KILL_SWITCH, now)
            case "resume":
                session.gate.clear(Reason.KILL_SWITCH, now)
            case _:
                if session.is_connected:
                    self.frames += 1
                    self.read(event)

    def pass_time(self, seconds: float) -> None:
        """Let the owner's timer fire when it is due."""
        self.now += seconds
        if self.session.deadline is not None and self.session.deadline <= self.now:
            self.session.tick(self.now)

    def read(self, event: str) -> None:
        match event:
            case "untrusted":
                self.session.invalid(InvalidReason.WRONG_TYPE, self.now)
            case "unknown event":
                self.session.invalid(InvalidReason.UNKNOWN_EVENT, self.now)
            case "quote":
                self.next_id += 1
                hand_on(self.session, frame("bookTicker", u=self.next_id), self.now)
            case "repetition":
                hand_on(self.session, self.newest, self.now)
            case _:
                self.next_id += 5 if event == "jump" else 1
                latency = {"late message": 3.0, "future message": -3.0}.get(event, 0.1)
                event_time = round((VENUE_TIME_AT_ZERO + self.now - latency) * 1000.0)
                self.newest = frame("trade", t=self.next_id, E=event_time)
                hand_on(self.session, self.newest, self.now)

    def accounted(self) -> int:
        lanes = self.session.lanes.values()
        taken = sum(lane.messages + lane.sequence.duplicates for lane in lanes)
        return taken + sum(self.session.counts.invalid.values())


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
    session, gate = story.session, story.session.gate
    story.happens(0.0, "connect")
    for seconds, event in events:
        story.happens(seconds, event)
        assert story.accounted() == story.frames
        assert gate.causes <= gate.active.keys()
        if not gate.halted:
            assert session.is_connected
            assert not session.freshness.is_stale(story.now)
        if not session.is_connected:
            assert {Reason.DISCONNECTED, Reason.STARTING} & gate.active.keys()
    assert replayed(gate.changes) == gate.active.keys()
    assert sum(session.processing_latency.counts) == sum(lane.messages for lane in session.lanes.values())


@given(st.lists(st.sampled_from(EVENTS), max_size=80))
def test_any_story_ends_in_an_open_gate_once_all_is_well(events: list[str]) -> None:
    story = Story(ResumePolicy.AUTO)
    for event in events:
        story.happens(0.1, event)
    for event in ("connect", "rebuilt", "resume", *["message"] * 200):
        story.happens(0.1, event)
    assert story.session.gate.reasons == ()


@pytest.mark.parametrize("status", ["BREAK", "HALT", "CANCEL_ONLY", "END_OF_DAY", "SOMETHING_NEW"])
def test_symbol_that_the_exchange_does_not_trade_is_halted_until_it_does(status: str) -> None:
    session = open_session()
    session.note_status(status, 2.0)
    assert session.gate.reasons == (Reason.EXCHANGE,)
    session.note_status("TRADING", 3.0)
    assert not session.gate.halted
    assert session.gate.halts[Reason.EXCHANGE] == 1


def test_symbol_that_is_not_traded_stays_halted_through_a_new_beginning() -> None:
    session = open_session()
    session.note_status("BREAK", 2.0)
    session.begin((), measures_latency=True, now=3.0)
    trade(session, 3.5)
    assert session.gate.reasons == (Reason.EXCHANGE,)


def test_recorded_data_does_not_ask_whether_the_symbol_is_traded_today() -> None:
    session = open_session()
    session.note_status("BREAK", 2.0)
    session.begin((), measures_latency=False, now=3.0)
    trade(session, 3.5)
    assert not session.gate.halted


def test_connection_that_feedd_ends_itself_closes_the_gate_without_an_alarm() -> None:
    session = open_session()
    session.disconnected(DisconnectReason.SHUTDOWN, 2.0)
    assert session.gate.reasons == (Reason.STARTING,)
    assert sum(session.gate.halts.values()) == 0
    session.connected(3.0)
    assert session.gate.halted
    trade(session, 3.5)
    assert not session.gate.halted


def awaiting_session() -> Session:
    """A live session that awaits trades and quotes from second 0 on; a trade has come."""
    session = new_session()
    session.begin([parse_stream("trade"), parse_stream("bookTicker")], measures_latency=True, now=0.0)
    session.connected(0.5)
    trade(session, 1.0)
    return session


def looked(session: Session, now: float) -> list[str]:
    return [lane.stream.name for lane in session.look(now)]


def test_only_recorded_data_is_not_live() -> None:
    assert (new_session().is_live, static_session().is_live) == (True, False)


def test_usual_gap_is_that_of_all_streams_together() -> None:
    session = awaiting_session()
    session.look(1.0)
    assert session.usual_gap is None
    for _ in range(4):
        trade(session, 1.5)
    session.look(2.0)
    assert session.usual_gap == pytest.approx(0.25)
    quote(session, 2.5)
    session.look(3.0)
    assert session.usual_gap == pytest.approx(1.0 / (4.0 + 0.5))


def test_stream_that_goes_mute_while_its_sibling_speaks_is_told_of_until_it_speaks() -> None:
    session = awaiting_session()
    trade(session, 59.0)
    assert (looked(session, 59.999), looked(session, 60.0), looked(session, 61.0)) == ([], ["bookTicker"], [])
    quote(session, 62.0)
    assert (looked(session, 62.0), looked(session, 63.0)) == (["bookTicker"], [])


def test_stream_is_not_mute_where_its_siblings_are_silent_too() -> None:
    session = awaiting_session()
    trade(session, 60.0)
    assert looked(session, 60.0 + STALE_AFTER / 2.0) == []
    assert looked(session, 60.0 + STALE_AFTER / 2.0 - 0.001) == ["bookTicker"]


@pytest.mark.parametrize(
    ("streams", "measures_latency"), [(["trade"], True), (["trade", "bookTicker"], False)]
)
def test_stream_that_the_source_need_not_bring_is_never_mute(
    streams: list[str], measures_latency: bool
) -> None:
    session = awaiting_session()
    quote(session, 2.0)
    session.begin(map(parse_stream, streams), measures_latency, now=3.0)
    trade(session, 100.0)
    assert looked(session, 101.0) == []


SECONDS = st.sampled_from((0.003, 0.02, 0.07, 0.3, 2.0, 9.0, 20.0))
"""None of them, and no sum of two, is close to a bound."""


@given(st.lists(st.tuples(SECONDS, SECONDS), max_size=20))
def test_any_duration_is_counted_in_the_bucket_where_it_belongs(durations: list[tuple[float, float]]) -> None:
    session = new_session(clock=VenueClock(now=0.0, wall=VENUE_TIME_AT_ZERO))
    exchange, processing = Histogram(LATENCY_BOUNDS), Histogram(PROCESSING_BOUNDS)
    total = Histogram(LATENCY_BOUNDS)
    for now, (latency, seconds) in enumerate(durations, 30):
        trade(session, float(now), latency, seconds)
        measured = now + VENUE_TIME_AT_ZERO - round((VENUE_TIME_AT_ZERO + now - latency) * 1000.0) / 1000.0
        exchange.observe(measured)
        processing.observe(now + seconds - now)
        total.observe(measured + seconds)
    for found, expected in (
        (session.exchange_latency, exchange),
        (session.processing_latency, processing),
        (session.total_latency, total),
    ):
        assert found.counts == expected.counts
        assert found.total == pytest.approx(expected.total)
