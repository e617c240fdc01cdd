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
    LOOK_SECONDS,
    OVERLAP_SECONDS,
    Link,
    Links,
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


def new_links(wanted: int = 1, stale_after: float = STALE_AFTER) -> Links:
    return Links(wanted, stale_after)


def opened(links: Links, now: float, renew_at: float = RENEW_AT) -> Link:
    return links.opened("wss://exchange", now, renew_at)


def hear(links: Links, now: float, *speaking: Link) -> None:
    """Let connections deliver a message; the first one is noted while there are two."""
    for link in speaking:
        link.last_at = now
        if len(links) > 1 and link.first_at is None:
            link.first_at = now


def two_links(wanted: int = 1) -> tuple[Links, Link, Link]:
    """A second connection was opened at second 100, beside one that had spoken until then."""
    links = new_links(wanted)
    elder = opened(links, 0.0)
    hear(links, 100.0, elder)
    return links, elder, opened(links, 100.0)


def first_outgrown(
    links: Links, start: float, end: float, *speaking: Link
) -> tuple[float, Link, DisconnectReason] | None:
    """Let connections speak four times a second. Returns when one is to be closed, which, and why."""
    for quarter in range(round(start * 4), round(end * 4)):
        hear(links, quarter / 4, *speaking)
        if (outgrown := links.outgrown(quarter / 4, True)) is not None:
            return quarter / 4, *outgrown
    return None


def test_thresholds_follow_the_limit() -> None:
    links = new_links()
    assert (links.silence, links.grace) == (SILENCE, GRACE)
    links.stale_after = 1.0
    assert (links.silence, links.grace) == (0.5, 0.1)


def test_open_connections_are_listed_the_eldest_first() -> None:
    links, elder, younger = two_links()
    assert (list(links), len(links)) == ([elder, younger], 2)
    links.closed(elder)
    assert (list(links), len(links)) == ([younger], 1)


def test_connection_is_heard_from_its_opening_on() -> None:
    links = new_links()
    link = opened(links, 7.0)
    assert (link.url, link.heard_at) == ("wss://exchange", 7.0)
    hear(links, 8.0, link)
    assert link.heard_at == 8.0


def test_one_that_had_spoken_alone_delivers_since_then() -> None:
    links = new_links()
    elder = opened(links, 0.0)
    hear(links, 90.0, elder)
    assert elder.first_at is None
    younger = opened(links, 100.0)
    assert [elder.first_at, younger.first_at] == [90.0, None]
    links.closed(younger)
    hear(links, 200.0, elder)
    opened(links, 201.0)
    assert elder.first_at == 90.0


def test_feed_without_a_connection_needs_its_first() -> None:
    assert new_links().need(0.0) is Need.FIRST


def test_nothing_more_is_needed_while_one_is_being_opened() -> None:
    links = new_links()
    links.dialling = True
    assert links.need(0.0) is None


@pytest.mark.parametrize("leaving", [None, ROTATION, SHUTDOWN])
def test_there_are_never_more_than_two(leaving: DisconnectReason | None) -> None:
    links, elder, younger = two_links(wanted=LINKS_MAX)
    elder.leaving = younger.leaving = leaving
    assert links.need(10_000.0) is None


def test_one_that_delivers_is_enough_unless_two_are_wanted() -> None:
    links = new_links()
    opened(links, 0.0)
    assert links.need(1.0) is None
    links.wanted = 2
    assert links.need(1.0) is Need.SPARE


def test_one_that_the_exchange_will_close_needs_a_successor() -> None:
    links = new_links()
    opened(links, 0.0).leaving = SHUTDOWN
    assert links.need(1.0) is Need.SUCCESSOR


def test_one_that_is_to_be_renewed_needs_another_first() -> None:
    links = new_links()
    link = opened(links, 0.0, renew_at=50.0)
    hear(links, 49.9, link)
    assert (links.outgrown(49.999, True), links.need(49.999)) == (None, None)
    assert (links.outgrown(50.0, True), links.need(50.0)) == (None, Need.SPARE)
    assert link.leaving is ROTATION


def test_announced_end_is_not_taken_for_a_renewal() -> None:
    links = new_links()
    link = opened(links, 0.0, renew_at=50.0)
    link.leaving = SHUTDOWN
    links.outgrown(50.0, True)
    assert links.need(50.0) is Need.SUCCESSOR


def test_one_that_is_silent_for_half_the_limit_is_probed() -> None:
    links = new_links()
    link = opened(links, 0.0)
    hear(links, 20.0, link)
    assert (links.is_suspect(20.0 + SILENCE - 0.001), links.need(20.0 + SILENCE - 0.001)) == (False, None)
    assert (links.is_suspect(20.0 + SILENCE), links.need(20.0 + SILENCE)) == (True, Need.PROBE)


def test_one_that_never_spoke_is_probed_half_the_limit_after_its_opening() -> None:
    links = new_links()
    opened(links, 20.0)
    assert [links.need(20.0 + SILENCE - 0.001), links.need(20.0 + SILENCE)] == [None, Need.PROBE]


def test_feed_is_suspect_only_if_nobody_speaks() -> None:
    links, elder, younger = two_links()
    assert not new_links().is_suspect(1_000.0)
    hear(links, 110.0, younger)
    assert not links.is_suspect(110.0 + SILENCE - 0.001)
    assert links.is_suspect(110.0 + SILENCE)
    hear(links, 120.0, elder)
    assert not links.is_suspect(120.0)


def probe_times(links: Links, link: Link, until: float) -> list[float]:
    """Probe in vain whenever that is needed, and return when, as seconds of silence."""
    times, now = [], link.heard_at
    while now < until:
        if links.need(now) is Need.PROBE:
            links.probing(now)
            times.append(now - link.heard_at)
        now += SILENCE
    return times


def test_probes_in_vain_come_ever_more_seldom() -> None:
    links = new_links()
    link = opened(links, 0.0)
    times = probe_times(links, link, 20_000.0)
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
    links = new_links()
    link = opened(links, 0.0)
    links.probing(5.0)
    hear(links, spoke_at, link)
    assert [links.need(probed_at - 0.001), links.need(probed_at)] == [None, Need.PROBE]


def test_probe_that_healed_the_feed_makes_the_next_one_come_at_once() -> None:
    links, elder, younger = two_links()
    links.probing(99.0)
    assert first_outgrown(links, 105.0, 110.0, younger) == (106.0, elder, STALLED)
    links.closed(elder)
    assert links.need(106.0 + SILENCE) is Need.PROBE


@pytest.mark.parametrize("leaving", [None, ROTATION, SHUTDOWN])
def test_only_connection_is_never_outgrown(leaving: DisconnectReason | None) -> None:
    links = new_links()
    link = opened(links, 0.0, renew_at=50.0)
    link.leaving = leaving
    link.alone_since = 0.0
    assert links.outgrown(100_000.0, True) is None


def test_nothing_is_outgrown_where_there_is_nothing() -> None:
    assert new_links().outgrown(0.0, True) is None


@pytest.mark.parametrize("reason", [ROTATION, SHUTDOWN])
def test_one_that_is_to_go_goes_once_the_other_has_delivered_for_a_while(reason: DisconnectReason) -> None:
    links, elder, younger = two_links()
    elder.leaving = reason
    hear(links, 101.0, elder)
    assert links.outgrown(101.0 + OVERLAP_SECONDS, True) is None
    hear(links, 102.0, elder, younger)
    assert links.outgrown(102.0 + OVERLAP_SECONDS - 0.001, True) is None
    assert links.outgrown(102.0 + OVERLAP_SECONDS, False) is None
    assert links.outgrown(102.0 + OVERLAP_SECONDS, True) == (elder, reason)


def test_renewal_that_falls_due_beside_a_spare_is_made_at_once() -> None:
    links = new_links(wanted=2)
    elder, younger = opened(links, 0.0, renew_at=50.0), opened(links, 1.0)
    hear(links, 49.9, elder, younger)
    assert links.outgrown(49.99, True) is None
    hear(links, 50.2, elder, younger)
    assert links.outgrown(50.2, True) == (elder, ROTATION)
    links.closed(elder)
    assert links.need(50.2) is Need.SPARE


def test_younger_one_that_the_exchange_will_close_goes_and_the_elder_stays() -> None:
    links, elder, younger = two_links(wanted=2)
    hear(links, 101.0, elder, younger)
    younger.leaving = SHUTDOWN
    assert links.outgrown(101.5, True) == (younger, SHUTDOWN)
    links.closed(younger)
    assert links.need(101.5) is Need.SPARE


def test_of_two_that_are_to_go_the_elder_goes_first() -> None:
    links, elder, younger = two_links(wanted=2)
    hear(links, 101.0, elder, younger)
    elder.leaving = younger.leaving = SHUTDOWN
    assert links.outgrown(101.5, True) == (elder, SHUTDOWN)
    links.closed(elder)
    assert links.need(101.5) is Need.SUCCESSOR


def frozen(which: int, wanted: int = 2) -> tuple[Links, Link, Link]:
    """Of two that spoke until second 200, one has fallen silent."""
    links, *pair = two_links(wanted)
    hear(links, 200.0, *pair)
    return links, pair[which], pair[1 - which]


EACH_SIDE = pytest.mark.parametrize("which", [0, 1])


@EACH_SIDE
def test_one_that_is_silent_while_the_other_speaks_is_let_go_at_half_the_limit(which: int) -> None:
    links, silent, speaking = frozen(which)
    assert first_outgrown(links, 200.25, 300.0, speaking) == (205.0, silent, STALLED)


@EACH_SIDE
def test_one_that_is_silent_is_given_a_moment_when_the_other_speaks_again(which: int) -> None:
    links, silent, speaking = frozen(which)
    assert first_outgrown(links, 230.0, 300.0, speaking) == (230.0 + GRACE, silent, STALLED)


@EACH_SIDE
def test_one_that_speaks_again_is_not_let_go(which: int) -> None:
    links, silent, speaking = frozen(which)
    assert first_outgrown(links, 230.0, 230.75, speaking) is None
    assert first_outgrown(links, 230.75, 240.0, silent, speaking) is None


@EACH_SIDE
def test_each_silence_gives_a_moment_of_its_own(which: int) -> None:
    links, silent, speaking = frozen(which)
    assert first_outgrown(links, 210.0, 210.75, speaking) is None
    hear(links, 220.0, silent)
    assert first_outgrown(links, 226.0, 300.0, speaking) == (226.0 + GRACE, silent, STALLED)


@EACH_SIDE
def test_two_that_are_as_quiet_as_each_other_stay(which: int) -> None:
    links, first, second = frozen(which)
    for now in (206.0, 212.0, 224.0):
        hear(links, now, first)
        hear(links, now + 0.01, second)
        assert first_outgrown(links, now + 0.25, now + SILENCE) is None


def test_end_of_one_takes_back_what_the_other_was_suspected_of() -> None:
    links, silent, speaking = frozen(0)
    assert first_outgrown(links, 230.0, 230.75, speaking) is None
    links.closed(speaking)
    third = opened(links, 231.0)
    assert first_outgrown(links, 231.5, 300.0, third) == (231.5 + GRACE, silent, STALLED)


def test_probe_that_delivers_where_the_first_does_not_replaces_it() -> None:
    links, elder, younger = two_links()
    assert first_outgrown(links, 105.0, 300.0, younger) == (105.0 + GRACE, elder, STALLED)


@EACH_SIDE
@pytest.mark.parametrize("reason", [ROTATION, SHUTDOWN])
def test_one_that_has_fallen_silent_takes_the_place_of_none(which: int, reason: DisconnectReason) -> None:
    links, silent, speaking = frozen(which)
    assert first_outgrown(links, 200.25, 202.0, speaking) is None
    speaking.leaving = reason
    assert first_outgrown(links, 202.0, 300.0, speaking) == (205.0, silent, STALLED)


def test_spare_that_has_fallen_silent_is_not_what_stays_when_one_is_enough() -> None:
    links, silent, speaking = frozen(1)
    assert first_outgrown(links, 200.25, 202.0, speaking) is None
    links.wanted = 1
    assert first_outgrown(links, 202.0, 300.0, speaking) == (205.0, silent, STALLED)


@pytest.mark.parametrize("wanted", [1, 2])
def test_if_neither_delivers_the_elder_makes_room_for_another_attempt_ever_more_rarely(wanted: int) -> None:
    links, elder, _ = two_links(wanted)
    assert links.outgrown(100.0 + SILENCE - 0.001, True) is None
    assert links.outgrown(100.0 + SILENCE, True) == (elder, STALLED)
    links.closed(elder)
    at = 100.0 + SILENCE
    for pause in (FIRST_PROBE_PAUSE, 2.0 * FIRST_PROBE_PAUSE):
        opened(links, at)
        next_elder = next(iter(links))
        assert links.outgrown(at + pause - 0.001, True) is None
        assert links.outgrown(at + pause, True) == (next_elder, STALLED)
        links.closed(next_elder)
        at += pause


def test_probe_of_a_first_that_was_only_quiet_takes_its_place() -> None:
    links, elder, younger = two_links()
    hear(links, 101.0, elder, younger)
    assert links.outgrown(101.0 + OVERLAP_SECONDS - 0.001, True) is None
    assert links.outgrown(101.0 + OVERLAP_SECONDS, False) is None
    assert links.outgrown(101.0 + OVERLAP_SECONDS, True) == (elder, ROTATION)


@pytest.mark.parametrize("spoke_at", [99.0, 100.0])
def test_first_that_has_not_spoken_since_the_probe_is_not_taken_for_quiet(spoke_at: float) -> None:
    links, elder, younger = two_links()
    elder.last_at = spoke_at
    hear(links, 101.0, younger)
    assert links.outgrown(101.0 + OVERLAP_SECONDS, True) is None


def test_first_that_speaks_stays_until_the_probe_does() -> None:
    links, elder, _ = two_links()
    for now in range(101, 200):
        hear(links, float(now), elder)
        if now < 105:
            assert links.outgrown(float(now), True) is None


def test_two_that_are_wanted_stay() -> None:
    links, elder, younger = two_links(wanted=2)
    for now in range(101, 300):
        hear(links, float(now), elder, younger)
        assert links.outgrown(float(now), True) is None
    links.wanted = 1
    assert links.outgrown(300.0, True) == (elder, ROTATION)


def leaving(link: Link) -> None:
    link.leaving = SHUTDOWN


@pytest.mark.parametrize(
    ("wanted", "prepare", "expected"),
    [
        (1, lambda elder, younger: None, LOOK_SECONDS),
        (2, lambda elder, younger: None, GRACE),
        (2, lambda elder, younger: leaving(elder), LOOK_SECONDS),
        (2, lambda elder, younger: leaving(younger), LOOK_SECONDS),
    ],
)
def test_two_are_looked_at_often_while_one_of_them_is_about_to_go(
    wanted: int, prepare: Callable[[Link, Link], None], expected: float
) -> None:
    links, elder, younger = two_links(wanted)
    prepare(elder, younger)
    assert links.next_look(101.0) == 101.0 + expected


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
    links = new_links()
    link = opened(links, 0.0, renew_at)
    link.last_at = spoke_at
    assert links.next_look(now) == expected


def test_one_that_is_about_to_go_is_looked_at_when_it_is_to_be_probed() -> None:
    links = new_links()
    leaving(opened(links, 0.0, renew_at=2.0))
    assert links.next_look(1.0) == SILENCE


def test_feed_without_a_connection_is_looked_at_now() -> None:
    assert new_links().next_look(7.0) == 7.0


TICK = 0.1
FAULTS = ("mute", "reset", "shutdown", "renew")


@dataclass
class Story:
    """A feed as its owner runs it, one tick after the other; what it decides is checked at each."""

    wanted: int
    dialling_ticks: int
    links: Links = field(init=False)
    now: float = 0.0
    last_at: float = 0.0
    """When a message last came, on any connection."""
    is_quiet: bool = False
    muted: set[Link] = field(default_factory=set)
    dialled: int = 0
    """Ticks until the connection that is being opened is there."""

    def __post_init__(self) -> None:
        self.links = new_links(self.wanted)

    def passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.now += TICK
            self.speak()
            self.look()
            self.dial()

    def speak(self) -> None:
        speaking = [link for link in self.links if link not in self.muted and not self.is_quiet]
        hear(self.links, self.now, *speaking)
        if speaking:
            self.last_at = self.now

    def look(self) -> None:
        before = [*self.links]
        outgrown = self.links.outgrown(self.now, True)
        if outgrown is None:
            return
        goes, reason = outgrown
        (stays,) = (link for link in before if link is not goes)
        if goes.last_at is not None and stays.last_at is not None:
            assert stays.last_at >= goes.last_at - GRACE - TICK
        assert stays.last_at is not None or self.now - goes.heard_at >= SILENCE - TICK
        assert reason in (STALLED, goes.leaving or ROTATION)
        self.links.closed(goes)

    def dial(self) -> None:
        if self.links.dialling:
            self.dialled -= 1
            if self.dialled <= 0:
                self.links.dialling = False
                opened(self.links, self.now, renew_at=self.now + RENEW_AT)
        elif (need := self.links.need(self.now)) is not None:
            assert (need is Need.FIRST) == (len(self.links) == 0)
            self.links.dialling, self.dialled = True, self.dialling_ticks
            if need is Need.PROBE:
                self.links.probing(self.now)
        assert len(self.links) + self.links.dialling <= LINKS_MAX

    def meets(self, fault: str, side: int) -> None:
        """Let something happen to one of the open connections."""
        affected = [*self.links][side : side + 1]
        for link in affected:
            match fault:
                case "mute":
                    self.muted.add(link)
                case "reset":
                    self.links.closed(link)
                case "shutdown":
                    link.leaving = SHUTDOWN
                case _:
                    link.renew_at = self.now


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
            story.links.wanted = 1 + side
        else:
            story.meets(happening, side)
    story.passes(20)
    assert len(story.links) > 0


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
        assert len(story.links) == story.wanted


@given(st.integers(0, 300), st.lists(st.tuples(st.booleans(), st.integers(1, 640)), max_size=30))
def test_any_look_comes_when_something_is_needed_and_not_before(
    renew_at: int, words: Iterable[tuple[bool, int]]
) -> None:
    links, now = new_links(), 0.0
    link = opened(links, now, float(renew_at))
    for speaks, steps in words:
        look_at = links.next_look(now)
        links.outgrown(now, True)
        need = links.need(now)
        if need is Need.PROBE:
            links.probing(now)
        if need is not None:
            continue
        earlier = min(now + steps / 64, look_at - 1 / 64)
        links.outgrown(earlier, True)
        assert (earlier >= now, links.need(earlier)) == (True, None)
        if speaks:
            now = earlier
            hear(links, now, link)
        else:
            now = look_at
            links.outgrown(now, True)
            assert links.need(now) is not None


def test_two_silent_connections_are_healed_as_soon_as_one_would_be() -> None:
    story = Story(2, 3)
    story.passes(50)
    for side in (0, 1):
        story.meets("mute", side)
    for _ in range(1_000):
        story.passes(1)
        assert story.now - story.last_at < STALE_AFTER


def test_two_are_looked_at_when_one_is_to_be_renewed() -> None:
    links = new_links(2, stale_after=600.0)
    opened(links, 0.0, renew_at=50.0)
    opened(links, 1.0)
    assert links.next_look(40.0) <= 50.0
