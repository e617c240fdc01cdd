"""The made-up market: what every symbol's streams say up to a given time. Deterministic by seed, and pure.

Trades happen at their own pace, whatever the size of the steps in which the market is advanced, so two
markets with the same seed that are watched in the same way say the same bytes. Times are microseconds.

A symbol is made when it is first watched or asked for. Unwatched, it goes on trading for ten minutes, so that
whoever comes back finds what it missed; then it sleeps, and wakes with its ids moved on as if it had traded.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import partial
from itertools import islice
from random import Random
from typing import Protocol, TypeVar

import orjson

from feedd.exchange import payloads
from feedd.exchange.book import Book
from feedd.exchange.candles import SECOND
from feedd.exchange.messages import Document, Message, TimeUnit, Watched
from feedd.exchange.tape import Trade, aggregate
from feedd.exchange.timed_streams import Body, Feed, Venue, make_feed

SLOT = 10_000
"""How far the market's steps are apart: no message is told later than this after it happened."""

NOBODY: Watched = {}

_NEVER = sys.maxsize
_KEPT_AWAKE = 600 * SECOND
# After a suspend, or when the clock was set, the market goes on from there: nobody wants hours at one go.
_LEAP = 60 * SECOND
# What REST can still be asked for: per symbol, and together so that a thousand symbols fit in memory.
_HISTORY_PER_SYMBOL = 100_000
_HISTORY_TOGETHER = 500_000
# One taker order fills this many trades: 1.5 on average.
_FILLS = (1, 1, 1, 3)
_MEAN_FILLS = sum(_FILLS) / len(_FILLS)


class SymbolMarket:
    """One symbol's trades, book and everything that is told about them."""

    def __init__(self, symbol: str, seed: int, rate: float, start: int, history: int) -> None:
        self._random = Random(f"{seed}/{symbol}")
        self._rate = rate
        price = self._random.randint(100_000, 5_000_000)
        book = Book(self._random, price, update_id=self._random.randint(10**9, 10**10))
        self.venue = Venue(symbol, book, deque(maxlen=history), deque(maxlen=history), start)
        self._trade_id = self._random.randint(10**8, 10**9)
        self._aggregate_id = self._random.randint(10**7, 10**8)
        self._top = book.top
        self._watched = NOBODY
        self._feeds: dict[str, Feed] = {}
        self._tick_length = SECOND
        self._next_tick = _NEVER
        self._next_order = start
        self._schedule_order()

    def watch(self, watched: Watched) -> None:
        """Say which streams are listened to from now on; names that mean nothing are never told."""
        self._watched = watched
        for kind in [kind for kind in self._feeds if kind not in watched]:
            self._feeds.pop(kind).end()
        for kind in watched:
            if kind not in self._feeds and (feed := make_feed(self.venue, kind)):
                self._feeds[kind] = feed
        lengths = [feed.length for feed in self._feeds.values()]
        self._tick_length = min(lengths, default=SECOND)
        following = (self.venue.now // self._tick_length + 1) * self._tick_length
        self._next_tick = following if lengths else _NEVER

    def advance(self, now: int) -> list[Message]:
        """Let the market run up to `now` and return what its watched streams said, in order."""
        messages: list[Message] = []
        while (due := min(self._next_tick, self._next_order)) <= now:
            self.venue.now = due
            # A candle that ends at this very moment does not hold a trade of this very moment.
            if due == self._next_tick:
                self._tick(due, messages)
            else:
                self._order(due, messages)
        self.venue.now = max(self.venue.now, now)
        return messages

    def leap(self, now: int) -> None:
        """Skip the time up to `now`: the ids move on, what happened is forgotten."""
        trades = int(max(now - self.venue.now, 0) * self._rate / SECOND)
        self._trade_id += trades
        self._aggregate_id += int(trades / _MEAN_FILLS)
        self.venue.book.skip_ids(2 * trades)
        self.venue.now = self._next_order = now
        self._schedule_order()
        self._forget()
        self.watch(self._watched)

    def restart_ids(self) -> None:
        """Number the next trade, aggregate and book update 1, as a wiped venue does."""
        self._trade_id = self._aggregate_id = 0
        self.venue.book.restart_ids()
        self._forget()

    def _forget(self) -> None:
        self.venue.forget()
        for feed in self._feeds.values():
            feed.forget()

    def _schedule_order(self) -> None:
        if not self._rate:
            self._next_order = _NEVER
            return
        mean = _MEAN_FILLS * SECOND / self._rate
        # Never further apart than 1.5 times the mean: a drill at a low rate must not look like silence.
        self._next_order += max(1, int(mean * self._random.uniform(0.5, 1.5)))

    def _order(self, due: int, messages: list[Message]) -> None:
        venue = self.venue
        is_buyer_maker = self._random.random() < 0.5
        price = venue.book.best_bid if is_buyer_maker else venue.book.best_ask
        fills = [self._fill(price, due, is_buyer_maker) for _ in range(self._random.choice(_FILLS))]
        self._aggregate_id += 1
        order = aggregate(self._aggregate_id, fills)
        venue.aggregates.append(order)
        venue.book.trade(order.quantity, is_buyer_maker)
        self._schedule_order()
        if not self._watched:
            return
        for trade in fills:
            self._tell("trade", partial(payloads.trade, venue.symbol, trade), messages)
        self._tell("aggTrade", partial(payloads.aggregate_trade, venue.symbol, order), messages)
        if (top := venue.book.top) != self._top:
            self._top = top
            update_id = venue.book.update_id
            self._tell("bookTicker", lambda _: payloads.book_ticker(venue.symbol, update_id, top), messages)

    def _fill(self, price: int, due: int, is_buyer_maker: bool) -> Trade:
        self._trade_id += 1
        trade = Trade(self._trade_id, price, self._random.randint(1, 50_000), due, is_buyer_maker)
        self.venue.add(trade)
        for feed in self._feeds.values():
            feed.add(trade)
        return trade

    def _tick(self, due: int, messages: list[Message]) -> None:
        self._next_tick = due + self._tick_length
        for kind, feed in self._feeds.items():
            if due % feed.length == 0 and (body := feed.tick(due)):
                self._tell(kind, body, messages)

    def _tell(self, kind: str, body: Body, messages: list[Message]) -> None:
        units = self._watched.get(kind)
        if units:
            rendered = {unit: orjson.dumps(body(unit.value)) for unit in units}
            messages.append(Message(self.venue.symbol, kind, rendered))


class Market:
    """Every symbol of the exchange, each made when it is first needed."""

    def __init__(self, symbols: tuple[str, ...], seed: int, rate: float) -> None:
        self.symbols = symbols
        self._seed = seed
        self._rate = rate
        self._history = min(_HISTORY_PER_SYMBOL, _HISTORY_TOGETHER // len(symbols))
        self._made: dict[str, SymbolMarket] = {}
        self._awake: dict[str, int] = {}
        """When each symbol that runs may go to sleep."""
        self._changes: dict[str, Watched] = {}
        self._now: int | None = None

    def watch(self, symbol: str, watched: Watched) -> None:
        """Say which of a symbol's streams are listened to once the market is next advanced."""
        self._changes[symbol] = watched

    def advance(self, now: int) -> list[Message]:
        """Let every symbol that runs run up to `now`; return what was said since the last time."""
        if self._now is not None and abs(now - self._now) > _LEAP:
            for symbol in self._awake:
                self._made[symbol].leap(now)
        self._now = now
        messages: list[Message] = []
        for symbol in self._awake:
            messages += self._made[symbol].advance(now)
        for symbol, watched in self._changes.items():
            self._wake(symbol, now).watch(watched)
            self._awake[symbol] = _NEVER if watched else now + _KEPT_AWAKE
        self._changes.clear()
        self._awake = {symbol: until for symbol, until in self._awake.items() if until > now}
        return messages

    def next_due(self, now: int) -> int | None:
        """When the market must be advanced next; None while nothing runs in it."""
        if self._changes:
            return now
        return (now // SLOT + 1) * SLOT if self._awake else None

    def restart_ids(self, symbol: str, now: int) -> None:
        """Let a symbol's ids start from 1 again."""
        self._wake(symbol, now).restart_ids()

    def trades(self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int) -> list[Document]:
        """List trades as REST does: from an id on, or else the newest."""
        kept = self._wake(symbol, now).venue.trades
        return [payloads.rest_trade(trade, unit.value) for trade in _select(kept, first, limit)]

    def aggregates(
        self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int
    ) -> list[Document]:
        """List aggregate trades as REST does: from an id on, or else the newest."""
        kept = self._wake(symbol, now).venue.aggregates
        return [payloads.rest_aggregate(each, unit.value) for each in _select(kept, first, limit)]

    def _wake(self, symbol: str, now: int) -> SymbolMarket:
        market = self._made.get(symbol)
        if market is None:
            market = SymbolMarket(symbol, self._seed, self._rate, now, self._history)
            self._made[symbol] = market
        elif symbol not in self._awake:
            market.leap(now)
        self._awake.setdefault(symbol, now + _KEPT_AWAKE)
        return market


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


_Kept = TypeVar("_Kept", bound=_Numbered)


def _select(kept: deque[_Kept], first: int | None, limit: int) -> list[_Kept]:
    if not kept:
        return []
    start = len(kept) - limit if first is None else first - kept[0].id
    start = max(start, 0)
    return list(islice(kept, start, start + limit))
