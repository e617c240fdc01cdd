"""Times as a drill states them: in multiples of what the drilled daemon itself promises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """One symbol's thresholds as the daemon tells them, and its pace. All in seconds."""

    stale: float
    """Without a message for this long the symbol is stale."""
    latency: float
    """Messages that are later than this are too late."""
    resume: float
    """So long the data must have been good before a halt lifts."""
    status: float
    """How often the venue is asked whether it trades the symbol."""
    window: float
    """How long the symbol takes for the hundred messages among which the daemon tolerates a few bad ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time: seconds, and multiples of the thresholds of that name."""

    seconds: float = 0.0
    stale: float = 0.0
    latency: float = 0.0
    resume: float = 0.0
    status: float = 0.0
    window: float = 0.0

    def of(self, limits: Limits) -> float:
        """Return it in seconds for a symbol with these limits."""
        return (
            self.seconds
            + self.stale * limits.stale
            + self.latency * limits.latency
            + self.resume * limits.resume
            + self.status * limits.status
            + self.window * limits.window
        )
