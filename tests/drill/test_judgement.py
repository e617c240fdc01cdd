"""Right or wrong, and what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedd.drill.case import Case, fault
from feedd.drill.durations import DurationLimits, Span
from feedd.drill.gate_change import ObservedChange
from feedd.drill.judgement import Observation, judge
from feedd.model import Reason

LIMITS = DurationLimits(stale=2.0, latency=0.5, resume=1.0, status=1.0, window=3.0)
STALE, DISCONNECTED, SCHEMA = Reason.STALE, Reason.DISCONNECTED, Reason.SCHEMA
HARM = Case(
    name="mute",
    does=(fault("mute"),),
    expected=STALE,
    also=frozenset({DISCONNECTED}),
    halt=Span(seconds=1, stale=1),
)
HARMLESS = Case(name="duplicate", does=(fault("duplicate"),))
WALL = 1_700_000_000.0


def change(at: float, *reasons: Reason, added: tuple[Reason, ...] = ()) -> ObservedChange:
    return ObservedChange(at=at, reported_at=WALL + at, symbol="BTCUSDT", added=added, reasons=reasons)


HALTED = change(2.1, STALE, added=(STALE,))
RESUMED = change(4.3)
SEEN = Observation("BTCUSDT", began=0.0, over=3.0, changes=(HALTED, RESUMED))


def problems(seen: Observation, case: Case = HARM) -> tuple[str, ...]:
    return judge(case, LIMITS, seen).problems


def test_harm_that_halts_and_resumes_as_it_should_is_right() -> None:
    outcome = judge(HARM, LIMITS, SEEN)
    assert outcome.is_right
    assert outcome.reasons == (STALE,)
    assert outcome.halted_after == 2.1
    assert outcome.resumed_after == pytest.approx(1.3)


def test_resume_of_what_is_over_at_once_counts_from_the_halt() -> None:
    outcome = judge(HARM, LIMITS, replace(SEEN, over=None, changes=(HALTED, change(3.5))))
    assert outcome.is_right
    assert outcome.resumed_after == pytest.approx(1.4)


def test_harm_that_does_not_halt_is_wrong() -> None:
    assert problems(replace(SEEN, changes=())) == ("not halted for stale within 3.0 s",)


def test_harm_that_halts_for_another_reason_is_wrong_and_says_what_was_seen() -> None:
    outcome = judge(HARM, LIMITS, replace(SEEN, changes=(change(0.1, SCHEMA, added=(SCHEMA,)), RESUMED)))
    assert outcome.problems == ("not halted for stale within 3.0 s",)
    assert outcome.reasons == (SCHEMA,)


def test_harm_that_halts_too_late_is_wrong() -> None:
    late = change(3.2, STALE, added=(STALE,))
    assert problems(replace(SEEN, over=3.5, changes=(late, change(5.0)))) == (
        "halted after 3.20 s, later than 3.0 s",
    )


def test_other_reasons_are_wrong_unless_they_are_expected_besides() -> None:
    also = change(2.2, STALE, DISCONNECTED, added=(DISCONNECTED,))
    assert problems(replace(SEEN, changes=(HALTED, also, RESUMED))) == ()
    other = change(2.2, STALE, SCHEMA, added=(SCHEMA,))
    assert problems(replace(SEEN, changes=(HALTED, other, RESUMED))) == ("halted for schema as well",)


def test_gate_that_opens_while_the_harm_lasts_is_wrong() -> None:
    again = change(2.9, STALE, added=(STALE,))
    assert problems(replace(SEEN, changes=(HALTED, change(2.5), again, RESUMED))) == ("open while it lasted",)


@pytest.mark.parametrize("changes", [(HALTED,), (HALTED, change(5.1))])
def test_gate_that_does_not_open_in_time_is_wrong(changes: tuple[ObservedChange, ...]) -> None:
    assert problems(replace(SEEN, changes=changes)) == ("not open within 2.0 s of its end",)


def test_daemon_has_the_pause_that_it_tells_of_to_reconnect() -> None:
    assert problems(replace(SEEN, changes=(HALTED, change(5.1)), pause=0.5)) == ()


def test_gate_that_opens_without_a_spell_of_good_data_is_wrong() -> None:
    assert problems(replace(SEEN, over=None, changes=(HALTED, change(2.9)))) == (
        "open after less than 1 s of good data",
    )


@pytest.mark.parametrize("reason", [Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.EXCHANGE])
def test_what_comes_from_outside_lifts_at_once(reason: Reason) -> None:
    seen = replace(SEEN, over=None, changes=(change(0.2, reason, added=(reason,)), change(0.3)))
    assert problems(seen, replace(HARM, expected=reason)) == ()


def test_nobody_waits_for_what_is_slow() -> None:
    outcome = judge(replace(HARM, is_slow=True), LIMITS, replace(SEEN, changes=(HALTED,)))
    assert outcome.is_right
    assert outcome.resumed_after is None


def test_harmless_oddity_that_halts_nothing_is_right() -> None:
    outcome = judge(HARMLESS, LIMITS, replace(SEEN, changes=()))
    assert outcome.is_right
    assert (outcome.reasons, outcome.halted_after, outcome.resumed_after) == ((), None, None)


def test_harmless_oddity_that_halts_is_wrong() -> None:
    assert problems(SEEN, HARMLESS) == ("halted for stale",)


@pytest.mark.parametrize("case", [HARM, HARMLESS])
def test_what_did_not_show_or_touched_others_is_wrong(case: Case) -> None:
    changes = SEEN.changes if case is HARM else ()
    seen = replace(SEEN, changes=changes, unproven=("a counter rises by 1",), troubles=("ETHUSDT changed",))
    assert problems(seen, case) == ("no sign of it: a counter rises by 1", "ETHUSDT changed")
    assert problems(replace(seen, changes=(), unproven=()), HARM)[1:] == ("ETHUSDT changed",)
