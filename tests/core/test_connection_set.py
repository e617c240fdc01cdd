"""When another connection is opened, and when which one goes: never the one that the feed lives on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.connection_set import (
    FIRST_PROBE_PAUSE,
    LINKS_MAX,
    LONGEST_PROBE_PAUSE,
    OVERLAP_SECONDS,
    RECHECK_SECONDS,
    ConnectionRecord,
    ConnectionSet,
    Need,
)
from feedd.model import DisconnectReason

STALE_AFTER = 10.0
SILENCE = 5.0
GRACE = 1.0
RENEW_AT = 80_000.0
ROTATION, STALLED, SHUTDOWN = (
    DisconnectReason.ROTATION,
    DisconnectReason.STALLED,
    DisconnectReason.SERVER_SHUTDOWN,
)


def new_connection_set(wanted: int = 1, stale_after: float = STALE_AFTER) -> ConnectionSet:
    return ConnectionSet(wanted, stale_after)


def opened(connection_set: ConnectionSet, now: float, renew_at: float = RENEW_AT) -> ConnectionRecord:
    return connection_set.opened("wss://exchange", now, renew_at)


def hear(connection_set: ConnectionSet, now: float, *speaking: ConnectionRecord) -> None:
    """Let connections deliver a message; the first one is noted while there are two."""
    for record in speaking:
        record.last_at = now
        if len(connection_set) > 1 and record.first_at is None:
            record.first_at = now


def two_connection_set(wanted: int = 1) -> tuple[ConnectionSet, ConnectionRecord, ConnectionRecord]:
    """A second connection was opened at second 100, beside one that had spoken until then."""
    connection_set = new_connection_set(wanted)
    elder = opened(connection_set, 0.0)
    hear(connection_set, 100.0, elder)
    return connection_set, elder, opened(connection_set, 100.0)


def first_outgrown(
    connection_set: ConnectionSet, start: float, end: float, *speaking: ConnectionRecord
) -> tuple[float, ConnectionRecord, DisconnectReason] | None:
    """Let connections speak four times a second. Returns when one is to be closed, which, and why."""
    for quarter in range(round(start * 4), round(end * 4)):
        hear(connection_set, quarter / 4, *speaking)
        if (to_retire := connection_set.to_retire(quarter / 4, True)) is not None:
            return quarter / 4, *to_retire
    return None


def test_thresholds_follow_the_limit() -> None:
    connection_set = new_connection_set()
    assert (connection_set.silence, connection_set.grace) == (SILENCE, GRACE)
    connection_set.stale_after = 1.0
    assert (connection_set.silence, connection_set.grace) == (0.5, 0.1)


def test_open_connections_are_listed_the_eldest_first() -> None:
    connection_set, elder, younger = two_connection_set()
    assert (list(connection_set), len(connection_set)) == ([elder, younger], 2)
    connection_set.closed(elder)
    assert (list(connection_set), len(connection_set)) == ([younger], 1)


def test_connection_is_heard_from_its_opening_on() -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 7.0)
    assert (record.url, record.heard_at) == ("wss://exchange", 7.0)
    hear(connection_set, 8.0, record)
    assert record.heard_at == 8.0


def test_one_that_had_spoken_alone_delivers_since_then() -> None:
    connection_set = new_connection_set()
    elder = opened(connection_set, 0.0)
    hear(connection_set, 90.0, elder)
    assert elder.first_at is None
    younger = opened(connection_set, 100.0)
    assert [elder.first_at, younger.first_at] == [90.0, None]
    connection_set.closed(younger)
    hear(connection_set, 200.0, elder)
    opened(connection_set, 201.0)
    assert elder.first_at == 90.0


def test_feed_without_a_connection_needs_its_first() -> None:
    assert new_connection_set().wants_connection(0.0) is Need.FIRST


def test_nothing_more_is_needed_while_one_is_being_opened() -> None:
    connection_set = new_connection_set()
    connection_set.dialling(True)
    assert connection_set.wants_connection(0.0) is None


@pytest.mark.parametrize("leaving", [None, ROTATION, SHUTDOWN])
def test_there_are_never_more_than_two(leaving: DisconnectReason | None) -> None:
    connection_set, elder, younger = two_connection_set(wanted=LINKS_MAX)
    elder.leaving = younger.leaving = leaving
    assert connection_set.wants_connection(10_000.0) is None


def test_one_that_delivers_is_enough_unless_two_are_wanted() -> None:
    connection_set = new_connection_set()
    opened(connection_set, 0.0)
    assert connection_set.wants_connection(1.0) is None
    connection_set.wanted = 2
    assert connection_set.wants_connection(1.0) is Need.SPARE


def test_one_that_the_exchange_will_close_needs_a_successor() -> None:
    connection_set = new_connection_set()
    opened(connection_set, 0.0).leaving = SHUTDOWN
    assert connection_set.wants_connection(1.0) is Need.SUCCESSOR


def test_one_that_is_to_be_renewed_needs_another_first() -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0, renew_at=50.0)
    hear(connection_set, 49.9, record)
    assert (connection_set.to_retire(49.999, True), connection_set.wants_connection(49.999)) == (None, None)
    assert (connection_set.to_retire(50.0, True), connection_set.wants_connection(50.0)) == (None, Need.SPARE)
    assert record.leaving is ROTATION


def test_announced_end_is_not_taken_for_a_renewal() -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0, renew_at=50.0)
    record.leaving = SHUTDOWN
    connection_set.to_retire(50.0, True)
    assert connection_set.wants_connection(50.0) is Need.SUCCESSOR


def test_one_that_is_silent_for_half_the_limit_is_probed() -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0)
    hear(connection_set, 20.0, record)
    assert (
        connection_set.is_suspect(20.0 + SILENCE - 0.001),
        connection_set.wants_connection(20.0 + SILENCE - 0.001),
    ) == (False, None)
    assert (connection_set.is_suspect(20.0 + SILENCE), connection_set.wants_connection(20.0 + SILENCE)) == (
        True,
        Need.PROBE,
    )


def test_one_that_never_spoke_is_probed_half_the_limit_after_its_opening() -> None:
    connection_set = new_connection_set()
    opened(connection_set, 20.0)
    assert [
        connection_set.wants_connection(20.0 + SILENCE - 0.001),
        connection_set.wants_connection(20.0 + SILENCE),
    ] == [
        None,
        Need.PROBE,
    ]


def test_feed_is_suspect_only_if_nobody_speaks() -> None:
    connection_set, elder, younger = two_connection_set()
    assert not new_connection_set().is_suspect(1_000.0)
    hear(connection_set, 110.0, younger)
    assert not connection_set.is_suspect(110.0 + SILENCE - 0.001)
    assert connection_set.is_suspect(110.0 + SILENCE)
    hear(connection_set, 120.0, elder)
    assert not connection_set.is_suspect(120.0)


def probe_times(connection_set: ConnectionSet, record: ConnectionRecord, until: float) -> list[float]:
    """Probe in vain whenever that is needed, and return when, as seconds of silence."""
    times, now = [], record.heard_at
    while now < until:
        if connection_set.wants_connection(now) is Need.PROBE:
            connection_set.probing(now)
            times.append(now - record.heard_at)
        now += SILENCE
    return times


def test_probes_in_vain_come_ever_more_seldom() -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0)
    times = probe_times(connection_set, record, 20_000.0)
    pauses = [after - before for before, after in pairwise(times)]
    assert times[0] == SILENCE
    assert pauses[:7] == [FIRST_PROBE_PAUSE * factor for factor in (1, 2, 4, 8, 16, 32, 60)]
    assert set(pauses[6:]) == {LONGEST_PROBE_PAUSE}


@pytest.mark.parametrize(
    ("spoke_at", "probed_at"),
    [
        (7.0, 7.0 + STALE_AFTER),
        (58.0, 5.0 + FIRST_PROBE_PAUSE),
        (64.0, 64.0 + SILENCE),
        (500.0, 500.0 + SILENCE),
    ],
)
def test_new_silence_after_a_probe_in_vain_is_probed_when_its_pause_is_over_but_before_the_limit(
    spoke_at: float, probed_at: float
) -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0)
    connection_set.probing(5.0)
    hear(connection_set, spoke_at, record)
    assert [
        connection_set.wants_connection(probed_at - 0.001),
        connection_set.wants_connection(probed_at),
    ] == [None, Need.PROBE]


def test_probe_that_healed_the_feed_makes_the_next_one_come_at_once() -> None:
    connection_set, elder, younger = two_connection_set()
    connection_set.probing(99.0)
    assert first_outgrown(connection_set, 105.0, 110.0, younger) == (106.0, elder, STALLED)
    connection_set.closed(elder)
    assert connection_set.wants_connection(106.0 + SILENCE) is Need.PROBE


@pytest.mark.parametrize("leaving", [None, ROTATION, SHUTDOWN])
def test_only_connection_is_never_outgrown(leaving: DisconnectReason | None) -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0, renew_at=50.0)
    record.leaving = leaving
    record.alone_since = 0.0
    assert connection_set.to_retire(100_000.0, True) is None


def test_nothing_is_outgrown_where_there_is_nothing() -> None:
    assert new_connection_set().to_retire(0.0, True) is None


@pytest.mark.parametrize("reason", [ROTATION, SHUTDOWN])
def test_one_that_is_to_go_goes_once_the_other_has_delivered_for_a_while(reason: DisconnectReason) -> None:
    connection_set, elder, younger = two_connection_set()
    elder.leaving = reason
    hear(connection_set, 101.0, elder)
    assert connection_set.to_retire(101.0 + OVERLAP_SECONDS, True) is None
    hear(connection_set, 102.0, elder, younger)
    assert connection_set.to_retire(102.0 + OVERLAP_SECONDS - 0.001, True) is None
    assert connection_set.to_retire(102.0 + OVERLAP_SECONDS, False) is None
    assert connection_set.to_retire(102.0 + OVERLAP_SECONDS, True) == (elder, reason)


def test_renewal_that_falls_due_beside_a_spare_is_made_at_once() -> None:
    connection_set = new_connection_set(wanted=2)
    elder, younger = opened(connection_set, 0.0, renew_at=50.0), opened(connection_set, 1.0)
    hear(connection_set, 49.9, elder, younger)
    assert connection_set.to_retire(49.99, True) is None
    hear(connection_set, 50.2, elder, younger)
    assert connection_set.to_retire(50.2, True) == (elder, ROTATION)
    connection_set.closed(elder)
    assert connection_set.wants_connection(50.2) is Need.SPARE


def test_younger_one_that_the_exchange_will_close_goes_and_the_elder_stays() -> None:
    connection_set, elder, younger = two_connection_set(wanted=2)
    hear(connection_set, 101.0, elder, younger)
    younger.leaving = SHUTDOWN
    assert connection_set.to_retire(101.5, True) == (younger, SHUTDOWN)
    connection_set.closed(younger)
    assert connection_set.wants_connection(101.5) is Need.SPARE


def test_of_two_that_are_to_go_the_elder_goes_first() -> None:
    connection_set, elder, younger = two_connection_set(wanted=2)
    hear(connection_set, 101.0, elder, younger)
    elder.leaving = younger.leaving = SHUTDOWN
    assert connection_set.to_retire(101.5, True) == (elder, SHUTDOWN)
    connection_set.closed(elder)
    assert connection_set.wants_connection(101.5) is Need.SUCCESSOR


def frozen(which: int, wanted: int = 2) -> tuple[ConnectionSet, ConnectionRecord, ConnectionRecord]:
    """Of two that spoke until second 200, one has fallen silent."""
    connection_set, *pair = two_connection_set(wanted)
    hear(connection_set, 200.0, *pair)
    return connection_set, pair[which], pair[1 - which]


EACH_SIDE = pytest.mark.parametrize("which", [0, 1])


@EACH_SIDE
def test_one_that_is_silent_while_the_other_speaks_is_let_go_at_half_the_limit(which: int) -> None:
    connection_set, silent, speaking = frozen(which)
    assert first_outgrown(connection_set, 200.25, 300.0, speaking) == (205.0, silent, STALLED)


@EACH_SIDE
def test_one_that_is_silent_is_given_a_moment_when_the_other_speaks_again(which: int) -> None:
    connection_set, silent, speaking = frozen(which)
    assert first_outgrown(connection_set, 230.0, 300.0, speaking) == (230.0 + GRACE, silent, STALLED)


@EACH_SIDE
def test_one_that_speaks_again_is_not_let_go(which: int) -> None:
    connection_set, silent, speaking = frozen(which)
    assert first_outgrown(connection_set, 230.0, 230.75, speaking) is None
    assert first_outgrown(connection_set, 230.75, 240.0, silent, speaking) is None


@EACH_SIDE
def test_each_silence_gives_a_moment_of_its_own(which: int) -> None:
    connection_set, silent, speaking = frozen(which)
    assert first_outgrown(connection_set, 210.0, 210.75, speaking) is None
    hear(connection_set, 220.0, silent)
    assert first_outgrown(connection_set, 226.0, 300.0, speaking) == (226.0 + GRACE, silent, STALLED)


@EACH_SIDE
def test_two_that_are_as_quiet_as_each_other_stay(which: int) -> None:
    connection_set, first, second = frozen(which)
    for now in (206.0, 212.0, 224.0):
        hear(connection_set, now, first)
        hear(connection_set, now + 0.01, second)
        assert first_outgrown(connection_set, now + 0.25, now + SILENCE) is None


def test_end_of_one_takes_back_what_the_other_was_suspected_of() -> None:
    connection_set, silent, speaking = frozen(0)
    assert first_outgrown(connection_set, 230.0, 230.75, speaking) is None
    connection_set.closed(speaking)
    third = opened(connection_set, 231.0)
    assert first_outgrown(connection_set, 231.5, 300.0, third) == (231.5 + GRACE, silent, STALLED)


def test_probe_that_delivers_where_the_first_does_not_replaces_it() -> None:
    connection_set, elder, younger = two_connection_set()
    assert first_outgrown(connection_set, 105.0, 300.0, younger) == (105.0 + GRACE, elder, STALLED)


@EACH_SIDE
@pytest.mark.parametrize("reason", [ROTATION, SHUTDOWN])
def test_one_that_has_fallen_silent_takes_the_place_of_none(which: int, reason: DisconnectReason) -> None:
    connection_set, silent, speaking = frozen(which)
    assert first_outgrown(connection_set, 200.25, 202.0, speaking) is None
    speaking.leaving = reason
    assert first_outgrown(connection_set, 202.0, 300.0, speaking) == (205.0, silent, STALLED)


def test_spare_that_has_fallen_silent_is_not_what_stays_when_one_is_enough() -> None:
    connection_set, silent, speaking = frozen(1)
    assert first_outgrown(connection_set, 200.25, 202.0, speaking) is None
    connection_set.wanted = 1
    assert first_outgrown(connection_set, 202.0, 300.0, speaking) == (205.0, silent, STALLED)


@pytest.mark.parametrize("wanted", [1, 2])
def test_if_neither_delivers_the_elder_makes_room_for_another_attempt_ever_more_rarely(wanted: int) -> None:
    connection_set, elder, _ = two_connection_set(wanted)
    assert connection_set.to_retire(100.0 + SILENCE - 0.001, True) is None
    assert connection_set.to_retire(100.0 + SILENCE, True) == (elder, STALLED)
    connection_set.closed(elder)
    at = 100.0 + SILENCE
    for pause in (FIRST_PROBE_PAUSE, 2.0 * FIRST_PROBE_PAUSE):
        opened(connection_set, at)
        next_elder = next(iter(connection_set))
        assert connection_set.to_retire(at + pause - 0.001, True) is None
        assert connection_set.to_retire(at + pause, True) == (next_elder, STALLED)
        connection_set.closed(next_elder)
        at += pause


def test_probe_of_a_first_that_was_only_quiet_takes_its_place() -> None:
    connection_set, elder, younger = two_connection_set()
    hear(connection_set, 101.0, elder, younger)
    assert connection_set.to_retire(101.0 + OVERLAP_SECONDS - 0.001, True) is None
    assert connection_set.to_retire(101.0 + OVERLAP_SECONDS, False) is None
    assert connection_set.to_retire(101.0 + OVERLAP_SECONDS, True) == (elder, ROTATION)


@pytest.mark.parametrize("spoke_at", [99.0, 100.0])
def test_first_that_has_not_spoken_since_the_probe_is_not_taken_for_quiet(spoke_at: float) -> None:
    connection_set, elder, younger = two_connection_set()
    elder.last_at = spoke_at
    hear(connection_set, 101.0, younger)
    assert connection_set.to_retire(101.0 + OVERLAP_SECONDS, True) is None


def test_first_that_speaks_stays_until_the_probe_does() -> None:
    connection_set, elder, _ = two_connection_set()
    for now in range(101, 200):
        hear(connection_set, float(now), elder)
        if now < 105:
            assert connection_set.to_retire(float(now), True) is None


def test_two_that_are_wanted_stay() -> None:
    connection_set, elder, younger = two_connection_set(wanted=2)
    for now in range(101, 300):
        hear(connection_set, float(now), elder, younger)
        assert connection_set.to_retire(float(now), True) is None
    connection_set.wanted = 1
    assert connection_set.to_retire(300.0, True) == (elder, ROTATION)


def leaving(record: ConnectionRecord) -> None:
    record.leaving = SHUTDOWN


@pytest.mark.parametrize(
    ("wanted", "prepare", "expected"),
    [
        (1, lambda elder, younger: None, RECHECK_SECONDS),
        (2, lambda elder, younger: None, GRACE),
        (2, lambda elder, younger: leaving(elder), RECHECK_SECONDS),
        (2, lambda elder, younger: leaving(younger), RECHECK_SECONDS),
    ],
)
def test_two_are_looked_at_often_while_one_of_them_is_about_to_go(
    wanted: int, prepare: Callable[[ConnectionRecord, ConnectionRecord], None], expected: float
) -> None:
    connection_set, elder, younger = two_connection_set(wanted)
    prepare(elder, younger)
    assert connection_set.next_decision_at(101.0) == 101.0 + expected


@pytest.mark.parametrize(
    ("renew_at", "spoke_at", "now", "expected"),
    [
        (RENEW_AT, None, 1.0, SILENCE),
        (RENEW_AT, 70.0, 71.0, 70.0 + SILENCE),
        (72.0, 70.0, 71.0, 72.0),
        (RENEW_AT, 70.0, 90.0, 90.0),
    ],
)
def test_one_is_looked_at_when_it_is_to_be_renewed_or_probed(
    renew_at: float, spoke_at: float | None, now: float, expected: float
) -> None:
    connection_set = new_connection_set()
    record = opened(connection_set, 0.0, renew_at)
    record.last_at = spoke_at
    assert connection_set.next_decision_at(now) == expected


def test_one_that_is_about_to_go_is_looked_at_when_it_is_to_be_probed() -> None:
    connection_set = new_connection_set()
    leaving(opened(connection_set, 0.0, renew_at=2.0))
    assert connection_set.next_decision_at(1.0) == SILENCE


def test_feed_without_a_connection_is_looked_at_now() -> None:
    assert new_connection_set().next_decision_at(7.0) == 7.0


TICK = 0.1
FAULTS = ("mute", "reset", "shutdown", "renew")


@dataclass
class Story:
    """A feed as its owner runs it, one tick after the other; what it decides is checked at each."""

    wanted: int
    dialling_ticks: int
    connection_set: ConnectionSet = field(init=False)
    now: float = 0.0
    last_at: float = 0.0
    """When a message last came, on any connection."""
    is_quiet: bool = False
    muted: set[ConnectionRecord] = field(default_factory=set)
    dialled: int = 0
    """Ticks until the connection that is being opened is there."""

    def __post_init__(self) -> None:
        self.connection_set = new_connection_set(self.wanted)

    def passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += TICK
            self.speak()
            self.look()
            self.dial()

    def speak(self) -> None:
        speaking = [
            record for record in self.connection_set if record not in self.muted and not self.is_quiet
        ]
        hear(self.connection_set, self.now, *speaking)
        if speaking:
            self.last_at = self.now

    def look(self) -> None:
        before = [*self.connection_set]
        to_retire = self.connection_set.to_retire(self.now, True)
        if to_retire is None:
            return
        goes, reason = to_retire
        (stays,) = (record for record in before if record is not goes)
        if goes.last_at is not None and stays.last_at is not None:
            assert stays.last_at >= goes.last_at - GRACE - TICK
        assert stays.last_at is not None or self.now - goes.heard_at >= SILENCE - TICK
        assert reason in (STALLED, goes.leaving or ROTATION)
        self.connection_set.closed(goes)

    def dial(self) -> None:
        if self.connection_set.is_dialling:
            self.dialled -= 1
            if self.dialled <= 0:
                self.connection_set.dialling(False)
                opened(self.connection_set, self.now, renew_at=self.now + RENEW_AT)
        elif (need := self.connection_set.wants_connection(self.now)) is not None:
            assert (need is Need.FIRST) == (len(self.connection_set) == 0)
            self.connection_set.dialling(True)
            self.dialled = self.dialling_ticks
            if need is Need.PROBE:
                self.connection_set.probing(self.now)
        assert len(self.connection_set) + self.connection_set.is_dialling <= LINKS_MAX

    def meets(self, fault: str, side: int) -> None:
        """Let something happen to one of the open connections."""
        affected = [*self.connection_set][side : side + 1]
        for record in affected:
            match fault:
                case "mute":
                    self.muted.add(record)
                case "reset":
                    self.connection_set.closed(record)
                case "shutdown":
                    record.leaving = SHUTDOWN
                case _:
                    record.renew_at = self.now


STORIES = st.builds(Story, st.integers(1, LINKS_MAX), st.integers(1, 8))
PAUSES = st.sampled_from((1, 3, 10, 40, 90))
HAPPENINGS = st.lists(
    st.tuples(PAUSES, st.sampled_from((*FAULTS, "quiet", "want")), st.integers(0, 1)), max_size=15
)


@given(STORIES, HAPPENINGS)
def test_any_story_ends_only_what_another_has_outlived(
    story: Story, happenings: Iterable[tuple[int, str, int]]
) -> None:
    for ticks, happening, side in happenings:
        story.passes(ticks)
        if happening == "quiet":
            story.is_quiet = not story.is_quiet
        elif happening == "want":
            story.connection_set.wanted = 1 + side
        else:
            story.meets(happening, side)
    story.passes(20)
    assert len(story.connection_set) > 0


@given(STORIES, st.lists(st.tuples(PAUSES, st.sampled_from(FAULTS), st.integers(0, 1)), max_size=3))
def test_any_one_fault_is_healed_before_the_limit(
    story: Story, faults: Iterable[tuple[int, str, int]]
) -> None:
    story.passes(20)
    for ticks, fault, side in faults:
        story.passes(ticks)
        story.meets(fault, side)
        for _ in range(250):
            story.passes(1)
            assert story.now - story.last_at < STALE_AFTER - 2.0
        assert len(story.connection_set) == story.wanted


@given(st.integers(0, 300), st.lists(st.tuples(st.booleans(), st.integers(1, 640)), max_size=30))
def test_any_look_comes_when_something_is_needed_and_not_before(
    renew_at: int, words: Iterable[tuple[bool, int]]
) -> None:
    connection_set, now = new_connection_set(), 0.0
    record = opened(connection_set, now, float(renew_at))
    for speaks, steps in words:
        look_at = connection_set.next_decision_at(now)
        connection_set.to_retire(now, True)
        need = connection_set.wants_connection(now)
        if need is Need.PROBE:
            connection_set.probing(now)
        if need is not None:
            continue
        earlier = min(now + steps / 64, look_at - 1 / 64)
        connection_set.to_retire(earlier, True)
        assert (earlier >= now, connection_set.wants_connection(earlier)) == (True, None)
        if speaks:
            now = earlier
            hear(connection_set, now, record)
        else:
            now = look_at
            connection_set.to_retire(now, True)
            assert connection_set.wants_connection(now) is not None


def test_two_silent_connections_are_healed_as_soon_as_one_would_be() -> None:
    story = Story(2, 3)
    story.passes(50)
    for side in (0, 1):
        story.meets("mute", side)
    for _ in range(1_000):
        story.passes(1)
        assert story.now - story.last_at < STALE_AFTER


def test_two_are_looked_at_when_one_is_to_be_renewed() -> None:
    connection_set = new_connection_set(2, stale_after=600.0)
    opened(connection_set, 0.0, renew_at=50.0)
    opened(connection_set, 1.0)
    assert connection_set.next_decision_at(40.0) <= 50.0


def test_first_message_is_noted_once_and_the_newest_each_time() -> None:
    record = ConnectionRecord("ws://host", 0.0, 100.0)
    record.received(1.0)
    record.received(2.0)
    assert (record.first_at, record.last_at, record.heard_at) == (1.0, 2.0, 2.0)


def test_connection_that_leaves_is_to_be_replaced() -> None:
    connection_set = new_connection_set()
    record = connection_set.opened("ws://host", 0.0, 100.0)
    assert connection_set.wants_connection(1.0) is None
    record.leave(DisconnectReason.SERVER_SHUTDOWN)
    assert connection_set.wants_connection(1.0) is Need.SUCCESSOR


def test_other_policy_wants_another_connection() -> None:
    connection_set = new_connection_set()
    connection_set.opened("ws://host", 0.0, 100.0)
    connection_set.apply_policy(2, 8.0)
    assert connection_set.wants_connection(1.0) is Need.SPARE
    assert (connection_set.silence, connection_set.grace) == (4.0, 0.8)
