"""The exchange's two clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """A monotonic clock for ages and deadlines, and a wall clock for event times."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def now(self) -> float:
        """Return the monotonic time in seconds."""
        return self.monotonic()

    def wall_now(self) -> int:
        """Return the time of day in microseconds, before any fault moves it."""
        return int(self.wall() * 1_000_000)
