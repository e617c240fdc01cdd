"""The venue's clock as seen from here, and what it says of a message's age.

Latency is taken against an estimate of the venue's clock that hangs on the local *monotonic* clock: a jump of
the host's wall clock can neither fake nor hide a delay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CONFIRMATIONS: Final = 3
"""One late message is a blip; three measurable ones in a row are a delay."""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One question to the venue's time endpoint."""

    sent_at: float
    """Monotonic seconds."""
    received_at: float
    venue_time: float
    """Seconds since the epoch."""

    @property
    def round_trip(self) -> float:
        return self.received_at - self.sent_at


class VenueClock:
    """Tells the venue's time. Until the first estimate it takes the host's wall clock for it."""

    __slots__ = ("error", "offset", "synced_at")

    def __init__(self, now: float, wall: float) -> None:
        self.offset = wall - now
        """Seconds to add to a monotonic time to have the venue's time since the epoch."""
        self.error = math.inf
        """The offset is right within plus or minus this many seconds; infinite until it is measured."""
        self.synced_at: float | None = None

    def update(self, samples: Iterable[ClockSample]) -> None:
        """Take the sample with the shortest round trip: it bounds the error best.

        The venue read its clock somewhere between question and answer, so half the round trip is the error.
        """
        best = min(samples, key=lambda sample: sample.round_trip)
        self.offset = best.venue_time - (best.sent_at + best.received_at) / 2.0
        self.error = best.round_trip / 2.0
        self.synced_at = best.received_at

    def follow_wall(self, now: float, wall: float) -> None:
        """Take the host's wall clock again, as long as the venue was never reached."""
        if self.synced_at is None:
            self.offset = wall - now

    def latency(self, now: float, event_time: int) -> float:
        """Return the seconds from an event (milliseconds since the epoch) until monotonic `now`."""
        return now + self.offset - event_time * 0.001

    def offset_from_wall(self, now: float, wall: float) -> float:
        """Return the seconds by which the venue's clock is ahead of the host's wall clock."""
        return self.offset - (wall - now)


class LatencyRule:
    """Decides when total latency is too high: over the limit in three measurable messages in a row."""

    __slots__ = ("limit", "over")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.over = 0
        """How many measurable messages in a row were late."""

    def is_over(self, latency: float) -> bool:
        """Tell whether this one is over the limit, and remember it."""
        if latency > self.limit:
            self.over += 1
            return True
        self.over = 0
        return False

    @property
    def is_confirmed(self) -> bool:
        return self.over >= CONFIRMATIONS
