"""feedd keeps Binance market data alive and closes the trading gate when it can't be trusted.

What a strategy needs is here: `feedd.connect`, `feedd.Gate` and the events (see `feedd.client`).
"""

from importlib import import_module
from typing import TYPE_CHECKING

from feedd._version import __version__ as __version__

if TYPE_CHECKING:
    from feedd.client import *


def __getattr__(name: str) -> object:
    """Import the client when one of its names is first asked for: the daemon itself can do without it."""
    client = import_module("feedd.client")
    if name == "__all__" or name in client.__all__:
        return getattr(client, name)
    raise AttributeError(f"module 'feedd' has no attribute {name!r}")
