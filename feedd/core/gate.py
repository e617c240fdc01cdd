"""May a symbol be traded? A set of reasons against it; the gate is open only while the set is empty.

A *cause* is a condition that holds now. Its reason becomes active at once, and outlives it: reasons that
feedd found by itself lift only after `resume_after` seconds of continuous good data without any such cause,
those that came from outside (the kill switch, unreadable flags, the exchange's status) as soon as the data is
good. Nothing is ever lifted by the absence of data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from feedd.model import Reason, ResumePolicy

AUTOMATIC: Final = frozenset(
    {Reason.DISCONNECTED, Reason.STALE, Reason.LATENCY, Reason.SCHEMA, Reason.INTERNAL}
)
"""Found in the data itself, and lifted only by a spell of good data."""
PROMPT: Final = frozenset({Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.EXCHANGE})
"""Set from outside, and lifted as soon as the cause is gone and the data is good."""
LATCHING: Final = AUTOMATIC | {Reason.EXCHANGE}
"""What latches under the manual policy, and what a re-arm must not find active."""
GATED: Final[tuple[Reason, ...]] = tuple(reason for reason in Reason if reason is not Reason.STATIC_SOURCE)
"""Reasons that a gate can hold; `static_source` depends on who asks."""


@dataclass(frozen=True, slots=True)
class GateChange:
    """One change of a gate's reasons, at a monotonic time."""

    at: float
    added: tuple[Reason, ...]
    removed: tuple[Reason, ...]
    reasons: tuple[Reason, ...]
    """All that are active after it."""

    @property
    def halted(self) -> bool:
        return bool(self.reasons)


class Gate:
    """One symbol's gate. It starts closed, for `starting`. All times are monotonic seconds."""

    def __init__(self, resume_after: float, policy: ResumePolicy, now: float) -> None:
        self.resume_after = resume_after
        self.policy = policy
        self.active: dict[Reason, float] = {Reason.STARTING: now}
        """Active reasons, and since when."""
        self.causes: set[Reason] = set()
        self.since = now
        """Since when the gate is as it is, open or halted."""
        self.halts = dict.fromkeys(GATED, 0)
        """How often each reason became active."""
        self.changes: list[GateChange] = []
        """What nobody has been told of yet: `take_changes` empties the list."""
        self._good_since: float | None = None

    @property
    def halted(self) -> bool:
        return bool(self.active)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The active reasons, in the order of their definition."""
        return tuple(reason for reason in GATED if reason in self.active)

    def take_changes(self) -> list[GateChange]:
        """Return the changes since the last call: whoever takes them tells the world."""
        changes, self.changes = self.changes, []
        return changes

    def trip(self, reason: Reason, now: float) -> None:
        """A cause has begun: halt."""
        self.causes.add(reason)
        if reason in AUTOMATIC:
            self._good_since = None
        added = [reason] if reason not in self.active else []
        if self.policy is ResumePolicy.MANUAL and reason in LATCHING and Reason.LATCHED not in self.active:
            added.append(Reason.LATCHED)
        self._change(now, added=added)

    def clear(self, reason: Reason, now: float) -> None:
        """A cause has ended. Its reason stays until the data has proved itself."""
        self.causes.discard(reason)
        if reason in PROMPT and reason in self.active and self._data_is_good():
            self._change(now, removed=[reason])

    def apply_policy(self, resume_after: float, policy: ResumePolicy, now: float) -> None:
        """Take other settings. A halt that latched is let go where halts no longer latch."""
        self.resume_after = resume_after
        self.policy = policy
        if policy is ResumePolicy.AUTO and Reason.LATCHED in self.active:
            self._change(now, removed=[Reason.LATCHED])

    def restart(self, now: float) -> None:
        """Another source begins: what was found in the old data is over, the new must prove itself."""
        self.causes -= LATCHING
        self._good_since = None
        removed = [reason for reason in self.active if reason in LATCHING]
        self._change(now, [] if Reason.STARTING in self.active else [Reason.STARTING], removed)

    def began(self, now: float) -> None:
        """A message has come, if not a good one."""
        if Reason.STARTING in self.active:
            self._change(now, removed=[Reason.STARTING])

    def good(self, now: float) -> None:
        """A good message was handed on: lift what may be lifted."""
        if not self.active:
            return
        removed = [Reason.STARTING] if Reason.STARTING in self.active else []
        if not self.causes & AUTOMATIC:
            if self._good_since is None:
                self._good_since = now
            liftable = PROMPT if now - self._good_since < self.resume_after else PROMPT | AUTOMATIC
            removed += [reason for reason in self.active if reason in liftable - self.causes]
        self._change(now, removed=removed)

    def bad(self) -> None:
        """A message was not good: the spell of good data begins anew."""
        self._good_since = None

    def rearm(self, now: float) -> tuple[Reason, ...]:
        """Lift `latched`. Returns the reasons that forbid it, which are none where it was done."""
        blocking = tuple(reason for reason in self.reasons if reason in LATCHING)
        if not blocking and Reason.LATCHED in self.active:
            self._change(now, removed=[Reason.LATCHED])
        return blocking

    def _data_is_good(self) -> bool:
        return Reason.STARTING not in self.active and not self.causes & AUTOMATIC

    def _change(
        self, now: float, added: list[Reason] | None = None, removed: list[Reason] | None = None
    ) -> None:
        if not added and not removed:
            return
        was_halted = self.halted
        for reason in added or ():
            self.active[reason] = now
            self.halts[reason] += reason is not Reason.STARTING
        for reason in removed or ():
            del self.active[reason]
        if self.halted != was_halted:
            self.since = now
        self.changes.append(GateChange(now, tuple(added or ()), tuple(removed or ()), self.reasons))
