"""What is to be asked next of all that is missing, how often, and when to give up.

One request at a time for the whole process. Streams take turns with their requests, so that one that misses
much does not keep the others waiting. Times are monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from feedd.core.backoff import Backoff
from feedd.core.gaps import IdRanges
from feedd.core.stream_state import StreamState


@dataclass(frozen=True, slots=True)
class BackfillTiming:
    """How patiently a stream's gaps are filled, in seconds."""

    settle: float = 1.0
    """What only comes out of order comes by itself, and REST's database lags behind the streams."""
    first_retry: float = 1.0
    longest_retry: float = 16.0
    tries_max: int = 5
    patience: float = 900.0
    """A stream for which nothing came in this time is given up: accounts must be settled some day."""
    after_bug: float = 5.0
    """How long the worker rests after a bug."""


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

    def __init__(self, stream_state: StreamState, now: float, timing: BackfillTiming) -> None:
        self.stream_state = stream_state
        self.due_at = now + timing.settle
        """When it may ask next."""
        self.fetched = 0
        """How many ids were found."""
        self._timing = timing
        self._tries = 0
        self._backoff = self._new_backoff()
        self._progress_at = now

    @property
    def is_done(self) -> bool:
        return not self.stream_state.sequence.ledger.pending

    def page(self, size: int) -> HistoryPage:
        """Return what to ask for: the oldest that is missing, and as much more as such an answer holds."""
        pending = self.stream_state.sequence.ledger.pending
        holes = iter(pending)
        first, last = next(holes)
        end = first + size - 1
        for hole in holes:
            if hole[0] > end:
                break
            last = hole[1]
        return HistoryPage(first, min(last, end), pending)

    def is_current(self, page: HistoryPage) -> bool:
        """Tell whether the ids of that request still mean the same."""
        return self.stream_state.sequence.ledger.pending is page.pending

    def answered(self, page: HistoryPage, newest: int | None, now: float, chance: float) -> None:
        """Note that all of an answer was taken; `newest` is the highest id in it.

        What is missing below that id does not exist; what is above it may not be in the database yet.
        """
        missing = self.stream_state.sequence.ledger
        reached = page.first - 1 if newest is None else min(newest, page.last)
        if reached >= page.first:
            missing.give_up("the exchange has no such ids", reached)
            self._progress_at = self.due_at = now
            self._tries = 0
            self._backoff = self._new_backoff()
        if reached < page.last:
            self.failed(page, "the exchange did not have them in time", now, chance)

    def failed(self, page: HistoryPage, why: str, now: float, chance: float) -> None:
        """Note that a request failed in a way that may pass. `chance` is a random number from 0 to 1."""
        self._tries += 1
        if self._tries >= self._timing.tries_max:
            self.give_up(page, why, now)
        else:
            self.due_at = now + self._backoff.delay(chance)

    def give_up(self, page: HistoryPage, why: str, now: float) -> None:
        """Ask no more for what that request was for."""
        self.stream_state.sequence.ledger.give_up(why, page.last)
        self._tries = 0
        self._backoff = self._new_backoff()
        self.due_at = now

    def lose_patience(self, now: float) -> None:
        """Give up all that is missing, if nothing came for too long."""
        if now - self._progress_at >= self._timing.patience:
            minutes = int(self._timing.patience / 60.0)
            self.stream_state.sequence.ledger.give_up(f"nothing came for {minutes} minutes")

    def found(self) -> None:
        """Note that a missing message was found."""
        self.fetched += 1

    def _new_backoff(self) -> Backoff:
        return Backoff(self._timing.first_retry, self._timing.longest_retry)


class Backlog:
    """The streams that miss something."""

    def __init__(self, timing: BackfillTiming) -> None:
        self._timing = timing
        self._jobs: dict[StreamState, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, job: Job) -> bool:
        return self._jobs.get(job.stream_state) is job

    def note(self, stream_state: StreamState, now: float) -> None:
        """Note that the stream misses something."""
        self._jobs.setdefault(stream_state, Job(stream_state, now, self._timing))

    def drop(self, jobs: Iterable[Job]) -> None:
        """Forget these jobs."""
        for job in list(jobs):
            del self._jobs[job.stream_state]

    def next_job(self) -> Job | None:
        """Return the one that may ask first, whether now or later; None if nothing is missing."""
        open_jobs = [job for job in self._jobs.values() if not job.is_done]
        return min(open_jobs, key=lambda job: job.due_at) if open_jobs else None
