"""How old the newest market message is, on the monotonic clock.

The age counts from the start, not from the first message: a feed that never speaks is stale too. It is judged
apart from reading the socket, because the exchange's pings keep a socket busy that delivers nothing.
"""

from __future__ import annotations


class StalenessRule:
    """The age of a feed against its limit. All times are monotonic seconds."""

    __slots__ = ("expected_after", "last_at", "limit", "since")

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self.since = now
        self.last_at: float | None = None
        self.expected_after = 0.0
        """Seconds in which no next message is due: a recording knows when it comes."""

    def age(self, now: float) -> float:
        """Return the seconds since the newest message, or since the start where there was none."""
        return now - (self.since if self.last_at is None else self.last_at)

    @property
    def deadline(self) -> float:
        """When the feed becomes stale unless a message comes."""
        return (self.since if self.last_at is None else self.last_at) + self.expected_after + self.limit

    def is_stale(self, now: float) -> bool:
        """Tell whether the newest message is older than the limit."""
        return now >= self.deadline

    def apply_limit(self, limit: float) -> None:
        """Take another limit."""
        self.limit = limit

    def expect_after(self, seconds: float) -> None:
        """Expect the next message only so many seconds after the newest."""
        self.expected_after = seconds

    def restart(self, now: float) -> None:
        """Begin again, as if nothing had ever come."""
        self.since = now
        self.last_at = None
        self.expected_after = 0.0
