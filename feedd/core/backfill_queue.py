"""What is to be asked next of all that is missing, how often, and when to give up.

One request at a time for the whole process. Streams take turns with their requests, so that one that misses
much does not keep the others waiting. Times are monotonic seconds.

The limit is Binance's for an address: a weight of 6000 a minute for all its programs (Binance spot docs,
rest-api.md, "IP Limits").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from feedd.core.backoff import Backoff
from feedd.core.gaps import IdRanges
from feedd.core.symbol_state import StreamState
from feedd.venues.binance.spot.history import PAGE_MAX

WEIGHT_PER_MINUTE: Final = 1200
"""A fifth of what the address has: the rest is for the clock, the status, and other programs."""
USED_MAX: Final = 4800
"""Where all programs of the address together come this close to the limit, feedd stands back for a minute."""
MINUTE: Final = 60.0
SETTLE_SECONDS: Final = 1.0
"""What the stream only brings out of order comes by itself, and REST's database lags behind the streams."""
TRIES_MAX: Final = 5
FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 16.0
PATIENCE_SECONDS: Final = 900.0
"""A stream for which nothing came in this time is given up: accounts must be settled some day."""


class WeightBudget:
    """At most so much weight in any minute, and none while the exchange has asked for a pause."""

    def __init__(self, limit: int = WEIGHT_PER_MINUTE) -> None:
        self._limit = limit
        self._taken: deque[tuple[float, int]] = deque()
        self._used = 0
        self._held_until = 0.0

    def acquire(self, weight: int, now: float) -> float:
        """Take that weight, which is within the limit. Returns 0, or the seconds after which to ask again."""
        while self._taken and now >= self._taken[0][0] + MINUTE:
            self._used -= self._taken.popleft()[1]
        if now < self._held_until:
            return self._held_until - now
        surplus = self._used + weight - self._limit
        if surplus > 0:
            return self._free_at(surplus) - now
        self._taken.append((now, weight))
        self._used += weight
        return 0.0

    def hold(self, seconds: float, now: float) -> None:
        """Ask for nothing for so many seconds."""
        self._held_until = max(self._held_until, now + seconds)

    def note_used(self, used: int, now: float) -> None:
        """Take note of the weight that the address has used in this minute, by the exchange's own count."""
        if used >= USED_MAX:
            self.hold(MINUTE, now)

    def _free_at(self, weight: int) -> float:
        freed = accumulate(each for _, each in self._taken)
        last = next(at for (at, _), so_far in zip(self._taken, freed, strict=True) if so_far >= weight)
        return last + MINUTE


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """One request: ids from the first to the last, among them those that are missing."""

    first: int
    last: int
    pending: IdRanges
    """Whose ids they are. The stream has others, if its ids have begun anew since."""

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Job:
    """Fetches what one stream misses."""

    def __init__(self, stream_state: StreamState, now: float) -> None:
        self.stream_state = stream_state
        self.due_at = now + SETTLE_SECONDS
        """When it may ask next."""
        self.fetched = 0
        """How many ids were found."""
        self._tries = 0
        self._backoff = _new_backoff()
        self._progress_at = now

    @property
    def is_done(self) -> bool:
        return not self.stream_state.sequence.missing.pending

    def page(self) -> HistoryPage:
        """Return what to ask for: the oldest that is missing, and as much more as one answer holds."""
        pending = self.stream_state.sequence.missing.pending
        holes = iter(pending)
        first, last = next(holes)
        end = first + PAGE_MAX - 1
        for hole in holes:
            if hole[0] > end:
                break
            last = hole[1]
        return HistoryPage(first, min(last, end), pending)

    def is_current(self, page: HistoryPage) -> bool:
        """Tell whether the ids of that request still mean the same."""
        return self.stream_state.sequence.missing.pending is page.pending

    def answered(self, page: HistoryPage, newest: int | None, now: float, chance: float) -> None:
        """Note that all of an answer was taken; `newest` is the highest id in it.

        What is missing below that id does not exist; what is above it may not be in the database yet.
        """
        missing = self.stream_state.sequence.missing
        reached = page.first - 1 if newest is None else min(newest, page.last)
        if reached >= page.first:
            missing.give_up("the exchange has no such ids", reached)
            self._progress_at = self.due_at = now
            self._tries = 0
            self._backoff = _new_backoff()
        if reached < page.last:
            self.failed(page, "the exchange did not have them in time", now, chance)

    def failed(self, page: HistoryPage, why: str, now: float, chance: float) -> None:
        """Note that a request failed in a way that may pass. `chance` is a random number from 0 to 1."""
        self._tries += 1
        if self._tries >= TRIES_MAX:
            self.give_up(page, why, now)
        else:
            self.due_at = now + self._backoff.delay(chance)

    def give_up(self, page: HistoryPage, why: str, now: float) -> None:
        """Ask no more for what that request was for."""
        self.stream_state.sequence.missing.give_up(why, page.last)
        self._tries = 0
        self._backoff = _new_backoff()
        self.due_at = now

    def lose_patience(self, now: float) -> None:
        """Give up all that is missing, if nothing came for too long."""
        if now - self._progress_at >= PATIENCE_SECONDS:
            minutes = int(PATIENCE_SECONDS / 60.0)
            self.stream_state.sequence.missing.give_up(f"nothing came for {minutes} minutes")


class Backlog:
    """The streams that miss something."""

    def __init__(self) -> None:
        self._jobs: dict[StreamState, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        return self._jobs.get(job.stream_state) is job

    def note(self, stream_state: StreamState, now: float) -> None:
        """Note that the stream misses something."""
        self._jobs.setdefault(stream_state, Job(stream_state, now))

    def drop(self, jobs: Iterable[Job]) -> None:
        """Forget these jobs."""
        for job in list(jobs):
            del self._jobs[job.stream_state]

    def next_job(self) -> Job | None:
        """Return the one that may ask first, whether now or later; None if nothing is missing."""
        open_jobs = [job for job in self._jobs.values() if not job.is_done]
        return min(open_jobs, key=lambda job: job.due_at) if open_jobs else None


def _new_backoff() -> Backoff:
    return Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
