"""The streams that send at fixed times instead of when something happens. Times are microseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from feedd.exchange import payloads
from feedd.exchange.book import Book
from feedd.exchange.candles import DAY, INTERVALS, SECOND, CandleBuilder, bounds, candle_from
from feedd.exchange.messages import Document
from feedd.exchange.tape import TapeAggregate, TapeTrade

_TENTH = SECOND // 10

PayloadBuilder = Callable[[int], Document]
"""Builds a payload for a unit, which is given in microseconds."""


@dataclass
class MarketState:
    """One symbol's book, its recent trades, and the time up to which it was simulated."""

    symbol: str
    book: Book
    trades: deque[TapeTrade]
    aggregates: deque[TapeAggregate]
    now: int
    last_time: int = field(init=False)
    day: CandleBuilder = field(init=False)
    """All that was traded. The market is younger than most windows, so it stands for every one of them."""

    def __post_init__(self) -> None:
        self.last_time = self.now
        self.day = self._empty(self.book.best_bid)

    @property
    def last_price(self) -> int:
        """The price of the newest trade, or where the market began."""
        return self.day.close

    def advance_to(self, now: int) -> None:
        """Set the time up to which the market was simulated; a clock that was set back sets it back."""
        self.now = now

    def add_trade(self, trade: TapeTrade) -> None:
        """Append a trade to the tape, and count it in the day's candle."""
        self.trades.append(trade)
        self.day.add_trade(trade)
        self.last_time = trade.time

    def reset(self) -> None:
        """Forget all trades; the last price stays."""
        self.trades.clear()
        self.aggregates.clear()
        self.day = self._empty(self.last_price)

    def _empty(self, price: int) -> CandleBuilder:
        return CandleBuilder(self.now, self.now + DAY, price, price, price, price)


class TimedStream(Protocol):
    """A stream that sends at fixed times: `tick` is called at each multiple of `period`."""

    period: int

    def tick(self, due: int) -> PayloadBuilder | None:
        """Return the payload that is due now; None if nothing is."""

    def add_trade(self, trade: TapeTrade) -> None:
        """Count a trade in."""

    def reset(self) -> None:
        """Forget all trades, because ids restart or time was skipped."""

    def close(self) -> None:
        """Free what the stream holds, because it has lost its last subscriber."""


class _StatelessStream:
    """A timed stream that keeps no trades of its own."""

    def add_trade(self, trade: TapeTrade) -> None:
        """Do nothing: the market's state keeps the trade."""

    def reset(self) -> None:
        """Do nothing: there are no trades to forget."""

    def close(self) -> None:
        """Do nothing: nothing is held."""


class DepthStream(_StatelessStream):
    """The levels that changed; each update's `U` is the previous one's `u` plus one."""

    def __init__(self, state: MarketState, period: int) -> None:
        self.period = period
        self._state = state
        self._changes = state.book.collect_changes()

    def tick(self, due: int) -> PayloadBuilder | None:
        """Return the changes since the last update; None if no level changed."""
        changes = self._changes
        if not changes:
            return None
        book = self._state.book
        self._changes = book.restart_collecting(changes)
        return partial(payloads.depth_update, self._state.symbol, changes, book.update_id, due)

    def close(self) -> None:
        """Stop collecting changes of the book."""
        self._state.book.stop_collecting(self._changes)


class PartialDepthStream(_StatelessStream):
    """The best levels of the book, sent only when any level has changed."""

    def __init__(self, state: MarketState, levels: int, period: int) -> None:
        self.period = period
        self._book = state.book
        self._levels = levels
        self._sent_update_id = -1

    def tick(self, due: int) -> PayloadBuilder | None:
        """Return the best levels; None if no level changed since they were last sent."""
        book = self._book
        if self._sent_update_id == book.update_id:
            return None
        self._sent_update_id = book.update_id
        return lambda unit: payloads.partial_depth(book.update_id, *book.best(self._levels))


class KlineStream(_StatelessStream):
    """The klines of one interval: one that closes at each end, and one every 2 s meanwhile if trades came.

    `kline_1s` therefore sends every second, with trades or without.
    """

    period = SECOND

    def __init__(self, state: MarketState, interval: str) -> None:
        self._state = state
        self._interval = interval
        self._candle = candle_from(interval, state.now, state.last_price, reversed(state.trades))
        self._is_changed = bool(self._candle.count)

    def tick(self, due: int) -> PayloadBuilder | None:
        """Return the closed candle at its end; else, at even seconds, the open one if trades have come."""
        candle = self._candle
        is_closed = due >= candle.end
        if is_closed:
            self._begin(due)
        elif self._is_changed and due % (2 * SECOND) == 0:
            self._is_changed = False
        else:
            return None
        return partial(payloads.kline, self._state.symbol, self._interval, candle, is_closed, due)

    def add_trade(self, trade: TapeTrade) -> None:
        """Count a trade in."""
        self._candle.add_trade(trade)
        self._is_changed = True

    def reset(self) -> None:
        """Start an empty candle."""
        self._begin(self._state.now)

    def _begin(self, time: int) -> None:
        price = self._state.last_price
        self._candle = CandleBuilder(*bounds(self._interval, time), price, price, price, price)
        self._is_changed = False


class SummaryStream(_StatelessStream):
    """A payload that is computed every second from the market's state."""

    period = SECOND

    def __init__(self, state: MarketState, body: Callable[[MarketState, int, int], Document]) -> None:
        self._state = state
        self._body = body

    def tick(self, due: int) -> PayloadBuilder | None:
        """Return the payload of the current state."""
        return partial(self._body, self._state, due)


def make_timed_stream(state: MarketState, kind: str) -> TimedStream | None:
    """Make the timed stream of that name; None if it is unknown, or doesn't send at fixed times."""
    name, _, pace = kind.partition("@")
    period = {"": SECOND, "100ms": _TENTH}.get(pace)
    if period is None:
        return None
    if name == "depth":
        return DepthStream(state, period)
    if name in ("depth5", "depth10", "depth20"):
        return PartialDepthStream(state, int(name.removeprefix("depth")), period)
    if pace:
        return None
    if name.startswith("kline_") and name.removeprefix("kline_") in INTERVALS:
        return KlineStream(state, name.removeprefix("kline_"))
    summary = _SUMMARIES.get(name)
    return SummaryStream(state, summary) if summary else None


def _mini_ticker(state: MarketState, due: int, unit: int) -> Document:
    return payloads.mini_ticker(state.symbol, state.day, due, unit)


def _day_ticker(state: MarketState, due: int, unit: int) -> Document:
    newest = state.trades[-1].quantity if state.trades else 0
    return payloads.day_ticker(state.symbol, state.day, newest, state.book.top, due, unit)


def _window_ticker(event: str, period: int) -> Callable[[MarketState, int, int], Document]:
    return lambda state, due, unit: payloads.window_ticker(event, state.symbol, state.day, period, due, unit)


def _average_price(state: MarketState, due: int, unit: int) -> Document:
    return payloads.average_price(state.symbol, state.day, state.last_time, due, unit)


def _reference_price(state: MarketState, due: int, unit: int) -> Document:
    return payloads.reference_price(state.symbol, state.last_price, due, unit)


_SUMMARIES = {
    "miniTicker": _mini_ticker,
    "ticker": _day_ticker,
    "ticker_1h": _window_ticker("1hTicker", DAY // 24),
    "ticker_4h": _window_ticker("4hTicker", DAY // 6),
    "ticker_1d": _window_ticker("1dTicker", DAY),
    "avgPrice": _average_price,
    "referencePrice": _reference_price,
}
