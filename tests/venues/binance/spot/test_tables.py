"""The venues that speak Binance spot: hosts as they are documented, and the rules that follow."""

from __future__ import annotations

import pytest

from feedd.venues.binance.spot.streams import STREAMS
from feedd.venues.binance.spot.tables import (
    BINANCE_TR,
    BINANCE_US,
    SPOT,
    SPOT_DATA,
    SPOT_DEMO,
    SPOT_TESTNET,
)
from feedd.venues.venue import Venue


@pytest.mark.parametrize(
    ("venue", "ws_urls", "rest_url"),
    [
        (
            SPOT,
            ("wss://stream.binance.com:9443", "wss://stream.binance.com:443"),
            "https://api.binance.com",
        ),
        (
            SPOT_TESTNET,
            ("wss://stream.testnet.binance.vision:9443", "wss://stream.testnet.binance.vision:443"),
            "https://testnet.binance.vision",
        ),
        (
            SPOT_DEMO,
            ("wss://demo-stream.binance.com:9443", "wss://demo-stream.binance.com:443"),
            "https://demo-api.binance.com",
        ),
        (SPOT_DATA, ("wss://data-stream.binance.vision:443",), "https://data-api.binance.vision"),
        (BINANCE_US, ("wss://stream.binance.us:9443",), "https://api.binance.us"),
        (BINANCE_TR, ("wss://stream-cloud.trbinance.com",), "https://api.binance.me"),
    ],
)
def test_venue_has_its_documented_hosts(venue: Venue, ws_urls: tuple[str, ...], rest_url: str) -> None:
    assert (venue.ws_urls, venue.rest_url) == (ws_urls, rest_url)


@pytest.mark.parametrize("venue", [SPOT, SPOT_TESTNET, SPOT_DEMO, SPOT_DATA])
def test_spot_pings_every_20_seconds_and_two_missed_ones_are_silence(venue: Venue) -> None:
    assert (venue.rules.ping_seconds, venue.rules.silence_seconds) == (20.0, 45.0)
    assert (venue.rules.messages_per_second, venue.rules.weight_per_minute) == (5, 6000)


@pytest.mark.parametrize("venue", [BINANCE_US, BINANCE_TR])
def test_relatives_are_given_the_longest_known_silence_and_less_weight(venue: Venue) -> None:
    assert (venue.rules.ping_seconds, venue.rules.silence_seconds) == (180.0, 400.0)
    assert venue.rules.weight_per_minute == 1200
    assert not any(definition.is_heartbeat for definition in venue.streams.values())


@pytest.mark.parametrize("venue", [BINANCE_US, BINANCE_TR])
@pytest.mark.parametrize("name", ["kline_1s", "ticker_1h", "avgPrice"])
def test_relatives_have_only_the_streams_of_2021(venue: Venue, name: str) -> None:
    assert name in STREAMS
    with pytest.raises(ValueError, match=f"expected a stream of {venue.title}, found '{name}'"):
        venue.parse_stream(name)
