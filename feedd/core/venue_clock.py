"""The venue's clock as seen from here, and what it says of a message's age.

Latency is taken against an estimate of the venue's clock that hangs on the local *monotonic* clock: a jump of
the host's wall clock can neither fake nor hide a delay. The estimate knows how wrong it may be, and admits
that it grows worse with age.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

DRIFT: Final = 100e-6
"""Seconds in a second by which two clocks may part: quartz is wrong by 50 in a million, and there are two."""
STEP_SECONDS: Final = 0.1
"""Time services slew smaller offsets away (ntpd up to 0.128 s), which the monotonic clock follows."""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One question to the venue's time endpoint."""

    sent_at: float
    """Monotonic seconds."""
    received_at: float
    venue_time: float
    """Seconds since the epoch."""
    resolution: float = 0.0
    """The answer was rounded by this many seconds at most."""

    @property
    def round_trip(self) -> float:
        return self.received_at - self.sent_at

    @property
    def offset(self) -> float:
        """Seconds to add to a monotonic time to have the venue's, if both ways took equally long."""
        return self.venue_time - (self.sent_at + self.received_at) / 2.0

    def error_at(self, now: float) -> float:
        """Return by how many seconds the offset may be wrong at monotonic `now`.

        The venue read its clock somewhere between question and answer: half the round trip. Since the
        question the clocks may have parted.
        """
        return self.round_trip / 2.0 + self.resolution + DRIFT * (now - self.sent_at)


class VenueClock:
    """Tells the venue's time. Until the first measurement it takes the host's wall clock of the start for it.

    What the wall clock does later changes nothing, then or ever: a host whose clock is set must not look like
    a market that is late.
    """

    __slots__ = ("_best", "_contradiction", "offset", "synced_at")

    def __init__(self, now: float, wall: float) -> None:
        self.offset = wall - now
        """Seconds to add to a monotonic time to have the venue's time since the epoch."""
        self.synced_at: float | None = None
        """When the venue last said its time and the estimate agreed with it; None until it was measured."""
        self._best: ClockSample | None = None
        self._contradiction: ClockSample | None = None

    def error_at(self, now: float) -> float:
        """Return by how many seconds the offset may be wrong; infinite until it is measured."""
        return math.inf if self._best is None else self._best.error_at(now)

    def update(self, samples: Iterable[ClockSample]) -> bool:
        """Take one measurement: of its samples, the one with the shortest round trip bounds the error best.

        It replaces an estimate that has become as bad by now, and leaves a better one. One that contradicts
        the estimate is believed only if the next one bears it out: then the venue's clock was set or this
        host slept, and it was not an answer of nonsense.

        Returns whether the estimate agrees with the measurement now; if not, measure again.
        """
        # Each sample bounds the true offset: half its round trip either way, plus what two clocks may part
        # by since. Two samples whose bounds overlap can both be right, and the tighter one is kept: it stays
        # the better one until drift has widened it past what a new sample would give. Two that don't overlap
        # can't both be: either this answer was nonsense, or a clock was set. One witness proves neither. A
        # second answer that overlaps with the first contradiction, and not with the estimate, settles it.
        sample = min(samples, key=lambda sample: sample.round_trip)
        if self._best is not None and not _agree(self._best, sample):
            if self._contradiction is None or not _agree(self._contradiction, sample):
                self._contradiction = sample
                return False
            self._best = None
        self._contradiction = None
        if sample.error_at(sample.received_at) <= self.error_at(sample.received_at):
            self._best = sample
            self.offset = sample.offset
        self.synced_at = sample.received_at
        return True

    def latency(self, now: float, event_time: int) -> float:
        """Return the seconds from an event (milliseconds since the epoch) until monotonic `now`."""
        return now + self.offset - event_time * 0.001

    def offset_from_wall(self, now: float, wall: float) -> float:
        """Return the seconds by which the venue's clock is ahead of the host's wall clock."""
        return self.offset - (wall - now)


def _agree(one: ClockSample, other: ClockSample) -> bool:
    """Tell whether one true offset explains both."""
    now = other.received_at
    return abs(one.offset - other.offset) <= one.error_at(now) + other.error_at(now)


class WallWatch:
    """Notices that the host's wall clock was set, or that the host slept and only the wall clock went on."""

    def __init__(self, now: float, wall: float) -> None:
        self._ahead = wall - now

    def step(self, now: float, wall: float) -> float:
        """Return by how many seconds the wall clock was set since the last look; 0 if it wasn't."""
        step = wall - now - self._ahead
        self._ahead += step
        return step if abs(step) >= STEP_SECONDS else 0.0
