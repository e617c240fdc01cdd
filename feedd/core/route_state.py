"""What is known of one route of one symbol: its open connections, and how old its newest message is.

A venue that serves its streams under several addresses needs a connection to each, and none of them
vouches for another. Spot has one route. Times are monotonic seconds.
"""

from __future__ import annotations

from feedd.core.staleness import StalenessRule


class RouteState:
    """One route of one symbol."""

    __slots__ = ("backoff_seconds", "good_from", "name", "open_connections", "staleness")

    def __init__(self, name: str, stale_after: float, now: float) -> None:
        self.name = name
        self.open_connections = 0
        self.backoff_seconds = 0.0
        """How long the next attempt to connect is being put off; 0 while connected."""
        self.staleness = StalenessRule(stale_after, now)
        self.good_from: float | None = None
        """Since when it delivers good data without a pause between connections."""

    @property
    def is_connected(self) -> bool:
        return self.open_connections > 0

    @property
    def good_for(self) -> float:
        """For how many seconds it has delivered good data without a pause between connections."""
        last_at = self.staleness.last_at
        return 0.0 if self.good_from is None or last_at is None else last_at - self.good_from

    def connected(self) -> None:
        """A connection was opened."""
        self.open_connections += 1
        self.backoff_seconds = 0.0
        if self.open_connections == 1:
            self.good_from = None

    def disconnected(self) -> None:
        """An open connection ended."""
        self.open_connections -= 1

    def delay_reconnect(self, seconds: float) -> None:
        """Note for how long the next attempt to connect is being put off."""
        self.backoff_seconds = 0.0 if self.is_connected else seconds

    def began_well(self, read_at: float) -> None:
        """The first good message, read then, was handed on."""
        self.good_from = read_at

    def restart(self, now: float) -> None:
        """Begin again with another source: nothing has come from it yet."""
        self.good_from = None
        self.staleness.restart(now)

    def forget_good(self) -> None:
        """What was good so far does not count any more."""
        self.good_from = None
