"""A small order book that always has twenty levels a side, one tick apart, and numbers its changes."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

LEVELS = 20
# How far the price may drift from its origin, as a share of it, before every move leads back.
_DRIFT_MAX = 0.05


class TopOfBook(NamedTuple):
    """The best bid and ask, with their quantities."""

    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int


class BookChanges:
    """The levels that changed since the collection began; quantity 0 means that a level was removed."""

    def __init__(self, first: int) -> None:
        self.first = first
        """The id of the first update that it may hold."""
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self.bids or self.asks)

    def restart(self, first: int) -> None:
        """Forget the changes; the next update's id will be `first`."""
        self.first = first
        self.bids.clear()
        self.asks.clear()


class Book:
    """An order book in whole ticks and lots. Every change of one level takes one update id."""

    def __init__(self, random: Random, best_bid: int, update_id: int) -> None:
        self._random = random
        self._origin = best_bid
        self.best_bid = best_bid
        self.update_id = update_id
        self.bids = {best_bid - level: self._random_quantity() for level in range(LEVELS)}
        self.asks = {best_bid + 1 + level: self._random_quantity() for level in range(LEVELS)}
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
        """Start a collection: every change of a level is put into it until `stop_collecting`."""
        changes = BookChanges(self.update_id + 1)
        self._collecting.append(changes)
        return changes

    def restart_collecting(self, changes: BookChanges) -> BookChanges:
        """End a collection, and start and return the next one, which begins where it ended."""
        self.stop_collecting(changes)
        return self.collect_changes()

    def stop_collecting(self, changes: BookChanges) -> None:
        """End a collection."""
        self._collecting = [each for each in self._collecting if each is not changes]

    def restart_ids(self) -> None:
        """Give the next change the id 1."""
        self.skip_ids(-self.update_id)

    def skip_ids(self, count: int) -> None:
        """Move the id on, as after changes that no collection sees."""
        self.update_id += count
        for changes in self._collecting:
            changes.restart(self.update_id + 1)

    def trade(self, quantity: int, is_bid: bool) -> None:
        """Take a quantity from the best level; then a maker changes a level, or the price moves by a tick."""
        side, price = (self.bids, self.best_bid) if is_bid else (self.asks, self.best_ask)
        self._set_level(is_bid, price, max(side[price] - quantity, 1))
        if self._random.random() < 0.2:
            self._move()
        else:
            self._requote()

    def _requote(self) -> None:
        level = self._random.randrange(LEVELS)
        if self._random.random() < 0.5:
            self._set_level(True, self.best_bid - level, self._random_quantity())
        else:
            self._set_level(False, self.best_ask + level, self._random_quantity())

    def _move(self) -> None:
        drift = (self.best_bid - self._origin) / (self._origin * _DRIFT_MAX)
        if self._random.uniform(-1, 1) > drift:
            self._set_level(False, self.best_ask, 0)
            self.best_bid += 1
            self._set_level(True, self.best_bid, self._random_quantity())
            self._set_level(True, self.best_bid - LEVELS, 0)
            self._set_level(False, self.best_ask + LEVELS - 1, self._random_quantity())
        else:
            self._set_level(True, self.best_bid, 0)
            self.best_bid -= 1
            self._set_level(False, self.best_ask, self._random_quantity())
            self._set_level(False, self.best_ask + LEVELS, 0)
            self._set_level(True, self.best_bid - LEVELS + 1, self._random_quantity())

    def _set_level(self, is_bid: bool, price: int, quantity: int) -> None:
        self.update_id += 1
        side = self.bids if is_bid else self.asks
        if quantity:
            side[price] = quantity
        else:
            del side[price]
        for changes in self._collecting:
            (changes.bids if is_bid else changes.asks)[price] = quantity

    def _random_quantity(self) -> int:
        return self._random.randint(10_000, 5_000_000)
