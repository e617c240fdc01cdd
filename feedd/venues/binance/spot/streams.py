"""The streams of Binance spot: their names on the wire, and what each of them can prove.

Source: Binance spot docs, web-socket-streams.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from feedd.venues.binance.spot.payloads import (
    AggTrade,
    AveragePrice,
    BookTicker,
    Depth,
    Kline,
    MiniTicker,
    PartialDepth,
    Payload,
    Ticker,
    Trade,
    WindowTicker,
)
from feedd.venues.binance.spot.stream_names import is_stream_name, nearest_stream_name


class StreamKind(Enum):
    """A family of streams that share one payload and one rule of continuity.

    `event_names` are the values of the payload's `e` (none: it has no such field). `counts_loss` says that
    ids are without holes, so that a hole is a loss. A stream without it can only tell a repetition.
    """

    TRADE = (Trade, ("trade",), True)
    AGG_TRADE = (AggTrade, ("aggTrade",), True)
    BOOK_TICKER = (BookTicker, (), False)
    DEPTH = (Depth, ("depthUpdate",), True)
    PARTIAL_DEPTH = (PartialDepth, (), False)
    KLINE = (Kline, ("kline",), False)
    MINI_TICKER = (MiniTicker, ("24hrMiniTicker",), False)
    TICKER = (Ticker, ("24hrTicker",), False)
    WINDOW_TICKER = (WindowTicker, ("1hTicker", "4hTicker", "1dTicker"), False)
    AVERAGE_PRICE = (AveragePrice, ("avgPrice",), False)

    def __init__(self, payload_type: type[Payload], event_names: tuple[str, ...], counts_loss: bool) -> None:
        self.payload_type = payload_type
        self.event_names = event_names
        self.counts_loss = counts_loss

    @property
    def has_history(self) -> bool:
        """Tell whether messages that were missed can be fetched by their ids (rest-api.md)."""
        return self in (StreamKind.TRADE, StreamKind.AGG_TRADE)


_KINDS = {
    "trade": StreamKind.TRADE,
    "aggTrade": StreamKind.AGG_TRADE,
    "bookTicker": StreamKind.BOOK_TICKER,
    "depth": StreamKind.DEPTH,
    "depth@100ms": StreamKind.DEPTH,
    "miniTicker": StreamKind.MINI_TICKER,
    "ticker": StreamKind.TICKER,
    "avgPrice": StreamKind.AVERAGE_PRICE,
}


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream without its symbol, such as `trade`, `depth@100ms` or `kline_1s`: the label in the metrics."""

    name: str
    kind: StreamKind

    @property
    def interval(self) -> str | None:
        """The candle's interval of a kline stream, else None."""
        return self.name.removeprefix("kline_") if self.kind is StreamKind.KLINE else None


def parse_stream(name: str) -> Stream:
    """Return the stream of that name. Raises ValueError, which names the nearest one, for any other."""
    if not is_stream_name(name):
        nearest = nearest_stream_name(name)
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise ValueError(f"expected a stream of Binance spot, found {name!r}{hint}")
    return Stream(name, _kind_of(name))


def _kind_of(name: str) -> StreamKind:
    if name in _KINDS:
        return _KINDS[name]
    if name.startswith("kline_"):
        return StreamKind.KLINE
    if name.startswith("ticker_"):
        return StreamKind.WINDOW_TICKER
    return StreamKind.PARTIAL_DEPTH


@dataclass(frozen=True, slots=True)
class Subscription:
    """One stream of one symbol."""

    symbol: str
    stream: Stream

    @property
    def wire_name(self) -> str:
        """The name that Binance knows it by: the symbol in lower case, the rest is case-sensitive."""
        return f"{self.symbol.lower()}@{self.stream.name}"

    @property
    def wire_symbol(self) -> str | None:
        """What the payload's symbol field must say; None where the payload carries none."""
        return None if self.stream.kind is StreamKind.PARTIAL_DEPTH else self.symbol
