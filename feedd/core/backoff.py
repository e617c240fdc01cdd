"""How long to wait before the next attempt to connect.

The delay grows with every attempt and falls back only after a spell of good data: a server that accepts and
closes at once must not be dialled without pause, although every handshake succeeds.
"""

from __future__ import annotations

from typing import Final

from feedd.model import ConnectFailure

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
HEALTHY_AFTER_SECONDS: Final = 10.0
"""A connection that delivered for this long was good; what ended it is news, not the same trouble again."""
REFUSED_BY_RULE_SECONDS: Final = 60.0
"""A blocked region, a wrong host or path don't heal within seconds; asking on gets an address banned."""

REFUSED_BY_RULE: Final = frozenset(
    {ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451}
)


class Backoff:
    """Exponential delays with jitter, which stays alive at the cap."""

    def __init__(
        self,
        first: float = FIRST_DELAY_SECONDS,
        longest: float = LONGEST_DELAY_SECONDS,
        healthy_after: float = HEALTHY_AFTER_SECONDS,
        refused_by_rule: float = REFUSED_BY_RULE_SECONDS,
    ) -> None:
        """Begin with the shortest delay. All arguments are seconds.

        Args:
            first: the ceiling of the first delay; each further one has twice the ceiling.
            longest: the ceiling that none exceeds.
            healthy_after: how long a connection must have delivered for the delays to begin anew.
            refused_by_rule: the least delay after a refusal that doesn't heal by itself (REFUSED_BY_RULE).

        Raises:
            ValueError: `first` is not above 0, or above `longest`.
        """
        if not 0.0 < first <= longest:
            raise ValueError(f"expected 0 < first <= longest, found first={first}, longest={longest}")
        self._first = first
        self._longest = longest
        self._healthy_after = healthy_after
        self._refused_by_rule = refused_by_rule
        self._attempts = 0

    def delay(
        self, chance: float, failure: ConnectFailure | None = None, retry_after: float | None = None
    ) -> float:
        """Return the seconds to wait now.

        Args:
            chance: a random number from 0 to 1, which spreads symbols that failed together.
            failure: how the attempt failed; None when an open connection was lost.
            retry_after: seconds that the server asked for.
        """
        ceiling = min(self._longest, self._first * 2.0 ** min(self._attempts, 64))
        self._attempts += 1
        delay = ceiling * (0.5 + chance / 2.0)
        if failure in REFUSED_BY_RULE:
            delay = max(delay, self._refused_by_rule * (1.0 + chance / 2.0))
        return max(delay, (retry_after or 0.0) * (1.0 + chance / 10.0))

    def connection_ended(self, good_for: float) -> None:
        """Note for how many seconds the connection that just ended had delivered good data."""
        if good_for >= self._healthy_after:
            self._attempts = 0
