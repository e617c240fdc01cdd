"""Where messages come from: the made-up market or a recorded session. Times are microseconds."""

from __future__ import annotations

from typing import Protocol

from feedd.exchange.messages import Document, MarketMessage, TimeUnit, Watched


class MessageSource(Protocol):
    """What the exchange needs of either."""

    symbols: tuple[str, ...]

    def watch(self, symbol: str, watched: Watched) -> None:
        """Say which of a symbol's streams are listened to once the source is next advanced."""

    def advance(self, now: int) -> list[MarketMessage]:
        """Return what is to be sent by `now` and was not returned yet."""

    def next_due(self, now: int) -> int | None:
        """When to advance next; None: not before something is watched."""

    def trades(self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int) -> list[Document]:
        """List trades as REST does: from an id on, or else the newest."""

    def aggregates(
        self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int
    ) -> list[Document]:
        """List aggregate trades as REST does: from an id on, or else the newest."""
