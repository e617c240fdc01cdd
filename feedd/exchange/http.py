"""The exchange's HTTP side: Binance's REST endpoints, the fault board, and the front page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from feedd.exchange import faults, pages
from feedd.exchange.api import Api, ApiRequest, error_body
from feedd.exchange.clocks import Clocks
from feedd.exchange.fault_registry import AnyFault, FaultError, FaultRegistry
from feedd.exchange.messages import parse_unit
from feedd.exchange.rules import WeightLimit
from feedd.exchange.stats import Stats

_WIRE_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "symbol": ((str,), "a text"),
    "stream": ((str,), "a text"),
    "seconds": ((int, float), "a number"),
}


class FaultControl(Protocol):
    """Sets and clears faults; a fault may act on connections, which the HTTP side knows nothing of."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that a fault may be set for."""

    @property
    def faults(self) -> FaultRegistry:
        """The faults that are active."""

    def set_fault(
        self,
        name: str,
        /,
        *,
        symbol: str | None = None,
        stream: str | None = None,
        seconds: float | None = None,
        **arguments: object,
    ) -> AnyFault:
        """Set a fault for a symbol or for all.

        Raises:
            FaultError: there is no such fault, symbol or argument, or a value is wrong.
        """

    def clear_fault(self, fault: AnyFault | int) -> bool:
        """End a fault, given itself or its id; False if it isn't active."""

    def clear_faults(self) -> tuple[AnyFault, ...]:
        """End every active fault, and return them."""


class HttpSide:
    """The handlers of all requests that are not for streams."""

    def __init__(
        self, control: FaultControl, api: Api, clocks: Clocks, stats: Stats, weight_per_minute: int
    ) -> None:
        self._control = control
        self._api = api
        self._clocks = clocks
        self._stats = stats
        self._weights = WeightLimit(weight_per_minute)

    def routes(self) -> list[web.RouteDef]:
        """List the handlers by method and path."""
        return [
            web.get("/", self._front_page),
            web.get("/api/v3/{name}", self._ask),
            web.get("/faults", self._list_faults),
            web.post("/faults", self._set_fault),
            web.delete("/faults", self._clear_faults),
            web.delete("/faults/{id}", self._clear_fault),
        ]

    async def _front_page(self, request: web.Request) -> web.Response:
        return web.Response(text=pages.front_page(self._control.symbols, self._api.names))

    async def _ask(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        weight = self._api.weight(name)
        if weight is None:
            return pages.error_page(404)
        self._stats.count_request(name)
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
        symbols = [each for each in self._control.symbols if each == named[0] or f'"{each}"' in named[1]]
        if rest := self._control.faults.find(faults.RestHttp, symbols):
            rest.count_hits()
            return pages.error_page(rest.kind.status, rest.kind.retry_after)
        http = self._control.faults.find(faults.Http, symbols)
        if http and http.kind.rest:
            http.count_hits()
            return pages.error_page(http.kind.status, http.kind.retry_after)
        return None

    async def _list_faults(self, request: web.Request) -> web.Response:
        now = self._clocks.now()
        active = [pages.describe(fault, now) for fault in self._control.faults.active()]
        return _json(orjson.dumps({"active": active, "known": pages.known_faults()}))

    async def _set_fault(self, request: web.Request) -> web.Response:
        try:
            asked = _parse_fault(await request.read())
            fault = self._control.set_fault(asked.pop("fault"), **asked)
        except FaultError as error:
            return _error(400, str(error))
        return _json(orjson.dumps(pages.describe(fault, self._clocks.now())))

    async def _clear_faults(self, request: web.Request) -> web.Response:
        cleared = [fault.id for fault in self._control.clear_faults()]
        return _json(orjson.dumps({"cleared": cleared}))

    async def _clear_fault(self, request: web.Request) -> web.Response:
        text = request.match_info["id"]
        if text.isascii() and text.isdigit() and self._control.clear_fault(int(text)):
            return _json(orjson.dumps({"cleared": [int(text)]}))
        on = ", ".join(str(fault.id) for fault in self._control.faults.active()) or "none"
        return _error(404, f"id: expected that of a fault which is on ({on}); found {text!r}")


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
