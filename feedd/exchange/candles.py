"""Candles: the bounds of intervals, and OHLCV sums of trades. Times are microseconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from feedd.exchange.tape import TapeTrade

SECOND = 1_000_000
_MINUTE = 60 * SECOND
_HOUR = 60 * _MINUTE
DAY = 24 * _HOUR
_WEEK = 7 * DAY
# 1970-01-01 was a Thursday; Binance's weeks begin on Mondays.
_FIRST_MONDAY = 4 * DAY

_LENGTHS = {
    "1s": SECOND,
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": _HOUR,
    "2h": 2 * _HOUR,
    "4h": 4 * _HOUR,
    "6h": 6 * _HOUR,
    "8h": 8 * _HOUR,
    "12h": 12 * _HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
}
INTERVALS = (*_LENGTHS, "1w", "1M")


@dataclass(slots=True)
class CandleBuilder:
    """The OHLCV sums from `start` until just before `end`; without trades `first` and `last` are -1."""

    start: int
    end: int
    open: int
    close: int
    high: int
    low: int
    first: int = -1
    last: int = -1
    count: int = 0
    quantity: int = 0
    turnover: int = 0
    taker_quantity: int = 0
    taker_turnover: int = 0

    @property
    def mean_price(self) -> int:
        """The volume-weighted average price; the last price without trades."""
        return self.turnover // self.quantity if self.quantity else self.close

    def add_trade(self, trade: TapeTrade) -> None:
        """Count a trade in; trades must come in their order."""
        if not self.count:
            self.first = trade.id
            self.open = self.high = self.low = trade.price
        self.last = trade.id
        self.close = trade.price
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.count += 1
        self.quantity += trade.quantity
        self.turnover += trade.price * trade.quantity
        if not trade.is_buyer_maker:
            self.taker_quantity += trade.quantity
            self.taker_turnover += trade.price * trade.quantity


def bounds(interval: str, time: int) -> tuple[int, int]:
    """Find the start and the end of the candle that `time` falls in."""
    if interval == "1M":
        return _month(time)
    period, offset = (_WEEK, _FIRST_MONDAY) if interval == "1w" else (_LENGTHS[interval], 0)
    start = (time - offset) // period * period + offset
    return start, start + period


def candle_from(interval: str, time: int, price: int, newest_first: Iterable[TapeTrade]) -> CandleBuilder:
    """Build the candle that is open at `time` from those of its trades that are still kept."""
    start, end = bounds(interval, time)
    candle = CandleBuilder(start, end, price, price, price, price)
    trades: list[TapeTrade] = []
    for trade in newest_first:
        if trade.time < start:
            break
        trades.append(trade)
    for trade in reversed(trades):
        candle.add_trade(trade)
    return candle


def _month(time: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    end = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()) * SECOND, int(end.timestamp()) * SECOND
