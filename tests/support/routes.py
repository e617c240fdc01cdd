"""A venue that serves its streams by two routes, and what stands before an exchange to cut one of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, cast

import aiohttp
import pytest
from aiohttp import web

from feedd.venues.binance.spot.tables import SPOT
from feedd.venues.catalogue import VENUES
from feedd.venues.venue import Venue

MARKET, PUBLIC = "market", "public"
ROUTE_OF: Final = {"trade": MARKET, "aggTrade": MARKET, "bookTicker": PUBLIC, "depth@100ms": PUBLIC}
"""Streams of the routed venue, which has no others."""


def routed(**paths: str) -> Venue:
    """Return Binance spot as if it had routes, with the path that follows the host on each."""
    streams = {
        name: replace(SPOT.streams[name], stream=replace(SPOT.streams[name].stream, route=route))
        for name, route in ROUTE_OF.items()
    }
    return replace(SPOT, streams=streams, default_streams=tuple(ROUTE_OF), route_paths=paths)


def put_in_place_of_spot(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the settings' `binance-spot` mean that venue."""
    monkeypatch.setitem(cast(dict[str, Venue], VENUES), SPOT.name, venue)


class RouteFront:
    """Passes the routes' WebSockets on to an exchange that knows none: `/market/stream` to its `/stream`."""

    def __init__(self, exchange_url: str) -> None:
        self._exchange_url = exchange_url
        self._sockets: dict[str, set[web.WebSocketResponse]] = {MARKET: set(), PUBLIC: set()}
        self._is_let_in = {route: asyncio.Event() for route in self._sockets}
        self.asked: Counter[str] = Counter()
        """Handshakes that were tried, by route."""
        self.targets: dict[str, str] = {}
        """What the newest handshake of each route asked for."""
        application = web.Application()
        application.router.add_get("/{route}/stream", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        self.url = ""
        for route in self._sockets:
            self.let_in(route)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for route in self._sockets:
            self.let_in(route)
            await self.cut(route)
        await self._runner.cleanup()
        await self._http.close()

    def hold(self, route: str) -> None:
        """Answer no handshake on that route, until they are let in."""
        self._is_let_in[route].clear()

    def let_in(self, route: str) -> None:
        """Answer the handshakes on that route: those that wait, and all that come."""
        self._is_let_in[route].set()

    async def cut(self, route: str) -> None:
        """Close every connection on that route."""
        for socket in list(self._sockets[route]):
            await socket.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        route = request.match_info["route"]
        self.asked[route] += 1
        self.targets[route] = request.query["streams"]
        await self._is_let_in[route].wait()
        path = request.path_qs.removeprefix(f"/{route}")
        socket = web.WebSocketResponse(timeout=0.1)
        if request.transport is None or request.transport.is_closing():
            return socket  # whoever asked has not waited
        async with self._http.ws_connect(self._exchange_url + path, decode_text=False) as upstream:
            await socket.prepare(request)
            self._sockets[route].add(socket)
            listening = asyncio.create_task(_until_closed(socket, upstream))
            async for message in upstream:
                if not socket.closed:
                    await socket.send_frame(message.data, aiohttp.WSMsgType.TEXT)
            await listening
        self._sockets[route].discard(socket)
        return socket


async def _until_closed(
    socket: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse[bool]
) -> None:
    async for _ in socket:
        pass
    await upstream.close()
