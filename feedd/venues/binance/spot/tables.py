"""The venues that speak Binance spot: the market itself, its test environments, and two relatives.

Sources: Binance spot docs (web-socket-streams.md, rest-api.md, testnet and demo pages). Of Binance.US and
Binance TR, recorded sessions of 2021 and 2023 decode with spot's payloads, field for field, and keep spot's
continuity; no document states their pings, so that the longest known interval (3 minutes) is assumed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.history import HISTORIES
from feedd.venues.binance.spot.streams import STREAMS
from feedd.venues.venue import RestPaths, Venue, VenueRules

RULES: Final = VenueRules(
    ping_seconds=20.0,
    silence_seconds=45.0,
    lifetime_seconds=24 * 3600.0,
    messages_per_second=5,
    streams_per_connection=1024,
    connects_per_five_minutes=300,
    weight_per_minute=6000,
)
RELATIVES_RULES: Final = replace(RULES, ping_seconds=180.0, silence_seconds=400.0, weight_per_minute=1200)
"""Of venues that run Binance's software of some years ago."""

SPOT: Final = Venue(
    name="binance-spot",
    title="Binance spot",
    ws_urls=("wss://stream.binance.com:9443", "wss://stream.binance.com:443"),
    rest_url="https://api.binance.com",
    rest=RestPaths(time="/api/v3/time", exchange_info="/api/v3/exchangeInfo"),
    rules=RULES,
    streams=STREAMS,
    default_streams=("trade", "bookTicker", "kline_1s"),
    histories=HISTORIES,
    decoder=SpotDecoder,
    route_paths={"": ""},
)
SPOT_TESTNET: Final = replace(
    SPOT,
    name="binance-spot-testnet",
    ws_urls=("wss://stream.testnet.binance.vision:9443", "wss://stream.testnet.binance.vision:443"),
    rest_url="https://testnet.binance.vision",
)
SPOT_DEMO: Final = replace(
    SPOT,
    name="binance-spot-demo",
    ws_urls=("wss://demo-stream.binance.com:9443", "wss://demo-stream.binance.com:443"),
    rest_url="https://demo-api.binance.com",
)
SPOT_DATA: Final = replace(
    SPOT,
    name="binance-spot-data",
    ws_urls=("wss://data-stream.binance.vision:443",),  # only this port is documented
    rest_url="https://data-api.binance.vision",
)

_RELATIVES_STREAMS: Final = {
    name: definition
    for name, definition in STREAMS.items()
    if name != "kline_1s" and not name.startswith("ticker_") and name != "avgPrice"
}
"""Those of 2021, before spot got candles of a second, tickers of other windows, and average prices."""

BINANCE_US: Final = replace(
    SPOT,
    name="binance-us",
    title="Binance.US",
    ws_urls=("wss://stream.binance.us:9443",),
    rest_url="https://api.binance.us",
    rules=RELATIVES_RULES,
    streams=_RELATIVES_STREAMS,
    default_streams=("trade", "bookTicker", "kline_1m"),
)
BINANCE_TR: Final = replace(
    BINANCE_US,
    name="binance-tr",
    title="Binance TR",
    ws_urls=("wss://stream-cloud.trbinance.com",),
    rest_url="https://api.binance.me",
)
