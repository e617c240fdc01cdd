"""The exchange's HTTP side: Binance's REST endpoints, the fault board, and a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from feedd.exchange import faults, pages
from feedd.exchange.api import Api, ApiRequest, error_body
from feedd.exchange.clocks import Clocks
from feedd.exchange.fault_registry import FaultError
from feedd.exchange.messages import parse_unit
from feedd.exchange.rules import WeightLimit

if TYPE_CHECKING:
    from feedd.exchange.server import Exchange

_WIRE_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "symbol": ((str,), "a text"),
    "stream": ((str,), "a text"),
    "seconds": ((int, float), "a number"),
}


class HttpSide:
    """Everything that is asked without a WebSocket."""

    def __init__(self, exchange: Exchange, api: Api, clocks: Clocks) -> None:
        self._exchange = exchange
        self._api = api
        self._clocks = clocks
        self._weights = WeightLimit(exchange.settings.weight_per_minute)

    def routes(self) -> list[web.RouteDef]:
        """List what is answered where."""
        return [
            web.get("/", self._front_page),
            web.get("/api/v3/{name}", self._ask),
            web.get("/faults", self._list_faults),
            web.post("/faults", self._set_fault),
            web.delete("/faults", self._clear_faults),
            web.delete("/faults/{id}", self._clear_fault),
        ]

    async def _front_page(self, request: web.Request) -> web.Response:
        return web.Response(text=pages.front_page(self._exchange.symbols, self._api.names))

    async def _ask(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        weight = self._api.weight(name)
        if weight is None:
            return error_page(404)
        self._exchange.seen.requests[name] += 1
        self._exchange.seen.change()
        if (failure := self._failure(request)) is not None:
            return failure
        now = self._clocks.wall_now()
        spending = self._weights.spend(request.remote or "", weight, now / 1_000_000)
        headers = {"X-MBX-USED-WEIGHT-1M": str(spending.used)}
        if spending.retry_after is not None:
            headers["Retry-After"] = str(spending.retry_after)
            body = error_body(-1003, "Too much request weight used; the limit is per minute.")
            return _json(body, 429, headers)
        unit = parse_unit(request.headers.get("X-MBX-TIME-UNIT", ""))
        reply = self._api.answer(name, ApiRequest(dict(request.query), unit, now))
        return _json(reply.body, reply.status, headers)

    def _failure(self, request: web.Request) -> web.Response | None:
        named = request.query.get("symbol", ""), request.query.get("symbols", "")
        symbols = [each for each in self._exchange.symbols if each == named[0] or f'"{each}"' in named[1]]
        if rest := self._exchange.faults.find(faults.RestHttp, symbols):
            rest.hit += 1
            return error_page(rest.kind.status, rest.kind.retry_after)
        http = self._exchange.faults.find(faults.Http, symbols)
        if http and http.kind.rest:
            http.hit += 1
            return error_page(http.kind.status, http.kind.retry_after)
        return None

    async def _list_faults(self, request: web.Request) -> web.Response:
        now = self._clocks.now()
        active = [pages.describe(fault, now) for fault in self._exchange.faults.active()]
        return _json(orjson.dumps({"active": active, "known": pages.known_faults()}))

    async def _set_fault(self, request: web.Request) -> web.Response:
        try:
            asked = _parse_fault(await request.read())
            fault = self._exchange.set_fault(asked.pop("fault"), **asked)
        except FaultError as error:
            return _error(400, str(error))
        return _json(orjson.dumps(pages.describe(fault, self._clocks.now())))

    async def _clear_faults(self, request: web.Request) -> web.Response:
        cleared = [fault.id for fault in self._exchange.clear_faults()]
        return _json(orjson.dumps({"cleared": cleared}))

    async def _clear_fault(self, request: web.Request) -> web.Response:
        text = request.match_info["id"]
        if text.isascii() and text.isdigit() and self._exchange.clear_fault(int(text)):
            return _json(orjson.dumps({"cleared": [int(text)]}))
        on = ", ".join(str(fault.id) for fault in self._exchange.faults.active()) or "none"
        return _error(404, f"id: expected that of a fault which is on ({on}); found {text!r}")


def error_page(status: int, retry_after: int | None = None) -> web.Response:
    """Answer as what stands in front of Binance does: with HTML."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
    return web.Response(status=status, headers=headers, text=body, content_type="text/html")


def _parse_fault(body: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FaultError(f"body: expected a JSON object; {error}") from error
    if not isinstance(asked, dict):
        raise FaultError(f"body: expected a JSON object; found {body[:80].decode(errors='replace')}")
    if not isinstance(asked.get("fault"), str):
        raise FaultError(
            f"fault: expected one of {', '.join(faults.FAULT_KINDS)}; found {asked.get('fault')!r}"
        )
    for name, (types, words) in _WIRE_TYPES.items():
        value = asked.get(name)
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            raise FaultError(f"{name}: expected {words}; found {value!r}")
    return asked


def _error(status: int, text: str) -> web.Response:
    return _json(orjson.dumps({"error": text}), status)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")
