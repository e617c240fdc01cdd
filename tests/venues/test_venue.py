"""A venue's table: other addresses, names of streams, and streams by route."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedd.model import Stream
from feedd.venues.binance.spot.tables import SPOT_DATA
from feedd.venues.venue import Route

ROUTED = replace(
    SPOT_DATA,
    ws_urls=("wss://one", "wss://two"),
    route_paths={"public": "/public", "market": "/market", "private": "/private"},
)


def routed(name: str, route: str) -> Stream:
    return replace(SPOT_DATA.parse_stream(name), route=route)


@pytest.mark.parametrize(
    ("ws_urls", "rest_url", "expected"),
    [
        (["ws://127.0.0.1:9"], None, (("ws://127.0.0.1:9",), SPOT_DATA.rest_url)),
        ([], "http://[::1]:9", (SPOT_DATA.ws_urls, "http://[::1]:9")),
        (["ws://a", "ws://c"], "http://b", (("ws://a", "ws://c"), "http://b")),
    ],
)
def test_override_replaces_only_its_side(
    ws_urls: list[str], rest_url: str | None, expected: tuple[tuple[str, ...], str]
) -> None:
    venue = SPOT_DATA.at(ws_urls, rest_url)
    assert (venue.ws_urls, venue.rest_url) == expected
    assert venue.streams is SPOT_DATA.streams


def test_venue_without_routes_serves_all_streams_under_its_hosts() -> None:
    streams = (SPOT_DATA.parse_stream("trade"), SPOT_DATA.parse_stream("bookTicker"))
    assert SPOT_DATA.routes(streams) == (Route("", SPOT_DATA.ws_urls, streams),)


def test_streams_go_to_their_routes_and_a_route_without_streams_is_none() -> None:
    book, trades, depth = (
        routed("bookTicker", "public"),
        routed("aggTrade", "market"),
        routed("depth", "public"),
    )
    assert ROUTED.routes([trades, book, depth]) == (
        Route("public", ("wss://one/public", "wss://two/public"), (book, depth)),
        Route("market", ("wss://one/market", "wss://two/market"), (trades,)),
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trades", "expected a stream of Binance spot, found 'trades'; did you mean trade?"),
        ("aggtrade", "expected a stream of Binance spot, found 'aggtrade'; did you mean aggTrade?"),
        ("", "expected a stream of Binance spot, found ''"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest_known_one(name: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        SPOT_DATA.parse_stream(name)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Trade", "trade"),
        ("aggtrade", "aggTrade"),
        ("bookticker", "bookTicker"),
        ("kline1s", "kline_1s"),
        ("kline_1m", "kline_1m"),
        ("depth@100", "depth@100ms"),
        ("kline_2s", None),
        ("KLINE_1S", "kline_1s"),
        ("wxyz", None),
        ("", None),
    ],
)
def test_nearest_stream(name: str, nearest: str | None) -> None:
    assert SPOT_DATA.nearest_stream(name) == nearest
