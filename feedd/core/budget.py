"""How many connections may still be tried: one budget for the whole process.

Binance allows an address 300 attempts in five minutes (Binance spot docs, web-socket-streams.md, "Websocket
Limits") and bans those that don't heed it. The budget is lower, so that a restart and other programs have
their share.
"""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 300.0


class ConnectBudget:
    """At most `limit` attempts in any five minutes, and none while the exchange has asked for a pause."""

    def __init__(self, limit: int, window: float = WINDOW_SECONDS) -> None:
        self.limit = limit
        self._window = window
        self._attempts: deque[float] = deque()
        self._held_until = 0.0

    def take(self, now: float) -> float:
        """Take one attempt, if one is left. Returns 0 if so, else the seconds after which to ask again."""
        self._forget(now)
        if now < self._held_until:
            return self._held_until - now
        if len(self._attempts) >= self.limit:
            return self._attempts[len(self._attempts) - self.limit] + self._window - now
        self._attempts.append(now)
        return 0.0

    def hold(self, seconds: float, now: float) -> None:
        """Let nobody try for so many seconds: the exchange has asked for it."""
        self._held_until = max(self._held_until, now + seconds)

    def remaining(self, now: float) -> int:
        """Return how many attempts are left now; none while held back."""
        self._forget(now)
        return 0 if now < self._held_until else max(0, self.limit - len(self._attempts))

    def _forget(self, now: float) -> None:
        while self._attempts and now >= self._attempts[0] + self._window:
            self._attempts.popleft()
