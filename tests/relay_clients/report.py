"""What a client's script is told, and how it tells what it has received."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What a script has to do."""

    relay: str
    """ws(s)://host:port"""
    rest: str
    """http://host:port"""
    trades: int


def read_order() -> Order:
    """Read the command line."""
    relay, rest, trades = sys.argv[1:]
    return Order(relay, rest, int(trades))


class Report:
    """Prints trades until there are enough of them."""

    def __init__(self, trades: int) -> None:
        self._left = trades

    def add(self, number: object, price: object, quantity: object) -> bool:
        """Print a trade; True once there are enough."""
        if self._left > 0:
            self._left -= 1
            print(json.dumps([int(str(number)), str(price), str(quantity)]), flush=True)
        return self._left == 0
