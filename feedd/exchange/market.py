"""The simulated market: what each symbol's streams send up to a given time. Deterministic by seed, and pure.

Trades happen at their own times, whatever the size of the steps in which the market is advanced, so two
markets with the same seed and the same watched streams send the same bytes. Times are microseconds.

A symbol is created when it is first watched or asked for. Unwatched, it goes on trading for ten minutes, so
that a client that reconnects can ask REST for what it missed; then it sleeps. When it wakes, its ids have
moved on as if it had traded meanwhile.
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
from feedd.exchange.messages import Document, MarketMessage, TimeUnit, Watched
from feedd.exchange.tape import TapeTrade, aggregate
from feedd.exchange.timed_streams import MarketState, PayloadBuilder, TimedStream, make_timed_stream

SLOT = 10_000
"""The time between two steps of the market: no message is sent later than this after its event."""

_UNWATCHED: Watched = {}

_NEVER = sys.maxsize
_KEPT_AWAKE = 600 * SECOND
# After a suspend, or when the clock was set, that time is skipped rather than simulated at one go.
_SKIP = 60 * SECOND
# What REST can still be asked for: per symbol, and together so that a thousand symbols fit in memory.
_HISTORY_PER_SYMBOL = 100_000
_HISTORY_TOGETHER = 500_000
# One taker order fills this many trades: 1.5 on average.
_FILLS = (1, 1, 1, 3)
_MEAN_FILLS = sum(_FILLS) / len(_FILLS)


class SymbolMarket:
    """One symbol's trades and book, and the messages of its streams."""

    def __init__(self, symbol: str, seed: int, rate: float, start: int, history: int) -> None:
        self._random = Random(f"{seed}/{symbol}")
        self._rate = rate
        price = self._random.randint(100_000, 5_000_000)
        book = Book(self._random, price, update_id=self._random.randint(10**9, 10**10))
        self.state = MarketState(symbol, book, deque(maxlen=history), deque(maxlen=history), start)
        self._trade_id = self._random.randint(10**8, 10**9)
        self._aggregate_id = self._random.randint(10**7, 10**8)
        self._top = book.top
        self._watched = _UNWATCHED
        self._timed: dict[str, TimedStream] = {}
        self._tick_length = SECOND
        self._next_tick = _NEVER
        self._next_order = start
        self._schedule_order()

    def watch(self, watched: Watched) -> None:
        """Set the streams that have subscribers; unknown ones are never sent."""
        self._watched = watched
        for kind in [kind for kind in self._timed if kind not in watched]:
            self._timed.pop(kind).close()
        for kind in watched:
            if kind not in self._timed and (stream := make_timed_stream(self.state, kind)):
                self._timed[kind] = stream
        lengths = [stream.period for stream in self._timed.values()]
        self._tick_length = min(lengths, default=SECOND)
        following = (self.state.now // self._tick_length + 1) * self._tick_length
        self._next_tick = following if lengths else _NEVER

    def advance(self, now: int) -> list[MarketMessage]:
        """Simulate up to `now`, and return the messages of the watched streams, in order."""
        messages: list[MarketMessage] = []
        while (due := min(self._next_tick, self._next_order)) <= now:
            self.state.advance_to(due)
            # A candle that ends at this very moment does not hold a trade of this very moment.
            if due == self._next_tick:
                self._tick(due, messages)
            else:
                self._execute_order(due, messages)
        self.state.advance_to(max(self.state.now, now))
        return messages

    def skip_to(self, now: int) -> None:
        """Skip the time up to `now`: ids move on as if there had been trades, and trades are forgotten."""
        trades = int(max(now - self.state.now, 0) * self._rate / SECOND)
        self._trade_id += trades
        self._aggregate_id += int(trades / _MEAN_FILLS)
        self.state.book.skip_ids(2 * trades)
        self.state.advance_to(now)
        self._next_order = now
        self._schedule_order()
        self._reset()
        self.watch(self._watched)

    def restart_ids(self) -> None:
        """Give the next trade, aggregate and book update the id 1, as an exchange that was wiped does."""
        self._trade_id = self._aggregate_id = 0
        self.state.book.restart_ids()
        self._reset()

    def _reset(self) -> None:
        self.state.reset()
        for stream in self._timed.values():
            stream.reset()

    def _schedule_order(self) -> None:
        if not self._rate:
            self._next_order = _NEVER
            return
        mean = _MEAN_FILLS * SECOND / self._rate
        # Never further apart than 1.5 times the mean: a drill at a low rate must not look like silence.
        self._next_order += max(1, int(mean * self._random.uniform(0.5, 1.5)))

    def _execute_order(self, due: int, messages: list[MarketMessage]) -> None:
        state = self.state
        is_buyer_maker = self._random.random() < 0.5
        price = state.book.best_bid if is_buyer_maker else state.book.best_ask
        fills = [self._fill(price, due, is_buyer_maker) for _ in range(self._random.choice(_FILLS))]
        self._aggregate_id += 1
        order = aggregate(self._aggregate_id, fills)
        state.aggregates.append(order)
        state.book.trade(order.quantity, is_buyer_maker)
        self._schedule_order()
        if not self._watched:
            return
        for trade in fills:
            self._emit("trade", partial(payloads.trade, state.symbol, trade), messages)
        self._emit("aggTrade", partial(payloads.aggregate_trade, state.symbol, order), messages)
        if (top := state.book.top) != self._top:
            self._top = top
            update_id = state.book.update_id
            self._emit("bookTicker", lambda _: payloads.book_ticker(state.symbol, update_id, top), messages)

    def _fill(self, price: int, due: int, is_buyer_maker: bool) -> TapeTrade:
        self._trade_id += 1
        trade = TapeTrade(self._trade_id, price, self._random.randint(1, 50_000), due, is_buyer_maker)
        self.state.add_trade(trade)
        for stream in self._timed.values():
            stream.add_trade(trade)
        return trade

    def _tick(self, due: int, messages: list[MarketMessage]) -> None:
        self._next_tick = due + self._tick_length
        for kind, stream in self._timed.items():
            if due % stream.period == 0 and (body := stream.tick(due)):
                self._emit(kind, body, messages)

    def _emit(self, kind: str, body: PayloadBuilder, messages: list[MarketMessage]) -> None:
        units = self._watched.get(kind)
        if units:
            rendered = {unit: orjson.dumps(body(unit.value)) for unit in units}
            messages.append(MarketMessage(self.state.symbol, kind, rendered))


class Market:
    """All symbols of the exchange, each created when it is first needed."""

    def __init__(self, symbols: tuple[str, ...], seed: int, rate: float) -> None:
        self.symbols = symbols
        self._seed = seed
        self._rate = rate
        self._history = min(_HISTORY_PER_SYMBOL, _HISTORY_TOGETHER // len(symbols))
        self._markets: dict[str, SymbolMarket] = {}
        self._awake: dict[str, int] = {}
        """When each symbol that is awake may go to sleep."""
        self._changes: dict[str, Watched] = {}
        self._now: int | None = None

    def watch(self, symbol: str, watched: Watched) -> None:
        """Set the streams of a symbol that have subscribers, from the next `advance` on."""
        self._changes[symbol] = watched

    def advance(self, now: int) -> list[MarketMessage]:
        """Simulate every symbol that is awake up to `now`; return the messages since the last call."""
        if self._now is not None and abs(now - self._now) > _SKIP:
            for symbol in self._awake:
                self._markets[symbol].skip_to(now)
        self._now = now
        messages: list[MarketMessage] = []
        for symbol in self._awake:
            messages += self._markets[symbol].advance(now)
        for symbol, watched in self._changes.items():
            self._wake(symbol, now).watch(watched)
            self._awake[symbol] = _NEVER if watched else now + _KEPT_AWAKE
        self._changes.clear()
        self._awake = {symbol: until for symbol, until in self._awake.items() if until > now}
        return messages

    def next_due(self, now: int) -> int | None:
        """Return when the market must be advanced next; None while every symbol sleeps."""
        if self._changes:
            return now
        return (now // SLOT + 1) * SLOT if self._awake else None

    def restart_ids(self, symbol: str, now: int) -> None:
        """Restart a symbol's ids at 1."""
        self._wake(symbol, now).restart_ids()

    def trades(self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int) -> list[Document]:
        """List trades as REST does: from the id `first` on, or else the newest."""
        kept = self._wake(symbol, now).state.trades
        return [payloads.rest_trade(trade, unit.value) for trade in _select(kept, first, limit)]

    def aggregates(
        self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int
    ) -> list[Document]:
        """List aggregate trades as REST does: from the id `first` on, or else the newest."""
        kept = self._wake(symbol, now).state.aggregates
        return [payloads.rest_aggregate(each, unit.value) for each in _select(kept, first, limit)]

    def _wake(self, symbol: str, now: int) -> SymbolMarket:
        market = self._markets.get(symbol)
        if market is None:
            market = SymbolMarket(symbol, self._seed, self._rate, now, self._history)
            self._markets[symbol] = market
        elif symbol not in self._awake:
            market.skip_to(now)
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
