"""Real wire bytes of every kind of payload: the shapes of Binance spot's documentation, invented values."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import orjson

from feedd.model import Subscription
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.payloads import Payload
from feedd.venues.binance.spot.tables import SPOT

EVENT_TIME = 1_795_000_000_123

_EVENT = {"E": EVENT_TIME, "s": "BTCUSDT"}
_WINDOW = {
    "p": "0.03", "P": "2.5", "o": "1.2045", "h": "1.30", "l": "1.19", "c": "1.2345", "w": "1.22",
    "v": "5000", "q": "6100", "O": 1_794_913_600_000, "C": 1_795_000_001_000,
    "F": 870000, "L": 880103, "n": 10104,
}  # fmt: skip
_TRADED = {"p": "1.2345", "q": "40.0", "T": 1_795_000_000_122, "m": True, "M": True}
_CANDLE = {
    "t": 1_795_000_000_000, "T": 1_795_000_000_999, "s": "BTCUSDT", "i": "1s", "f": -1, "L": -1,
    "o": "1.2345", "c": "1.2345", "h": "1.2345", "l": "1.2345", "v": "0", "n": 0, "x": True,
    "q": "0", "V": "0", "Q": "0", "B": "0",
}  # fmt: skip
_PAYLOADS: dict[str, dict[str, Any]] = {
    "trade": {"e": "trade", **_EVENT, "t": 880101, **_TRADED},
    "aggTrade": {"e": "aggTrade", **_EVENT, "a": 55012, "f": 880101, "l": 880103, **_TRADED},
    "bookTicker": {"u": 70010055, "s": "BTCUSDT", "b": "1.2344", "B": "15.0", "a": "1.2346", "A": "8.5"},
    "depth@100ms": {
        "e": "depthUpdate", **_EVENT, "U": 70010050, "u": 70010055,
        "b": [["1.2344", "15.0"], ["1.2300", "0.0"]], "a": [],
    },
    "depth5": {"lastUpdateId": 70010055, "bids": [["1.2344", "15.0"]], "asks": [["1.2346", "8.5"]]},
    "kline_1s": {"e": "kline", **_EVENT, "k": _CANDLE},
    "miniTicker": {
        "e": "24hrMiniTicker", **_EVENT, "c": "1.2345", "o": "1.20", "h": "1.30", "l": "1.19",
        "v": "5000", "q": "6100",
    },
    "ticker": {
        "e": "24hrTicker", **_EVENT, **_WINDOW, "x": "1.2044", "Q": "40",
        "b": "1.2344", "B": "15", "a": "1.2346", "A": "8.5",
    },
    "ticker_1h": {"e": "1hTicker", **_EVENT, **_WINDOW},
    "avgPrice": {"e": "avgPrice", **_EVENT, "i": "5m", "w": "1.2339", "T": 1_795_000_000_122},
}  # fmt: skip

STREAMS = tuple(_PAYLOADS)
"""One stream of each kind."""
SUBSCRIPTIONS = {
    subscription.wire_name: subscription
    for subscription in (Subscription("BTCUSDT", SPOT.parse_stream(name)) for name in STREAMS)
}


def payload(stream: str, **changes: Any) -> dict[str, Any]:
    """Return the payload of a message of `stream`, with some fields changed."""
    return deepcopy(_PAYLOADS[stream]) | changes


def raw(stream: str, **changes: Any) -> bytes:
    """Return the bytes of a message as a raw stream carries it."""
    return orjson.dumps(payload(stream, **changes))


def wrapped(stream: str, content: object) -> bytes:
    """Return the bytes of a combined stream's message of any content."""
    return orjson.dumps({"stream": f"btcusdt@{stream}", "data": content})


def combined(stream: str, **changes: Any) -> bytes:
    """Return the bytes of a message as a combined stream carries it."""
    return wrapped(stream, payload(stream, **changes))


_DECODER = SpotDecoder(SUBSCRIPTIONS.values())


def frame(stream: str, **changes: Any) -> Frame[Payload]:
    """Return a decoded message."""
    message = _DECODER.decode(combined(stream, **changes))
    assert isinstance(message, Frame)
    return cast(Frame[Payload], message)


def data(stream: str, **changes: Any) -> Payload:
    """Return a decoded payload."""
    return frame(stream, **changes).data
