"""The names of the streams that feedd can subscribe to, without the symbol. Case matters, as on the wire.

The settings check them and `binance.streams` gives them their meaning; both import this list, so that a
name can't be accepted by one and unknown to the other.
"""

from __future__ import annotations

from difflib import get_close_matches

KLINE_INTERVALS = (
    "1s",
    "1m",
    "3m",
    "5m",
    "15m",
    "30m",
    "1h",
    "2h",
    "4h",
    "6h",
    "8h",
    "12h",
    "1d",
    "3d",
    "1w",
    "1M",
)

STREAM_NAMES = (
    "trade",
    "aggTrade",
    "bookTicker",
    "depth",
    "depth@100ms",
    *(f"depth{levels}{speed}" for levels in (5, 10, 20) for speed in ("", "@100ms")),
    *(f"kline_{interval}" for interval in KLINE_INTERVALS),
    "miniTicker",
    "ticker",
    "ticker_1h",
    "ticker_4h",
    "ticker_1d",
    "avgPrice",
)


def is_stream_name(name: str) -> bool:
    """Say whether `name` is a stream that feedd knows, such as `trade` or `kline_1s`."""
    return name in STREAM_NAMES


def nearest_stream_name(name: str) -> str | None:
    """Return the known stream that `name` was probably meant to be, or None when nothing is close."""
    lowered = {known.lower(): known for known in reversed(STREAM_NAMES)}
    matches = get_close_matches(name.lower(), lowered, n=1)
    return lowered[matches[0]] if matches else None
