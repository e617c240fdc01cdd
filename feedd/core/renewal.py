"""When a connection is renewed before the exchange ends it.

Binance closes each connection after 24 hours (Binance spot docs, web-socket-streams.md, "General"). Those
that were opened together would all be due together: each takes its own moment, in the operator's window where
one is set.
"""

from __future__ import annotations

from typing import Final

from feedd.model import RotateWindow

SPREAD: Final = 0.1
"""The share of the age limit over which renewals are spread where no window is set."""
MARGIN_SECONDS: Final = 360.0
"""How long before the exchange's 24 hours a renewal in a window is due at the latest."""
_DAY: Final = 86400.0


def renewal_age(opened_at: float, limit: float, window: RotateWindow | None, chance: float) -> float:
    """Return the age, in seconds, at which a connection is to be renewed.

    Args:
        opened_at: when it was opened, seconds since the epoch.
        limit: the highest age where no window is set, in seconds.
        window: the part of the UTC day that the operator has set aside for renewals.
        chance: a random number from 0 to 1, which spreads connections that were opened together.
    """
    if window is None:
        return limit * (1.0 - SPREAD * chance)
    start, end = _last_occurrence(opened_at, window)
    if start == 0.0:
        # Too early in today's window to live until tomorrow's: once more, late in this one.
        start = end / 2.0
    return start + chance * (end - start)


def _last_occurrence(opened_at: float, window: RotateWindow) -> tuple[float, float]:
    """Return the ages between which the last window lies that the connection lives to see."""
    length = (window.end_minute - window.start_minute) * 60.0 % _DAY
    latest = _DAY - min(MARGIN_SECONDS, length / 4.0)
    # The age at which the window begins for the first time, or has begun when it was opened.
    start = (window.start_minute * 60.0 - opened_at) % _DAY
    if start >= latest:
        start -= _DAY
    return max(0.0, start), min(latest, start + length)
