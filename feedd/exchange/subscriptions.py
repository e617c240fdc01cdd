"""Who listens to which stream, and what therefore has to be made. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from feedd.exchange.messages import TimeUnit, Watched


class StreamSink(Protocol):
    """What the hub has to know of a connection."""

    @property
    def unit(self) -> TimeUnit:
        """The unit it wants times in."""


L = TypeVar("L", bound=StreamSink)


class Subscriptions(Generic[L]):
    """The listeners of each stream that exists. A name of an unknown symbol is heard of, and left out."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._by_prefix = {symbol.lower(): symbol for symbol in symbols}
        self._audiences: dict[str, dict[str, dict[L, None]]] = {symbol: {} for symbol in symbols}
        self._streams: dict[L, frozenset[tuple[str, str]]] = {}

    def split(self, name: str) -> tuple[str, str] | None:
        """Split a stream's name in symbol and kind; None if there is no such symbol."""
        prefix, _, kind = name.partition("@")
        symbol = self._by_prefix.get(prefix)
        return (symbol, kind) if symbol and kind else None

    def symbols(self, names: Iterable[str]) -> frozenset[str]:
        """Find the symbols that streams are about."""
        return frozenset(stream[0] for name in names if (stream := self.split(name)))

    def subscribe(self, listener: L, names: Iterable[str]) -> set[str]:
        """Let a listener have these streams and no others; return the symbols whose audience changed."""
        before = self._streams.pop(listener, frozenset())
        after = frozenset(stream for name in names if (stream := self.split(name)))
        if after:
            self._streams[listener] = after
        for symbol, kind in before - after:
            audience = self._audiences[symbol][kind]
            del audience[listener]
            if not audience:
                del self._audiences[symbol][kind]
        for symbol, kind in after - before:
            self._audiences[symbol].setdefault(kind, {})[listener] = None
        return {symbol for symbol, _ in before ^ after}

    def subscribers(self, symbol: str, kind: str) -> Collection[L]:
        """List who listens to a stream."""
        return self._audiences[symbol].get(kind, {})

    def watched(self, symbol: str) -> Watched:
        """List a symbol's streams that anybody listens to, each with the units asked for."""
        return {
            kind: tuple(dict.fromkeys(listener.unit for listener in audience))
            for kind, audience in self._audiences[symbol].items()
        }
