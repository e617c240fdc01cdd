"""A change of a gate, as somebody outside hears of it."""

from __future__ import annotations

from dataclasses import dataclass

from feedd.model import Reason


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one gate."""

    at: float
    """When it was heard, in monotonic seconds."""
    told: float
    """When it came about, by the daemon's own clock: seconds since the epoch."""
    symbol: str
    added: tuple[Reason, ...]
    reasons: tuple[Reason, ...]
    """All that are active after it."""

    @property
    def halted(self) -> bool:
        return bool(self.reasons)
