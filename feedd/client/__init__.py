"""What a strategy imports: events, and gates that fail safe.

`connect` is for asyncio: market data and gates. `Gate` is for any other code: one question before each order.
Both know only the daemon's public endpoints, reconnect by themselves, and take a gate for closed when the
connection is lost, when the daemon gave no sign of life for 2 s by the client's own clock, and in any doubt.
"""

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
from feedd.client.gates import GateView

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
