"""Where messages come from: the made-up market or a recorded session. Times are microseconds."""

from __future__ import annotations

from typing import Protocol

from feedd.exchange.messages import Document, MarketMessage, TimeUnit, Watched


class MessageSource(Protocol):
    """A market, simulated or recorded, that says which messages are due."""

    symbols: tuple[str, ...]

    def watch(self, symbol: str, watched: Watched) -> None:
        """Set the streams of a symbol that have subscribers, from the next `advance` on."""

    def advance(self, now: int) -> list[MarketMessage]:
        """Return the messages that are due by `now` and were not returned before."""

    def next_due(self, now: int) -> int | None:
        """Return when to call `advance` next; None if not before a stream is watched."""

    def trades(self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int) -> list[Document]:
        """List trades as REST does: from the id `first` on, or else the newest."""

    def aggregates(
        self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int
    ) -> list[Document]:
        """List aggregate trades as REST does: from the id `first` on, or else the newest."""
