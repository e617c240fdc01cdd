"""The streams that speak at fixed times instead of when something happens. Times are microseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from feedd.exchange import payloads
from feedd.exchange.book import Book
from feedd.exchange.candles import DAY, INTERVALS, SECOND, Candle, bounds, candle_from
from feedd.exchange.messages import Document
from feedd.exchange.tape import Aggregate, Trade

_TENTH = SECOND // 10

Body = Callable[[int], Document]
"""Builds a payload for a unit, which is given in microseconds."""


@dataclass
class Venue:
    """What there is to tell about one symbol: its book, its tape, and the time it has run to."""

    symbol: str
    book: Book
    trades: deque[Trade]
    aggregates: deque[Aggregate]
    now: int
    last_time: int = field(init=False)
    day: Candle = field(init=False)
    """All that was traded. The market is younger than most windows, so it stands for every one of them."""

    def __post_init__(self) -> None:
        self.last_time = self.now
        self.day = self._empty(self.book.best_bid)

    @property
    def last_price(self) -> int:
        """The price of the newest trade, or where the market began."""
        return self.day.close

    def add(self, trade: Trade) -> None:
        """Put a trade on the tape."""
        self.trades.append(trade)
        self.day.add(trade)
        self.last_time = trade.time

    def forget(self) -> None:
        """Empty the tape; the price stays."""
        self.trades.clear()
        self.aggregates.clear()
        self.day = self._empty(self.last_price)

    def _empty(self, price: int) -> Candle:
        return Candle(self.now, self.now + DAY, price, price, price, price)


class Feed(Protocol):
    """A stream with a pace of its own: `tick` is called at each multiple of `length`."""

    length: int

    def tick(self, due: int) -> Body | None:
        """Return what is to be told now, if anything."""

    def add(self, trade: Trade) -> None:
        """Take note of a trade."""

    def forget(self) -> None:
        """Begin anew, because the ids do."""

    def end(self) -> None:
        """Let go of what was held: nobody listens any more."""


class _Plain:
    """What a feed does that keeps nothing of its own."""

    def add(self, trade: Trade) -> None:
        """Nothing to note: the venue keeps it."""

    def forget(self) -> None:
        """Nothing to begin anew."""

    def end(self) -> None:
        """Nothing was held."""


class DepthFeed(_Plain):
    """The levels that changed: `U` follows the `u` before it without a hole."""

    def __init__(self, venue: Venue, length: int) -> None:
        self.length = length
        self._venue = venue
        self._changes = venue.book.follow()

    def tick(self, due: int) -> Body | None:
        """Tell what changed; a book that stood still says nothing."""
        changes = self._changes
        if not changes:
            return None
        book = self._venue.book
        self._changes = book.take(changes)
        return partial(payloads.depth_update, self._venue.symbol, changes, book.update_id, due)

    def end(self) -> None:
        """Stop collecting."""
        self._venue.book.unfollow(self._changes)


class PartialDepthFeed(_Plain):
    """The best levels of the book, whenever it changed."""

    def __init__(self, venue: Venue, levels: int, length: int) -> None:
        self.length = length
        self._book = venue.book
        self._levels = levels
        self._told = -1

    def tick(self, due: int) -> Body | None:
        """Tell the best levels if any level changed."""
        book = self._book
        if self._told == book.update_id:
            return None
        self._told = book.update_id
        return lambda unit: payloads.partial_depth(book.update_id, *book.best(self._levels))


class CandleFeed(_Plain):
    """One interval: a closing message at each end, and one every 2 s in between while trades come.

    `kline_1s` so speaks every second, trades or not.
    """

    length = SECOND

    def __init__(self, venue: Venue, interval: str) -> None:
        self._venue = venue
        self._interval = interval
        self._candle = candle_from(interval, venue.now, venue.last_price, reversed(venue.trades))
        self._is_changed = bool(self._candle.count)

    def tick(self, due: int) -> Body | None:
        """Close the candle if its time is over, else tell how it stands every other second."""
        candle = self._candle
        is_closed = due >= candle.end
        if is_closed:
            self._begin(due)
        elif self._is_changed and due % (2 * SECOND) == 0:
            self._is_changed = False
        else:
            return None
        return partial(payloads.kline, self._venue.symbol, self._interval, candle, is_closed, due)

    def add(self, trade: Trade) -> None:
        """Count a trade in."""
        self._candle.add(trade)
        self._is_changed = True

    def forget(self) -> None:
        """Begin the candle anew."""
        self._begin(self._venue.now)

    def _begin(self, time: int) -> None:
        price = self._venue.last_price
        self._candle = Candle(*bounds(self._interval, time), price, price, price, price)
        self._is_changed = False


class SummaryFeed(_Plain):
    """Every second, something that is reckoned from the venue as it stands."""

    length = SECOND

    def __init__(self, venue: Venue, body: Callable[[Venue, int, int], Document]) -> None:
        self._venue = venue
        self._body = body

    def tick(self, due: int) -> Body | None:
        """Tell how things stand."""
        return partial(self._body, self._venue, due)


def make_feed(venue: Venue, kind: str) -> Feed | None:
    """Make what speaks for a stream at fixed times; None for one that doesn't, or that nobody knows."""
    name, _, pace = kind.partition("@")
    length = {"": SECOND, "100ms": _TENTH}.get(pace)
    if length is None:
        return None
    if name == "depth":
        return DepthFeed(venue, length)
    if name in ("depth5", "depth10", "depth20"):
        return PartialDepthFeed(venue, int(name.removeprefix("depth")), length)
    if pace:
        return None
    if name.startswith("kline_") and name.removeprefix("kline_") in INTERVALS:
        return CandleFeed(venue, name.removeprefix("kline_"))
    summary = _SUMMARIES.get(name)
    return SummaryFeed(venue, summary) if summary else None


def _mini_ticker(venue: Venue, due: int, unit: int) -> Document:
    return payloads.mini_ticker(venue.symbol, venue.day, due, unit)


def _day_ticker(venue: Venue, due: int, unit: int) -> Document:
    newest = venue.trades[-1].quantity if venue.trades else 0
    return payloads.day_ticker(venue.symbol, venue.day, newest, venue.book.top, due, unit)


def _window_ticker(event: str, length: int) -> Callable[[Venue, int, int], Document]:
    return lambda venue, due, unit: payloads.window_ticker(event, venue.symbol, venue.day, length, due, unit)


def _average_price(venue: Venue, due: int, unit: int) -> Document:
    return payloads.average_price(venue.symbol, venue.day, venue.last_time, due, unit)


def _reference_price(venue: Venue, due: int, unit: int) -> Document:
    return payloads.reference_price(venue.symbol, venue.last_price, due, unit)


_SUMMARIES = {
    "miniTicker": _mini_ticker,
    "ticker": _day_ticker,
    "ticker_1h": _window_ticker("1hTicker", DAY // 24),
    "ticker_4h": _window_ticker("4hTicker", DAY // 6),
    "ticker_1d": _window_ticker("1dTicker", DAY),
    "avgPrice": _average_price,
    "referencePrice": _reference_price,
}
