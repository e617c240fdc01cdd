"""A small order book that always has twenty levels a side, one tick apart, and numbers its changes."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

LEVELS = 20
# How far the price may drift from where it began, as a share of it, before the odds turn it round.
_LEASH = 0.05


class TopOfBook(NamedTuple):
    """The best prices and what stands there."""

    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int


class BookChanges:
    """The levels that changed since they were last taken; quantity 0 means that the level is gone."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self.bids or self.asks)


class Book:
    """Prices and quantities are whole ticks and lots. Every change of one level takes one update id."""

    def __init__(self, random: Random, best_bid: int, update_id: int) -> None:
        self._random = random
        self._origin = best_bid
        self.best_bid = best_bid
        self.update_id = update_id
        self.bids = {best_bid - level: self._fresh() for level in range(LEVELS)}
        self.asks = {best_bid + 1 + level: self._fresh() for level in range(LEVELS)}
        self._collecting: list[BookChanges] = []

    @property
    def best_ask(self) -> int:
        """The price of the cheapest offer: always one tick above the best bid."""
        return self.best_bid + 1

    @property
    def top(self) -> TopOfBook:
        """The best level of either side."""
        return TopOfBook(self.best_bid, self.bids[self.best_bid], self.best_ask, self.asks[self.best_ask])

    def best(self, levels: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """List the best bids and the best asks, each from the top."""
        return sorted(self.bids.items(), reverse=True)[:levels], sorted(self.asks.items())[:levels]

    def collect_changes(self) -> BookChanges:
        """Start collecting changes; `take` hands them over."""
        changes = BookChanges(self.update_id + 1)
        self._collecting.append(changes)
        return changes

    def restart_collecting(self, changes: BookChanges) -> BookChanges:
        """End a collection and start the next one where it ended."""
        self.stop_collecting(changes)
        return self.collect_changes()

    def stop_collecting(self, changes: BookChanges) -> None:
        """Stop collecting."""
        self._collecting = [each for each in self._collecting if each is not changes]

    def restart_ids(self) -> None:
        """Number the next change 1."""
        self.skip_ids(-self.update_id)

    def skip_ids(self, count: int) -> None:
        """Let changes go by that nobody hears of."""
        self.update_id += count
        for changes in self._collecting:
            changes.first = self.update_id + 1
            changes.bids.clear()
            changes.asks.clear()

    def trade(self, quantity: int, is_bid: bool) -> None:
        """Take a quantity from the best level, then let the makers answer."""
        side, price = (self.bids, self.best_bid) if is_bid else (self.asks, self.best_ask)
        self._set(is_bid, price, max(side[price] - quantity, 1))
        if self._random.random() < 0.2:
            self._move()
        else:
            self._requote()

    def _requote(self) -> None:
        level = self._random.randrange(LEVELS)
        if self._random.random() < 0.5:
            self._set(True, self.best_bid - level, self._fresh())
        else:
            self._set(False, self.best_ask + level, self._fresh())

    def _move(self) -> None:
        drift = (self.best_bid - self._origin) / (self._origin * _LEASH)
        if self._random.uniform(-1, 1) > drift:
            self._set(False, self.best_ask, 0)
            self.best_bid += 1
            self._set(True, self.best_bid, self._fresh())
            self._set(True, self.best_bid - LEVELS, 0)
            self._set(False, self.best_ask + LEVELS - 1, self._fresh())
        else:
            self._set(True, self.best_bid, 0)
            self.best_bid -= 1
            self._set(False, self.best_ask, self._fresh())
            self._set(False, self.best_ask + LEVELS, 0)
            self._set(True, self.best_bid - LEVELS + 1, self._fresh())

    def _set(self, is_bid: bool, price: int, quantity: int) -> None:
        self.update_id += 1
        side = self.bids if is_bid else self.asks
        if quantity:
            side[price] = quantity
        else:
            del side[price]
        for changes in self._collecting:
            (changes.bids if is_bid else changes.asks)[price] = quantity

    def _fresh(self) -> int:
        return self._random.randint(10_000, 5_000_000)
