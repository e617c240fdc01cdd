"""A change of a gate, as a consumer of the daemon receives it."""

from __future__ import annotations

from dataclasses import dataclass

from feedd.model import Reason


@dataclass(frozen=True, slots=True)
class ObservedChange:
    """One change of one gate."""

    at: float
    """When the event was received, in monotonic seconds."""
    reported_at: float
    """When the gate changed, by the daemon's own clock: seconds since the epoch."""
    symbol: str
    added: tuple[Reason, ...]
    """The reasons that became active with it."""
    reasons: tuple[Reason, ...]
    """All that are active after it."""

    @property
    def halted(self) -> bool:
        """Whether the gate is halted after it."""
        return bool(self.reasons)
