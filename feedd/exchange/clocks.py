"""The exchange's two clocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """Ages and deadlines are reckoned with the one, event times are told by the other."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def now(self) -> float:
        """The time that ages are reckoned in, in seconds."""
        return self.monotonic()

    def wall_now(self) -> int:
        """The time of day in microseconds, before any fault moves it."""
        return int(self.wall() * 1_000_000)
