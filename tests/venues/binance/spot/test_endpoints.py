"""Venue → URLs."""

from __future__ import annotations

import orjson
import pytest

from feedd.model import Venue
from feedd.venues.binance.spot.endpoints import Endpoints, endpoints, stream_url, subscribe_requests


@pytest.mark.parametrize(
    ("venue", "expected"),
    [
        (
            Venue.BINANCE_SPOT,
            Endpoints(
                ("wss://stream.binance.com:9443", "wss://stream.binance.com:443"), "https://api.binance.com"
            ),
        ),
        (
            Venue.BINANCE_SPOT_TESTNET,
            Endpoints(
                ("wss://stream.testnet.binance.vision:9443", "wss://stream.testnet.binance.vision:443"),
                "https://testnet.binance.vision",
            ),
        ),
        (
            Venue.BINANCE_SPOT_DEMO,
            Endpoints(
                ("wss://demo-stream.binance.com:9443", "wss://demo-stream.binance.com:443"),
                "https://demo-api.binance.com",
            ),
        ),
        (
            Venue.BINANCE_SPOT_DATA,
            Endpoints(("wss://data-stream.binance.vision:443",), "https://data-api.binance.vision"),
        ),
    ],
)
def test_venue_has_its_documented_hosts(venue: Venue, expected: Endpoints) -> None:
    assert endpoints(venue) == expected


@pytest.mark.parametrize("venue", Venue)
def test_every_venue_has_encrypted_addresses_without_a_slash_at_the_end(venue: Venue) -> None:
    found = endpoints(venue)
    assert found.ws_urls
    assert all(url.startswith("wss://") and not url.endswith("/") for url in found.ws_urls)
    assert found.rest_url.startswith("https://")
    assert not found.rest_url.endswith("/")


@pytest.mark.parametrize(
    ("ws_urls", "rest_url", "expected"),
    [
        (["ws://127.0.0.1:9"], None, Endpoints(("ws://127.0.0.1:9",), "https://data-api.binance.vision")),
        ([], "http://[::1]:9", Endpoints(("wss://data-stream.binance.vision:443",), "http://[::1]:9")),
        (["ws://a", "ws://c"], "http://b", Endpoints(("ws://a", "ws://c"), "http://b")),
    ],
)
def test_override_replaces_only_its_side(
    ws_urls: list[str], rest_url: str | None, expected: Endpoints
) -> None:
    assert endpoints(Venue.BINANCE_SPOT_DATA, ws_urls, rest_url) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["btcusdt@trade"], "wss://host:443/stream?streams=btcusdt@trade"),
        (
            ["btcusdt@depth@100ms", "ethusdt@kline_1s"],
            "wss://host:443/stream?streams=btcusdt@depth@100ms/ethusdt@kline_1s",
        ),
        (["币456@trade"], "wss://host:443/stream?streams=%E5%B8%81456@trade"),
        (["a/b&c?d#e%f@trade"], "wss://host:443/stream?streams=a%2Fb%26c%3Fd%23e%25f@trade"),
        ([], "wss://host:443/stream"),
    ],
)
def test_stream_url(names: list[str], expected: str) -> None:
    assert stream_url("wss://host:443", names) == expected


def test_names_that_no_url_takes_are_subscribed_in_requests_of_200() -> None:
    names = [f"symbol{number}usdt@trade" for number in range(450)]
    url = stream_url("wss://host:443", names)
    assert url == "wss://host:443/stream"
    requests = [orjson.loads(request) for request in subscribe_requests(url, names)]
    assert [len(request["params"]) for request in requests] == [200, 200, 50]
    assert [name for request in requests for name in request["params"]] == names
    assert {request["method"] for request in requests} == {"SUBSCRIBE"}
    assert len({request["id"] for request in requests}) == 3


def test_names_in_the_url_need_no_request() -> None:
    url = stream_url("wss://host:443", ["btcusdt@trade"])
    assert list(subscribe_requests(url, ["btcusdt@trade"])) == []
