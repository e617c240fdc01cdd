"""The answers of the REST endpoints (Binance spot docs: rest-api.md, Market Data endpoints). Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from feedd.errors import FeeddError
from feedd.exchange.fault_registry import FaultRegistry
from feedd.exchange.faults import ClockSkew, Status
from feedd.exchange.messages import TimeUnit
from feedd.exchange.source import MessageSource

_LIMIT_DEFAULT = 500
_LIMIT_MAX = 1000
_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One REST request. `now` is the exchange's clock in microseconds."""

    query: Mapping[str, str]
    unit: TimeUnit
    now: int


@dataclass(frozen=True, slots=True)
class ApiReply:
    """One REST answer."""

    status: int
    body: bytes


# The steps of the simulated market; clients read the number of decimals from them.
_FILTERS = (
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.00", "stepSize": "0.00001"},
)


class _ApiError(FeeddError):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Endpoint:
    weight: int
    answer: Callable[[ApiRequest], object]
    parameters: tuple[str, ...] = ()


class Api:
    """The endpoints under `/api/v3`."""

    def __init__(self, source: MessageSource, registry: FaultRegistry, weight_per_minute: int) -> None:
        self._source = source
        self._registry = registry
        self._weight_per_minute = weight_per_minute
        filters = ("symbol", "symbols", "symbolStatus", "permissions", "showPermissionSets")
        history = ("symbol", "fromId", "limit")
        self._endpoints = {
            "ping": _Endpoint(1, lambda request: {}),
            "time": _Endpoint(1, self._time),
            "exchangeInfo": _Endpoint(20, self._exchange_info, filters),
            "trades": _Endpoint(25, self._trades, ("symbol", "limit")),
            "historicalTrades": _Endpoint(25, self._trades, history),
            "aggTrades": _Endpoint(4, self._aggregates, history),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The endpoints' names, as in their paths."""
        return tuple(self._endpoints)

    def weight(self, name: str) -> int | None:
        """Return the weight of a request; None if there is no such endpoint."""
        endpoint = self._endpoints.get(name)
        return endpoint.weight if endpoint else None

    def answer(self, name: str, request: ApiRequest) -> ApiReply:
        """Answer a request; a wrong one with 400 and Binance's code for what is wrong."""
        endpoint = self._endpoints[name]
        try:
            read = [parameter for parameter in endpoint.parameters if parameter in request.query]
            if len(read) < len(request.query):
                sent = f"read '{len(read)}' parameter(s) but was sent '{len(request.query)}'"
                raise _ApiError(-1104, f"Not all sent parameters were read; {sent}.")
            return ApiReply(200, orjson.dumps(endpoint.answer(request)))
        except _ApiError as error:
            return ApiReply(400, error_body(error.code, str(error)))

    def _time(self, request: ApiRequest) -> object:
        return {"serverTime": self._server_time(request.now) // request.unit.value}

    def _server_time(self, now: int) -> int:
        skew = self._registry.find(ClockSkew)
        return now + skew.kind.ms * 1000 if skew and skew.kind.rest else now

    def _exchange_info(self, request: ApiRequest) -> object:
        symbols = self._selected(request.query)
        with_permissions = request.query.get("showPermissionSets", "true") != "false"
        return {
            "timezone": "UTC",
            "serverTime": self._server_time(request.now) // request.unit.value,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self._weight_per_minute,
                }
            ],
            "exchangeFilters": [],
            "symbols": [self._symbol_info(symbol, with_permissions) for symbol in symbols],
        }

    def _selected(self, query: Mapping[str, str]) -> list[str]:
        named = [name for name in ("symbol", "symbols", "symbolStatus") if name in query]
        if len(named) > 1:
            raise _ApiError(-1128, "Combination of optional parameters invalid.")
        if "symbol" in query:
            return [self._known(query["symbol"])]
        if "symbols" in query:
            return [self._known(symbol) for symbol in _symbol_list(query["symbols"])]
        if "symbolStatus" in query:
            if query["symbolStatus"] not in ("TRADING", "HALT", "BREAK"):
                raise _ApiError(-1130, "Data sent for parameter 'symbolStatus' is not valid.")
            return [each for each in self._source.symbols if self._status(each) == query["symbolStatus"]]
        return list(self._source.symbols)

    def _known(self, symbol: str) -> str:
        if symbol not in self._source.symbols:
            raise _ApiError(-1121, "Invalid symbol.")
        return symbol

    def _status(self, symbol: str) -> str:
        changed = self._registry.find(Status, (symbol,))
        return changed.kind.status if changed else "TRADING"

    def _symbol_info(self, symbol: str, with_permissions: bool) -> dict[str, Any]:
        base, quote = _split(symbol)
        return {
            "symbol": symbol,
            "status": self._status(symbol),
            "baseAsset": base,
            "baseAssetPrecision": 8,
            "quoteAsset": quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "icebergAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": _FILTERS,
            "permissions": [],
            "permissionSets": [["SPOT"]] if with_permissions else [],
        }

    def _trades(self, request: ApiRequest) -> object:
        symbol = self._mandatory_symbol(request.query)
        first, limit = _page(request.query)
        return self._source.trades(symbol, request.now, request.unit, first, limit)

    def _aggregates(self, request: ApiRequest) -> object:
        symbol = self._mandatory_symbol(request.query)
        first, limit = _page(request.query)
        return self._source.aggregates(symbol, request.now, request.unit, first, limit)

    def _mandatory_symbol(self, query: Mapping[str, str]) -> str:
        if not query.get("symbol"):
            reason = "was not sent, was empty/null, or malformed"
            raise _ApiError(-1102, f"Mandatory parameter 'symbol' {reason}.")
        return self._known(query["symbol"])


def error_body(code: int, message: str) -> bytes:
    """Word an error as Binance does."""
    return orjson.dumps({"code": code, "msg": message})


def _symbol_list(text: str) -> list[str]:
    try:
        symbols = orjson.loads(text)
    except orjson.JSONDecodeError:
        symbols = None
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise _ApiError(-1100, "Illegal characters found in parameter 'symbols'; expected a list of names.")
    return symbols


def _page(query: Mapping[str, str]) -> tuple[int | None, int]:
    first = _number(query, "fromId")
    limit = _number(query, "limit")
    if limit is not None and limit < 1:
        raise _ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    return first, min(limit or _LIMIT_DEFAULT, _LIMIT_MAX)


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise _ApiError(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
        )
    return int(text)


def _split(symbol: str) -> tuple[str, str]:
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol, symbol
