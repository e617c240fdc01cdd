"""When total latency is too high to trade on."""

from __future__ import annotations

from typing import Final

CONFIRMATIONS: Final = 3
"""One late message is a blip; three measurable ones in a row are a delay."""


class LatencyRule:
    """Decides when total latency is too high: over the limit in three measurable messages in a row."""

    __slots__ = ("limit", "over")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.over = 0
        """How many measurable messages in a row were late."""

    def apply_limit(self, limit: float) -> None:
        """Take another limit."""
        self.limit = limit

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
