"""feedd keeps Binance market data alive and closes the trading gate when it can't be trusted.

What a strategy needs is here: `feedd.connect`, `feedd.Gate` and the events (see `feedd.client`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from feedd._version import __version__ as __version__

if TYPE_CHECKING:
    from feedd.client import (
        AggTrade,
        AveragePrice,
        BookTicker,
        Depth,
        Event,
        Feed,
        FeedClosedError,
        Gate,
        GateView,
        Kline,
        MarketEvent,
        MiniTicker,
        Missed,
        PartialDepth,
        Ticker,
        Trade,
        WindowTicker,
        connect,
    )


__all__ = [
    "AggTrade",
    "AveragePrice",
    "BookTicker",
    "Depth",
    "Event",
    "Feed",
    "FeedClosedError",
    "Gate",
    "GateView",
    "Kline",
    "MarketEvent",
    "MiniTicker",
    "Missed",
    "PartialDepth",
    "Ticker",
    "Trade",
    "WindowTicker",
    "connect",
]


def __getattr__(name: str) -> object:
    """Fetch the client when it is first asked for: the daemon itself can do without it."""
    if name in __all__:
        return getattr(import_module("feedd.client"), name)
    raise AttributeError(f"module 'feedd' has no attribute {name!r}")
