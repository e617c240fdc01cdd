"""Which connection is subscribed to which stream, and what therefore has to be rendered. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeVar

from feedd.exchange.messages import TimeUnit, Watched


class StreamSink(Protocol):
    """What `Subscriptions` needs of a connection."""

    @property
    def unit(self) -> TimeUnit:
        """The unit in which it is sent times."""


S = TypeVar("S", bound=StreamSink)


class Subscriptions(Generic[S]):
    """The subscribers of each stream. Streams of unknown symbols are ignored, as Binance does."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._by_prefix = {symbol.lower(): symbol for symbol in symbols}
        self._sinks: dict[str, dict[str, dict[S, None]]] = {symbol: {} for symbol in symbols}
        self._streams: dict[S, frozenset[tuple[str, str]]] = {}

    def split(self, name: str) -> tuple[str, str] | None:
        """Split a stream's name in symbol and kind; None if there is no such symbol."""
        prefix, _, kind = name.partition("@")
        symbol = self._by_prefix.get(prefix)
        return (symbol, kind) if symbol and kind else None

    def symbols(self, names: Iterable[str]) -> frozenset[str]:
        """Find the symbols that streams are about."""
        return frozenset(stream[0] for name in names if (stream := self.split(name)))

    def subscribe(self, sink: S, names: Iterable[str]) -> set[str]:
        """Subscribe a connection to these streams and no others; return the symbols that this concerns."""
        before = self._streams.pop(sink, frozenset())
        after = frozenset(stream for name in names if (stream := self.split(name)))
        if after:
            self._streams[sink] = after
        for symbol, kind in before - after:
            sinks = self._sinks[symbol][kind]
            del sinks[sink]
            if not sinks:
                del self._sinks[symbol][kind]
        for symbol, kind in after - before:
            self._sinks[symbol].setdefault(kind, {})[sink] = None
        return {symbol for symbol, _ in before ^ after}

    def subscribers(self, symbol: str, kind: str) -> Collection[S]:
        """List the subscribers of a stream."""
        return self._sinks[symbol].get(kind, {})

    def watched(self, symbol: str) -> Watched:
        """List the streams of a symbol that have subscribers, each with the units they want times in."""
        return {
            kind: tuple(dict.fromkeys(sink.unit for sink in sinks))
            for kind, sinks in self._sinks[symbol].items()
        }
