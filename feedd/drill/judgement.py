"""Judges a case: compares what was observed with what was expected, and words each deviation. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from feedd.drill.case import Case
from feedd.drill.durations import DurationLimits
from feedd.drill.gate_change import ObservedChange
from feedd.model import Reason

PROMPT = frozenset({Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.EXCHANGE})
"""These lift as soon as their cause has ended and data is good; all others need a period of good data."""
TIME_PRECISION = 0.005
"""The daemon reports the times of changes in milliseconds."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was observed of one symbol while a case ran. Times are monotonic seconds."""

    symbol: str
    began: float
    """Just before its first step."""
    over: float | None
    """When what lasts was ended or ended by itself; None where it was over at once."""
    changes: tuple[ObservedChange, ...]
    """All changes of the symbol's gate since the first step."""
    pause: float = 0.0
    """The longest pause between attempts to connect that the daemon reported."""
    unproven: tuple[str, ...] = ()
    """The proofs that did not show."""
    troubles: tuple[str, ...] = ()
    """Errors while the case ran, and changes of symbols that no case was about."""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons that became active, each once, in order."""
        return tuple(dict.fromkeys(reason for change in self.changes for reason in change.added))

    def halt(self, reason: Reason) -> ObservedChange | None:
        """Find the change by which a reason became active."""
        return next((change for change in self.changes if reason in change.added), None)

    def resumed(self, halted: ObservedChange) -> ObservedChange | None:
        """Find the change by which the gate opened again, after the halt and the end of the fault."""
        over = halted.at if self.over is None else max(self.over, halted.at)
        return next((change for change in self.changes if not change.halted and change.at >= over), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the drill's table."""

    case: Case
    symbol: str
    reasons: tuple[Reason, ...]
    """The reasons that became active."""
    halted_after: float | None
    """Seconds until the gate halted for the expected reason; None where it did not."""
    resumed_after: float | None
    """Seconds from the end of the fault until the gate was open; None where that was not observed."""
    problems: tuple[str, ...]
    tries: int = 1
    """How often the case was run; only the last run counts."""

    @property
    def is_right(self) -> bool:
        """Whether the daemon reacted as expected."""
        return not self.problems


def resume_deadline(case: Case, limits: DurationLimits, over: float, pause: float) -> float:
    """Return when the gate must be open again."""
    return over + case.resume.of(limits) + pause


def judge(case: Case, limits: DurationLimits, observed: Observation) -> Outcome:
    """Judge what was observed of a case."""
    troubles = (*(f"no sign of it: {text}" for text in observed.unproven), *observed.troubles)
    if case.expected is None:
        problems = (f"halted for {_words(observed.reasons)}",) if observed.reasons else ()
        return Outcome(case, observed.symbol, observed.reasons, None, None, (*problems, *troubles))
    halted = observed.halt(case.expected)
    if halted is None:
        bound = case.halt.of(limits)
        problem = f"not halted for {case.expected} within {bound:.1f} s"
        return Outcome(case, observed.symbol, observed.reasons, None, None, (problem, *troubles))
    resumed = observed.resumed(halted)
    over = observed.over if observed.over is not None else halted.at
    return Outcome(
        case,
        observed.symbol,
        observed.reasons,
        halted.at - observed.began,
        None if resumed is None or case.is_slow else max(0.0, resumed.at - over),
        (*_problems(case, case.expected, limits, observed, halted), *troubles),
    )


def _problems(
    case: Case, expected: Reason, limits: DurationLimits, observed: Observation, halted: ObservedChange
) -> Iterator[str]:
    bound = case.halt.of(limits)
    if halted.at - observed.began > bound:
        yield f"halted after {halted.at - observed.began:.2f} s, later than {bound:.1f} s"
    others = [reason for reason in observed.reasons if reason not in (expected, *case.also)]
    if others:
        yield f"halted for {_words(others)} as well"
    if observed.over is not None and any(
        not change.halted and halted.at < change.at < observed.over for change in observed.changes
    ):
        yield "open while it lasted"
    if case.is_slow:
        return
    resumed = observed.resumed(halted)
    over = observed.over if observed.over is not None else halted.at
    allowed = resume_deadline(case, limits, over, observed.pause) - over
    if resumed is None or resumed.at - over > allowed:
        yield f"not open within {allowed:.1f} s of its end"
    elif _opened_too_soon(limits, observed, resumed):
        yield f"open after less than {limits.resume:g} s of good data"


def _opened_too_soon(limits: DurationLimits, observed: Observation, resumed: ObservedChange) -> bool:
    """Say whether the gate opened after less good data than it needs.

    Data can't have been good before the last reason became active, nor before the fault's end: the gate must
    have stayed halted for `limits.resume` after the later of the two. The first is measured by the daemon's
    own times, as an event may be received late; the end is known by our clock only.
    """
    automatic = [
        change.reported_at
        for change in observed.changes
        if change.at <= resumed.at and set(change.added) - PROMPT
    ]
    if not automatic:
        return False
    since_over = math.inf if observed.over is None else resumed.at - observed.over
    return min(since_over, resumed.reported_at - max(automatic)) < limits.resume - TIME_PRECISION


def _words(reasons: tuple[Reason, ...] | list[Reason]) -> str:
    return ", ".join(reasons)
