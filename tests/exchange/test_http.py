from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from feedd.exchange import Exchange, ExchangeSettings

SETTINGS = ExchangeSettings(symbols=("BTCUSDT", "ETHUSDT"))


async def post(session: aiohttp.ClientSession, exchange: Exchange, body: Any) -> tuple[int, Any]:
    async with session.post(exchange.rest_url + "/faults", json=body) as response:
        return response.status, await response.json()


async def test_front_page_is_text(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS) as exchange, session.get(exchange.rest_url + "/") as response:
        assert response.status == 200
        assert "speaks Binance spot" in await response.text()


async def test_used_weight_adds_up(session: aiohttp.ClientSession) -> None:
    wall = 1_795_000_000.0
    async with Exchange(SETTINGS, wall=lambda: wall) as exchange:
        used = []
        for name in ("time", "exchangeInfo", "exchangeInfo?symbol=XRPUSDT", "aggTrades?symbol=BTCUSDT"):
            async with session.get(f"{exchange.rest_url}/api/v3/{name}") as response:
                used.append(response.headers["X-MBX-USED-WEIGHT-1M"])
        assert used == ["1", "21", "41", "45"]
        assert exchange.stats.requests == {"time": 1, "exchangeInfo": 2, "aggTrades": 1}


async def test_weight_beyond_the_limit_is_429_with_the_seconds_to_wait(
    session: aiohttp.ClientSession,
) -> None:
    settings = ExchangeSettings(weight_per_minute=20)
    wall = 1_795_000_020.0 - 1_795_000_020.0 % 60 + 45
    async with Exchange(settings, wall=lambda: wall) as exchange:
        url = exchange.rest_url + "/api/v3/exchangeInfo"
        async with session.get(url) as response:
            assert response.status == 200
        async with session.get(url) as response:
            assert (response.status, response.headers["Retry-After"]) == (429, "15")
            assert (await response.json())["code"] == -1003


async def test_time_unit_is_asked_for_by_header(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS, wall=lambda: 1_795_000_000.25) as exchange:
        headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
        async with session.get(exchange.rest_url + "/api/v3/time", headers=headers) as response:
            assert await response.json() == {"serverTime": 1_795_000_000_250_000}


async def test_unknown_endpoint_is_404(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS) as exchange, session.get(exchange.rest_url + "/api/v3/order") as response:
        assert response.status == 404


async def test_faults_are_set_listed_and_cleared(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS) as exchange:
        url = exchange.rest_url + "/faults"
        status, told = await post(session, exchange, {"fault": "mute", "symbol": "BTCUSDT", "seconds": 30})
        assert (status, told["id"], told["symbol"], told["hit"]) == (200, 1, "BTCUSDT", 0)
        status, told = await post(session, exchange, {"fault": "delay", "ms": 5})
        assert told["arguments"] == {"ms": 5}
        async with session.get(url) as response:
            listed = await response.json()
        assert [fault["fault"] for fault in listed["active"]] == ["mute", "delay"]
        assert 29 < listed["active"][0]["seconds_left"] <= 30
        assert "reset" in [fault["fault"] for fault in listed["known"]]
        async with session.delete(url + "/1") as response:
            assert await response.json() == {"cleared": [1]}
        async with session.delete(url) as response:
            assert await response.json() == {"cleared": [2]}
        assert exchange.faults.active() == ()


async def test_fault_that_is_not_on_cannot_be_cleared(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS) as exchange:
        exchange.set_fault("mute")
        for id in ("7", "x"):
            async with session.delete(f"{exchange.rest_url}/faults/{id}") as response:
                assert response.status == 404
                error = f"id: expected that of a fault which is on (1); found '{id}'"
                assert await response.json() == {"error": error}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"fault": "nonsense"}, "fault: expected one of mute, "),
        ({}, "fault: expected one of mute, "),
        ({"fault": 5}, "fault: expected one of mute, "),
        ([1], "body: expected a JSON object; found [1]"),
        ({"fault": "mute", "symbol": 5}, "symbol: expected a text; found 5"),
        ({"fault": "mute", "symbol": "XRPUSDT"}, "symbol: expected one of BTCUSDT, ETHUSDT; found 'XRPUSDT'"),
        ({"fault": "mute", "stream": []}, "stream: expected a text; found []"),
        ({"fault": "mute", "seconds": "3"}, "seconds: expected a number; found '3'"),
        ({"fault": "mute", "seconds": True}, "seconds: expected a number; found True"),
        ({"fault": "mute", "name": 1}, "name: mute takes no argument"),
        ({"fault": "mute", "self": 1}, "self: mute takes no argument"),
        ({"fault": "delay", "ms": "x"}, "ms: expected a number from 0; found 'x'"),
    ],
)
async def test_wrong_fault_is_400_with_what_was_expected(
    session: aiohttp.ClientSession, body: Any, error: str
) -> None:
    async with Exchange(SETTINGS) as exchange:
        status, told = await post(session, exchange, body)
        assert status == 400
        assert told["error"].startswith(error)


async def test_fault_that_is_no_json_is_400(session: aiohttp.ClientSession) -> None:
    async with (
        Exchange(SETTINGS) as exchange,
        session.post(exchange.rest_url + "/faults", data=b"mute please") as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"].startswith("body: expected a JSON object; ")


async def test_rest_http_fails_rest_and_only_it(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS) as exchange:
        fault = exchange.set_fault("rest_http", status=418, retry_after=120)
        async with session.get(exchange.rest_url + "/api/v3/time") as response:
            assert (response.status, response.headers["Retry-After"]) == (418, "120")
            assert response.content_type == "text/html"
        assert fault.hit == 1
        async with session.ws_connect(exchange.ws_url + "/ws"):
            pass
        exchange.clear_fault(fault)
        async with session.get(exchange.rest_url + "/api/v3/time") as response:
            assert response.status == 200


async def test_rest_http_of_one_symbol_fails_questions_about_it(session: aiohttp.ClientSession) -> None:
    async with Exchange(SETTINGS) as exchange:
        exchange.set_fault("rest_http", symbol="BTCUSDT")
        for query, status in (
            ({"symbol": "BTCUSDT"}, 503),
            ({"symbol": "ETHUSDT"}, 200),
            ({"symbols": '["ETHUSDT","BTCUSDT"]'}, 503),
            ({"symbols": '["ETHUSDT"]'}, 200),
            ({}, 200),
        ):
            async with session.get(exchange.rest_url + "/api/v3/exchangeInfo", params=query) as response:
                assert response.status == status


@pytest.mark.parametrize(("rest", "status"), [(True, 503), (False, 200)])
async def test_http_fails_rest_only_if_told_to(
    session: aiohttp.ClientSession, rest: bool, status: int
) -> None:
    async with Exchange(SETTINGS) as exchange:
        exchange.set_fault("http", rest=rest)
        async with session.get(exchange.rest_url + "/api/v3/time") as response:
            assert response.status == status
