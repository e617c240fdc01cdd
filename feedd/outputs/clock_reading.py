"""Now, on both clocks: ages are taken on the monotonic one and told on the wall clock."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClockReading:
    """One reading of both clocks, in seconds."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> ClockReading:
        """Read both clocks."""
        return cls(time.monotonic(), time.time())

    def timestamp(self, at: float | None) -> float:
        """Return a monotonic time as seconds since the epoch; 0 for never."""
        return 0.0 if at is None else self.wall - (self.monotonic - at)
