"""The streams of Binance spot: their names on the wire, and what each of them can prove.

Source: Binance spot docs, web-socket-streams.md. Case matters, as on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from feedd.model import Continuity, ContinuityRule, Stream, StreamKind
from feedd.venues.binance.spot.payloads import (
    AggTrade,
    AveragePrice,
    BookTicker,
    Depth,
    Kline,
    MiniTicker,
    PartialDepth,
    Ticker,
    Trade,
    WindowTicker,
)
from feedd.venues.venue import StreamDefinition

KLINE_INTERVALS: Final = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip

_BY_EVENT_TIME: Final = Continuity(ContinuityRule.EVENT_TIME)
_DEPTH: Final = Continuity(ContinuityRule.SPAN, first="first_update_id", last="last_update_id")
_PARTIAL_DEPTH: Final = Continuity(ContinuityRule.RISING, first="last_update_id", may_repeat=True)


def _trades() -> Iterator[StreamDefinition]:
    trade_ids = Continuity(ContinuityRule.STEP, first="trade_id")
    trade = Stream("trade", StreamKind.TRADE, trade_ids, has_history=True)
    yield StreamDefinition(trade, Trade, ("trade",))
    aggregate_ids = Continuity(ContinuityRule.STEP, first="aggregate_id")
    aggregate = Stream("aggTrade", StreamKind.AGG_TRADE, aggregate_ids, has_history=True)
    yield StreamDefinition(aggregate, AggTrade, ("aggTrade",))


def _books() -> Iterator[StreamDefinition]:
    update_ids = Continuity(ContinuityRule.RISING, first="update_id")
    yield StreamDefinition(Stream("bookTicker", StreamKind.BOOK_TICKER, update_ids), BookTicker)
    for name, seconds in (("depth", 1.0), ("depth@100ms", 0.1)):
        yield StreamDefinition(Stream(name, StreamKind.DEPTH, _DEPTH), Depth, ("depthUpdate",), seconds)
    for levels in (5, 10, 20):
        for speed, seconds in (("", 1.0), ("@100ms", 0.1)):
            name = f"depth{levels}{speed}"
            stream = Stream(name, StreamKind.PARTIAL_DEPTH, _PARTIAL_DEPTH, carries_symbol=False)
            yield StreamDefinition(stream, PartialDepth, (), seconds)


def _candles() -> Iterator[StreamDefinition]:
    for interval in KLINE_INTERVALS:
        is_second = interval == "1s"
        stream = Stream(f"kline_{interval}", StreamKind.KLINE, _BY_EVENT_TIME)
        yield StreamDefinition(stream, Kline, ("kline",), 1.0 if is_second else 2.0, is_heartbeat=is_second)


def _tickers() -> Iterator[StreamDefinition]:
    mini = Stream("miniTicker", StreamKind.MINI_TICKER, _BY_EVENT_TIME)
    yield StreamDefinition(mini, MiniTicker, ("24hrMiniTicker",), 1.0)
    yield StreamDefinition(Stream("ticker", StreamKind.TICKER, _BY_EVENT_TIME), Ticker, ("24hrTicker",), 1.0)
    for window in ("1h", "4h", "1d"):
        stream = Stream(f"ticker_{window}", StreamKind.WINDOW_TICKER, _BY_EVENT_TIME)
        yield StreamDefinition(stream, WindowTicker, ("1hTicker", "4hTicker", "1dTicker"), 1.0)
    average = Stream("avgPrice", StreamKind.AVERAGE_PRICE, _BY_EVENT_TIME)
    yield StreamDefinition(average, AveragePrice, ("avgPrice",), 1.0)


STREAMS: Final[Mapping[str, StreamDefinition]] = {
    each.stream.name: each for each in (*_trades(), *_books(), *_candles(), *_tickers())
}
"""By their name without the symbol."""
EVENT_NAMES: Final = frozenset(name for each in STREAMS.values() for name in each.event_names)
