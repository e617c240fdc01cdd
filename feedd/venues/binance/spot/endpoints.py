"""Where each venue lives: hosts, REST paths and the URL of a set of streams.

Spot serves every stream under one path. USD-M futures route by category (`/public`, `/market`) before the
same `/stream?streams=`; such a venue would put the routed prefix into the base that `stream_url` is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

import orjson

from feedd.model import Venue

TIME_PATH = "/api/v3/time"
EXCHANGE_INFO_PATH = "/api/v3/exchangeInfo"
AGGREGATE_TRADES_PATH = "/api/v3/aggTrades"
HISTORICAL_TRADES_PATH = "/api/v3/historicalTrades"
"""Not served by the public data host."""
URL_MAX: Final = 7500
"""Binance refuses handshakes with URLs of about 8000 characters."""
NAMES_PER_REQUEST: Final = 200
"""A request with this many streams was measured to be accepted."""


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


def endpoints(venue: Venue, ws_urls: Sequence[str] = (), rest_url: str | None = None) -> Endpoints:
    """Return the addresses of `venue`, each replaced where another is given."""
    found = _VENUES[venue]
    if ws_urls:
        found = replace(found, ws_urls=tuple(ws_urls))
    if rest_url is not None:
        found = replace(found, rest_url=rest_url)
    return found


def stream_url(base: str, wire_names: Iterable[str]) -> str:
    """Return the URL that subscribes to `wire_names` in combined form, percent-encoded where needed.

    Without names, or with more of them than a URL takes, it is the URL of a connection that subscribes later.
    """
    names = "/".join(quote(name, safe="@!") for name in wire_names)
    url = f"{base}/stream?streams={names}"
    return url if names and len(url) <= URL_MAX else f"{base}/stream"


def subscribe_requests(url: str, wire_names: Sequence[str]) -> Iterator[str]:
    """Yield what a connection to `url` must send to be subscribed to `wire_names`, unless the URL says it.

    The exchange takes five messages a second (Binance spot docs, web-socket-streams.md, "Websocket Limits").
    """
    if "?streams=" in url:
        return
    for start in range(0, len(wire_names), NAMES_PER_REQUEST):
        names = list(wire_names[start : start + NAMES_PER_REQUEST])
        yield orjson.dumps({"method": "SUBSCRIBE", "params": names, "id": start + 1}).decode()
