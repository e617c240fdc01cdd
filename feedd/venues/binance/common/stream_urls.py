"""The URL of a set of streams, and what is sent where a URL can't say them all.

Source: Binance spot docs, web-socket-streams.md. Where a venue routes streams (USD-M: `/public`, `/market`),
the route's path is part of the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

import orjson

URL_MAX: Final = 7500
"""Binance refuses handshakes with URLs of about 8000 characters."""
NAMES_PER_REQUEST: Final = 200
"""A request with this many streams was measured to be accepted."""


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
