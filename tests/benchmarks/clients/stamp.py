"""When a message was sent, as its price says it: 8 decimals, as Binance's prices have."""

from __future__ import annotations

PRICE_BASE = 1_000_000.0
"""Added to the monotonic seconds, so that all prices have as many digits."""


def send_time(price: str | float) -> float:
    """Return the monotonic seconds at which the message with this price was sent."""
    return float(price) - PRICE_BASE


def price_in(payload: bytes) -> str:
    """Return the price in a message."""
    return payload.partition(b'"p":"')[2].partition(b'"')[0].decode()
