"""What a strategy imports: events, and gates that fail safe.

`connect` is for asyncio: market data and gates. `Gate` is for any other code: one question before each order.
Both know only the daemon's public endpoints, reconnect by themselves, and take a gate for closed when the
connection is lost, when the daemon gave no sign of life for 2 s by the client's own clock, and in any doubt.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feedd.client.events import (
        AggTrade,
        AveragePrice,
        BookTicker,
        Depth,
        Event,
        Kline,
        MarketEvent,
        MiniTicker,
        Missed,
        PartialDepth,
        Ticker,
        Trade,
        WindowTicker,
    )
    from feedd.client.feed import Feed, FeedClosedError, connect
    from feedd.client.gate import Gate
    from feedd.client.gate_store import GateView

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

_HOMES = ("feedd.client.events", "feedd.client.feed", "feedd.client.gate", "feedd.client.gate_store")


def __getattr__(name: str) -> object:
    """Fetch what is first asked for: the command line needs no more of this than how a daemon is reached."""
    if name in __all__:
        for home in map(import_module, _HOMES):
            if hasattr(home, name):
                return getattr(home, name)
    raise AttributeError(f"module 'feedd.client' has no attribute {name!r}")
