"""The URL of a set of streams, and the requests where a URL can't say them all."""

from __future__ import annotations

import orjson
import pytest

from feedd.venues.binance.common.stream_urls import stream_url, subscribe_requests


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
