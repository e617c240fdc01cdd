"""Durations of a drill: in seconds, and in multiples of the drilled daemon's own thresholds. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DurationLimits:
    """One symbol's thresholds, by the daemon's status, and its message rate. All in seconds."""

    stale: float
    """Without a message for this long the symbol is stale."""
    latency: float
    """Messages that are later than this halt for latency."""
    resume: float
    """How long data must have been good before a halt lifts."""
    status: float
    """How often the daemon polls the exchange for the symbol's status."""
    window: float
    """How long the symbol takes for the hundred messages among which the daemon tolerates a few bad ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A duration: seconds, plus multiples of the thresholds of that name."""

    seconds: float = 0.0
    stale: float = 0.0
    latency: float = 0.0
    resume: float = 0.0
    status: float = 0.0
    window: float = 0.0

    def of(self, limits: DurationLimits) -> float:
        """Return the duration in seconds for a symbol with these limits."""
        return (
            self.seconds
            + self.stale * limits.stale
            + self.latency * limits.latency
            + self.resume * limits.resume
            + self.status * limits.status
            + self.window * limits.window
        )
