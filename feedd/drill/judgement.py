"""Was it right? Takes what was seen of a case, and says what is wrong with it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from feedd.drill.case import Case
from feedd.drill.durations import Limits
from feedd.drill.gate_change import Change
from feedd.model import Reason

PROMPT = frozenset({Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.EXCHANGE})
"""These lift as soon as their cause is gone and the data is good; all others take a spell of good data."""
TOLD_WITHIN = 0.005
"""The daemon tells the times of changes to the millisecond."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one symbol while a case ran. Times are monotonic seconds."""

    symbol: str
    began: float
    """Just before its first step."""
    over: float | None
    """When what lasts was taken back or ended by itself; None where it was over at once."""
    changes: tuple[Change, ...]
    """All changes of the symbol's gate since the first step."""
    pause: float = 0.0
    """The longest pause between attempts to connect that the daemon told of."""
    unproven: tuple[str, ...] = ()
    """What should have shown and did not."""
    troubles: tuple[str, ...] = ()
    """What was in the way, and what happened to symbols that no case was about."""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The reasons that became active, each once, in their order."""
        return tuple(dict.fromkeys(reason for change in self.changes for reason in change.added))

    def halt(self, reason: Reason) -> Change | None:
        """Find the change by which a reason became active."""
        return next((change for change in self.changes if reason in change.added), None)

    def resumed(self, halted: Change) -> Change | None:
        """Find the change by which the gate opened for good: after it was halted, and all was over."""
        over = halted.at if self.over is None else max(self.over, halted.at)
        return next((change for change in self.changes if not change.halted and change.at >= over), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the drill's table."""

    case: Case
    symbol: str
    reasons: tuple[Reason, ...]
    """What was seen."""
    halted_after: float | None
    """Seconds until the expected reason halted; None where it did not."""
    resumed_after: float | None
    """Seconds from the end of the trouble until the gate was open; None where that was not seen."""
    problems: tuple[str, ...]
    tries: int = 1
    """How often the case was run, the last time of which counts."""

    @property
    def is_right(self) -> bool:
        return not self.problems


def resume_deadline(case: Case, limits: Limits, over: float, pause: float) -> float:
    """Return when the gate must be open again."""
    return over + case.resume.of(limits) + pause


def judge(case: Case, limits: Limits, seen: Seen) -> Outcome:
    """Judge what was seen of a case."""
    troubles = (*(f"no sign of it: {text}" for text in seen.unproven), *seen.troubles)
    if case.expected is None:
        problems = (f"halted for {_words(seen.reasons)}",) if seen.reasons else ()
        return Outcome(case, seen.symbol, seen.reasons, None, None, (*problems, *troubles))
    halted = seen.halt(case.expected)
    if halted is None:
        bound = case.halt.of(limits)
        problem = f"not halted for {case.expected} within {bound:.1f} s"
        return Outcome(case, seen.symbol, seen.reasons, None, None, (problem, *troubles))
    resumed = seen.resumed(halted)
    over = seen.over if seen.over is not None else halted.at
    return Outcome(
        case,
        seen.symbol,
        seen.reasons,
        halted.at - seen.began,
        None if resumed is None or case.is_slow else max(0.0, resumed.at - over),
        (*_problems(case, case.expected, limits, seen, halted), *troubles),
    )


def _problems(case: Case, expected: Reason, limits: Limits, seen: Seen, halted: Change) -> Iterator[str]:
    bound = case.halt.of(limits)
    if halted.at - seen.began > bound:
        yield f"halted after {halted.at - seen.began:.2f} s, later than {bound:.1f} s"
    others = [reason for reason in seen.reasons if reason not in (expected, *case.also)]
    if others:
        yield f"halted for {_words(others)} as well"
    if seen.over is not None and any(
        not change.halted and halted.at < change.at < seen.over for change in seen.changes
    ):
        yield "open while it lasted"
    if case.is_slow:
        return
    resumed = seen.resumed(halted)
    over = seen.over if seen.over is not None else halted.at
    allowed = resume_deadline(case, limits, over, seen.pause) - over
    if resumed is None or resumed.at - over > allowed:
        yield f"not open within {allowed:.1f} s of its end"
    elif _is_hasty(limits, seen, resumed):
        yield f"open after less than {limits.resume:g} s of good data"


def _is_hasty(limits: Limits, seen: Seen, resumed: Change) -> bool:
    """Tell whether the gate opened sooner than a spell of good data takes.

    No data was good before the last reason became active, nor before all was over.
    """
    automatic = [
        change.told for change in seen.changes if change.at <= resumed.at and set(change.added) - PROMPT
    ]
    if not automatic:
        return False
    since_over = math.inf if seen.over is None else resumed.at - seen.over
    return min(since_over, resumed.told - max(automatic)) < limits.resume - TOLD_WITHIN


def _words(reasons: tuple[Reason, ...] | list[Reason]) -> str:
    return ", ".join(reasons)
