from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest

from feedd.exchange.api import Api, ApiReply, ApiRequest, error_body
from feedd.exchange.fault_registry import FaultRegistry
from feedd.exchange.market import Market
from feedd.exchange.messages import TimeUnit

NOW = 1_795_000_000_123_456
SYMBOLS = ("BTCUSDT", "ETHBTC", "ODD")


class Rig:
    def __init__(self) -> None:
        self.market = Market(SYMBOLS, 1, 50)
        self.registry = FaultRegistry(SYMBOLS)
        self.api = Api(self.market, self.registry, 6000)

    def ask(self, name: str, query: dict[str, str], unit: TimeUnit = TimeUnit.MILLISECOND) -> ApiReply:
        return self.api.answer(name, ApiRequest(query, unit, NOW))

    def get(self, name: str, unit: TimeUnit = TimeUnit.MILLISECOND, **query: str) -> Any:
        reply = self.ask(name, query, unit)
        assert reply.status == 200
        return orjson.loads(reply.body)

    def trade_for(self, seconds: int) -> None:
        self.market.watch("BTCUSDT", {})
        self.market.advance(NOW)
        self.market.advance(NOW + seconds * 1_000_000)


def test_ping_answers_nothing() -> None:
    assert Rig().get("ping") == {}


def test_time_is_told_in_the_unit_asked_for() -> None:
    assert Rig().get("time") == {"serverTime": NOW // 1000}
    assert Rig().get("time", unit=TimeUnit.MICROSECOND) == {"serverTime": NOW}


def test_skew_moves_the_server_time_unless_it_spares_rest() -> None:
    rig = Rig()
    fault = rig.registry.set("clock_skew", 0.0, arguments={"ms": -5000})
    assert rig.get("time") == {"serverTime": NOW // 1000 - 5000}
    rig.registry.clear(fault.id)
    rig.registry.set("clock_skew", 0.0, arguments={"ms": -5000, "rest": False})
    assert rig.get("time") == {"serverTime": NOW // 1000}


def test_skew_of_one_symbol_leaves_the_server_time() -> None:
    rig = Rig()
    rig.registry.set("clock_skew", 0.0, symbol="BTCUSDT", arguments={})
    assert rig.get("time") == {"serverTime": NOW // 1000}


@pytest.mark.parametrize(
    ("query", "symbols"),
    [
        ({}, ["BTCUSDT", "ETHBTC", "ODD"]),
        ({"symbol": "ETHBTC"}, ["ETHBTC"]),
        ({"symbols": '["ODD","BTCUSDT"]'}, ["ODD", "BTCUSDT"]),
        ({"symbolStatus": "BREAK"}, ["ETHBTC"]),
        ({"symbolStatus": "TRADING"}, ["BTCUSDT", "ODD"]),
    ],
)
def test_exchange_info_lists_what_was_asked_for(query: dict[str, str], symbols: list[str]) -> None:
    rig = Rig()
    rig.registry.set("status", 0.0, symbol="ETHBTC", arguments={"status": "BREAK"})
    answer = orjson.loads(rig.ask("exchangeInfo", query).body)
    assert [each["symbol"] for each in answer["symbols"]] == symbols
    assert answer["serverTime"] == NOW // 1000


def test_exchange_info_tells_each_symbols_status_and_assets() -> None:
    rig = Rig()
    rig.registry.set("status", 0.0, symbol="ETHBTC", arguments={"status": "CANCEL_ONLY"})
    told = {each["symbol"]: each for each in rig.get("exchangeInfo")["symbols"]}
    assert {symbol: each["status"] for symbol, each in told.items()} == {
        "BTCUSDT": "TRADING",
        "ETHBTC": "CANCEL_ONLY",
        "ODD": "TRADING",
    }
    assert (told["ETHBTC"]["baseAsset"], told["ETHBTC"]["quoteAsset"]) == ("ETH", "BTC")
    assert told["ETHBTC"]["filters"][0]["tickSize"] == "0.01"


def test_permission_sets_can_be_left_out() -> None:
    rig = Rig()
    (symbol,) = rig.get("exchangeInfo", symbol="ODD", showPermissionSets="false")["symbols"]
    assert symbol["permissionSets"] == []
    (symbol,) = rig.get("exchangeInfo", symbol="ODD")["symbols"]
    assert symbol["permissionSets"] == [["SPOT"]]


@pytest.mark.parametrize("name", ["trades", "historicalTrades"])
def test_trades_are_the_newest_in_order(name: str) -> None:
    rig = Rig()
    rig.trade_for(30)
    trades = rig.get(name, symbol="BTCUSDT", limit="3")
    newest = rig.get(name, symbol="BTCUSDT", limit="1")
    assert len(trades) == 3
    assert trades[-1:] == newest
    assert [trade["id"] - trades[0]["id"] for trade in trades] == [0, 1, 2]
    assert len(rig.get(name, symbol="BTCUSDT")) == 500
    assert len(rig.get(name, symbol="BTCUSDT", limit="5000")) == 1000


def test_history_is_read_from_an_id_on() -> None:
    rig = Rig()
    rig.trade_for(10)
    first = rig.get("historicalTrades", symbol="BTCUSDT", limit="100")[0]["id"]
    page = rig.get("historicalTrades", symbol="BTCUSDT", fromId=str(first), limit="5")
    assert [trade["id"] for trade in page] == list(range(first, first + 5))


def test_aggregates_from_an_id_on_cover_the_trades() -> None:
    rig = Rig()
    rig.trade_for(10)
    first = rig.get("aggTrades", symbol="BTCUSDT", limit="50")[0]["a"]
    page = rig.get("aggTrades", symbol="BTCUSDT", fromId=str(first), limit="5")
    assert [each["a"] for each in page] == list(range(first, first + 5))
    assert all(after["f"] == before["l"] + 1 for before, after in pairwise(page))


@pytest.mark.parametrize(
    ("name", "query", "code"),
    [
        ("exchangeInfo", {"symbol": "XRPUSDT"}, -1121),
        ("exchangeInfo", {"symbols": '["BTCUSDT","XRPUSDT"]'}, -1121),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbols": "[1]"}, -1100),
        ("exchangeInfo", {"symbol": "ODD", "symbolStatus": "HALT"}, -1128),
        ("exchangeInfo", {"symbolStatus": "CANCEL_ONLY"}, -1130),
        ("time", {"symbol": "ODD"}, -1104),
        ("aggTrades", {}, -1102),
        ("aggTrades", {"symbol": "XRPUSDT"}, -1121),
        ("aggTrades", {"symbol": "ODD", "fromId": "x"}, -1100),
        ("aggTrades", {"symbol": "ODD", "limit": "0"}, -1130),
        ("aggTrades", {"symbol": "ODD", "startTime": "1"}, -1104),
        ("trades", {"symbol": "ODD", "fromId": "1"}, -1104),
    ],
)
def test_wrong_question_draws_binances_code(name: str, query: dict[str, str], code: int) -> None:
    reply = Rig().ask(name, query)
    assert reply.status == 400
    assert orjson.loads(reply.body)["code"] == code


def test_weights_are_binances() -> None:
    api = Rig().api
    assert {name: api.weight(name) for name in api.names} == {
        "ping": 1,
        "time": 1,
        "exchangeInfo": 20,
        "trades": 25,
        "historicalTrades": 25,
        "aggTrades": 4,
    }
    assert api.weight("order") is None


def test_error_is_worded_as_binance_does() -> None:
    assert error_body(-1121, "Invalid symbol.") == b'{"code":-1121,"msg":"Invalid symbol."}'
