"""The streams that speak at fixed times instead of when something happens. Times are microseconds."""

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
    """What there is to tell about one symbol: its book, its tape, and the time it has run to."""

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

    def add_trade(self, trade: TapeTrade) -> None:
        """Put a trade on the tape."""
        self.trades.append(trade)
        self.day.add_trade(trade)
        self.last_time = trade.time

    def reset(self) -> None:
        """Empty the tape; the price stays."""
        self.trades.clear()
        self.aggregates.clear()
        self.day = self._empty(self.last_price)

    def _empty(self, price: int) -> CandleBuilder:
        return CandleBuilder(self.now, self.now + DAY, price, price, price, price)


class TimedStream(Protocol):
    """A stream with a pace of its own: `tick` is called at each multiple of `length`."""

    period: int

    def tick(self, due: int) -> PayloadBuilder | None:
        """Return what is to be told now, if anything."""

    def add_trade(self, trade: TapeTrade) -> None:
        """Take note of a trade."""

    def reset(self) -> None:
        """Begin anew, because the ids do."""

    def close(self) -> None:
        """Let go of what was held: nobody listens any more."""


class _StatelessStream:
    """What a feed does that keeps nothing of its own."""

    def add_trade(self, trade: TapeTrade) -> None:
        """Nothing to note: the venue keeps it."""

    def reset(self) -> None:
        """Nothing to begin anew."""

    def close(self) -> None:
        """Nothing was held."""


class DepthStream(_StatelessStream):
    """The levels that changed: `U` follows the `u` before it without a hole."""

    def __init__(self, state: MarketState, period: int) -> None:
        self.period = period
        self._state = state
        self._changes = state.book.collect_changes()

    def tick(self, due: int) -> PayloadBuilder | None:
        """Tell what changed; a book that stood still says nothing."""
        changes = self._changes
        if not changes:
            return None
        book = self._state.book
        self._changes = book.restart_collecting(changes)
        return partial(payloads.depth_update, self._state.symbol, changes, book.update_id, due)

    def close(self) -> None:
        """Stop collecting."""
        self._state.book.stop_collecting(self._changes)


class PartialDepthStream(_StatelessStream):
    """The best levels of the book, whenever it changed."""

    def __init__(self, state: MarketState, levels: int, period: int) -> None:
        self.period = period
        self._book = state.book
        self._levels = levels
        self._told = -1

    def tick(self, due: int) -> PayloadBuilder | None:
        """Tell the best levels if any level changed."""
        book = self._book
        if self._told == book.update_id:
            return None
        self._told = book.update_id
        return lambda unit: payloads.partial_depth(book.update_id, *book.best(self._levels))


class KlineStream(_StatelessStream):
    """One interval: a closing message at each end, and one every 2 s in between while trades come.

    `kline_1s` so speaks every second, trades or not.
    """

    period = SECOND

    def __init__(self, state: MarketState, interval: str) -> None:
        self._state = state
        self._interval = interval
        self._candle = candle_from(interval, state.now, state.last_price, reversed(state.trades))
        self._is_changed = bool(self._candle.count)

    def tick(self, due: int) -> PayloadBuilder | None:
        """Close the candle if its time is over, else tell how it stands every other second."""
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
        """Begin the candle anew."""
        self._begin(self._state.now)

    def _begin(self, time: int) -> None:
        price = self._state.last_price
        self._candle = CandleBuilder(*bounds(self._interval, time), price, price, price, price)
        self._is_changed = False


class SummaryStream(_StatelessStream):
    """Every second, something that is reckoned from the venue as it stands."""

    period = SECOND

    def __init__(self, state: MarketState, body: Callable[[MarketState, int, int], Document]) -> None:
        self._state = state
        self._body = body

    def tick(self, due: int) -> PayloadBuilder | None:
        """Tell how things stand."""
        return partial(self._body, self._state, due)


def make_timed_stream(state: MarketState, kind: str) -> TimedStream | None:
    """Make what speaks for a stream at fixed times; None for one that doesn't, or that nobody knows."""
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
