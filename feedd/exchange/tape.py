"""The tape: single trades, and the taker orders that they filled. Times are microseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TapeTrade:
    """One trade: prices count hundredths, quantities hundred-thousandths."""

    id: int
    price: int
    quantity: int
    time: int
    is_buyer_maker: bool


@dataclass(frozen=True, slots=True)
class TapeAggregate:
    """One taker order at one price: an aggTrade."""

    id: int
    first: int
    last: int
    price: int
    quantity: int
    time: int
    is_buyer_maker: bool


def aggregate(id: int, trades: Sequence[TapeTrade]) -> TapeAggregate:
    """Sum up the trades that filled one taker order."""
    first = trades[0]
    quantity = sum(trade.quantity for trade in trades)
    return TapeAggregate(id, first.id, trades[-1].id, first.price, quantity, first.time, first.is_buyer_maker)
