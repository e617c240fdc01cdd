"""Where each venue lives: hosts, REST paths and the URL of a set of streams.

Spot serves every stream under one path. USD-M futures route by category (`/public`, `/market`) before the
same `/stream?streams=`; such a venue would put the routed prefix into the base that `stream_url` is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import quote

from feedd.settings import Venue

TIME_PATH = "/api/v3/time"
EXCHANGE_INFO_PATH = "/api/v3/exchangeInfo"
AGGREGATE_TRADES_PATH = "/api/v3/aggTrades"
HISTORICAL_TRADES_PATH = "/api/v3/historicalTrades"
"""Not served by the public data host."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """A venue's addresses. No address ends in a slash."""

    ws_urls: tuple[str, ...]
    """At least one; the same service behind each, so that two connections need not share a port."""
    rest_url: str


_VENUES = {
    Venue.BINANCE_SPOT: Endpoints(
        ("wss://stream.binance.com:9443", "wss://stream.binance.com:443"),
        "https://api.binance.com",
    ),
    Venue.BINANCE_SPOT_TESTNET: Endpoints(
        ("wss://stream.testnet.binance.vision:9443", "wss://stream.testnet.binance.vision:443"),
        "https://testnet.binance.vision",
    ),
    Venue.BINANCE_SPOT_DEMO: Endpoints(
        ("wss://demo-stream.binance.com:9443", "wss://demo-stream.binance.com:443"),
        "https://demo-api.binance.com",
    ),
    # Only this port is documented for the public data host.
    Venue.BINANCE_SPOT_DATA: Endpoints(
        ("wss://data-stream.binance.vision:443",),
        "https://data-api.binance.vision",
    ),
}


def endpoints(
    venue: Venue, ws_url_override: str | None = None, rest_url_override: str | None = None
) -> Endpoints:
    """Return the addresses of `venue`, each replaced by its override where one is given."""
    found = _VENUES[venue]
    if ws_url_override is not None:
        found = replace(found, ws_urls=(ws_url_override,))
    if rest_url_override is not None:
        found = replace(found, rest_url=rest_url_override)
    return found


def stream_url(base: str, wire_names: Iterable[str]) -> str:
    """Return the URL that subscribes to `wire_names` in combined form, percent-encoded where needed.

    Without names it is the URL of a connection that subscribes later. Binance refuses URLs of about 8000
    characters and more: subscribe the rest over the open connection.
    """
    names = "/".join(quote(name, safe="@!") for name in wire_names)
    return f"{base}/stream?streams={names}" if names else f"{base}/stream"
