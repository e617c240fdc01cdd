"""What the whole process may still ask of the exchange: attempts to connect, and weight at its REST side.

Binance allows an address 300 attempts in five minutes (Binance spot docs, web-socket-streams.md, "Websocket
Limits") and bans those that don't heed it. The budget is lower, so that a restart and other programs have
their share. Its last quarter is a reserve: nothing planned may use it, and it is given out evenly over the
five minutes, so that a storm of failures can't leave the process without any attempt until the next ones.

When feed after feed fails, the exchange is out for all of them. Then one attempt a second finds out when it
is back, and the budget is still there for everyone's return.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import Final

WINDOW_SECONDS: Final = 300.0
RESERVE: Final = 0.25
OUTAGE_AFTER: Final = 5
"""So many feeds have failed, and none has delivered meanwhile: it is not them."""
PROBE_PAUSE_SECONDS: Final = 1.0
LONGEST_SPREAD_SECONDS: Final = 1.0
SPREAD_SECONDS_PER_FEED: Final = 0.01
"""A hundred handshakes a second are no storm; a few feeds need not wait for each other."""


class ConnectBudget:
    """At most `limit` attempts in any five minutes, and none while the exchange has asked for a pause."""

    def __init__(self, limit: int, window: float = WINDOW_SECONDS) -> None:
        self.limit = limit
        self._window = window
        self._attempts: deque[float] = deque()
        self._held_until = 0.0
        self._tried_at = 0.0
        self._failing: set[str] = set()
        self.outage_since: float | None = None
        """Since when the exchange has been out for all; None while it isn't."""

    def apply_limit(self, limit: int) -> None:
        """Allow so many attempts from now on."""
        self.limit = limit

    @property
    def spread(self) -> float:
        """Seconds over which those that wait for the same moment come one after the other."""
        if self.outage_since is None:
            return LONGEST_SPREAD_SECONDS
        return min(LONGEST_SPREAD_SECONDS, SPREAD_SECONDS_PER_FEED * len(self._failing))

    def failed(self, feed: str, now: float) -> None:
        """Note that a feed could not connect, or that its connection ended before it had delivered."""
        self._failing.add(feed)
        if self.outage_since is None and len(self._failing) >= OUTAGE_AFTER:
            self.outage_since = now

    def delivered(self) -> None:
        """Note that a new connection delivers."""
        self._failing.clear()
        self.outage_since = None

    def acquire(self, now: float, *, is_planned: bool = False) -> float:
        """Take one attempt, if one is left. Returns 0 if so, else the seconds after which to ask again.

        Args:
            now: monotonic seconds.
            is_planned: nothing is wrong; the attempt can wait until there is plenty.
        """
        wait = self._wait(now, is_planned)
        if wait == 0.0:
            self._attempts.append(now)
            self._tried_at = now
        return wait

    def _wait(self, now: float, is_planned: bool) -> float:
        self._forget(now)
        if now < self._held_until:
            return self._held_until - now
        if self.outage_since is not None and now < self._tried_at + PROBE_PAUSE_SECONDS:
            return self._tried_at + PROBE_PAUSE_SECONDS - now
        reserve = int(self.limit * RESERVE)
        if len(self._attempts) < self.limit - reserve:
            return 0.0
        if is_planned or len(self._attempts) >= self.limit:
            free_at = self.limit - (reserve if is_planned else 0)
            return self._attempts[len(self._attempts) - free_at] + self._window - now
        return max(0.0, self._attempts[-1] + self._window / reserve - now)

    def hold(self, seconds: float, now: float) -> None:
        """Let nobody try for so many seconds: the exchange has asked for it."""
        self._held_until = max(self._held_until, now + seconds)

    def hold_left(self, now: float) -> float:
        """Return for how many more seconds nobody may try, because the exchange has asked for it."""
        return max(0.0, self._held_until - now)

    def remaining(self, now: float) -> int:
        """Return how many attempts are left now; none while held back."""
        self._forget(now)
        return 0 if now < self._held_until else max(0, self.limit - len(self._attempts))

    def _forget(self, now: float) -> None:
        while self._attempts and now >= self._attempts[0] + self._window:
            self._attempts.popleft()


class WeightBudget:
    """At most so much weight in any minute, and none while the exchange has asked for a pause."""

    def __init__(self, limit: int, used_max: int, minute: float = 60.0) -> None:
        """Set the limits.

        Args:
            limit: what feedd takes of the address's weight in a minute.
            used_max: where all programs of the address together have used so much, feedd stands back.
            minute: the seconds in a minute.
        """
        self._limit = limit
        self._used_max = used_max
        self._minute = minute
        self._taken: deque[tuple[float, int]] = deque()
        self._used = 0
        self._held_until = 0.0

    @classmethod
    def under(cls, weight_per_minute: int) -> WeightBudget:
        """Return a budget for history alone where an address has that much (Binance docs, "IP Limits").

        A fifth: the rest is for the clock, the status, and other programs. Above four fifths of use by all
        programs of the address feedd stands back for a minute.
        """
        budget = cls(0, 0)
        budget.apply_share(weight_per_minute)
        return budget

    def apply_share(self, weight_per_minute: int) -> None:
        """Keep to that venue's limits from now on; what was used, and asked for, still counts."""
        self._limit = weight_per_minute // 5
        self._used_max = weight_per_minute * 4 // 5

    def acquire(self, weight: int, now: float) -> float:
        """Take that weight, which is within the limit. Returns 0, or the seconds after which to ask again."""
        while self._taken and now >= self._taken[0][0] + self._minute:
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
        if used >= self._used_max:
            self.hold(self._minute, now)

    def _free_at(self, weight: int) -> float:
        freed = accumulate(each for _, each in self._taken)
        last = next(at for (at, _), so_far in zip(self._taken, freed, strict=True) if so_far >= weight)
        return last + self._minute
