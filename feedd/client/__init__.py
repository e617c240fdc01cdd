"""What a strategy imports: events, and gates that fail safe.

`connect` is for asyncio: market data and gates. `Gate` is for any other code: one question before each order.
Both know only the daemon's public endpoints, reconnect by themselves, and take a gate for closed when the
connection is lost, when the daemon gave no sign of life for 2 s by the client's own clock, and in any doubt.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feedd.client.events import *
    from feedd.client.feed import *
    from feedd.client.gate import *
    from feedd.client.gate_store import *

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
"""The client's public names: the only list of them, which `feedd` itself reads too."""

_MODULES = ("feedd.client.events", "feedd.client.feed", "feedd.client.gate", "feedd.client.gate_store")


def __getattr__(name: str) -> object:
    """Import what is first asked for: the command line needs no more of this than how a daemon is reached."""
    if name in __all__:
        for module in map(import_module, _MODULES):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'feedd.client' has no attribute {name!r}")
