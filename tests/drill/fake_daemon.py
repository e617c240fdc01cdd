"""A server that answers as a daemon does, with what a test has it say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

SYMBOL = "BTCUSDT"


class FakeDaemon:
    """The daemon's endpoints that a drill uses. Change `metrics` and `status`, and `send` events."""

    def __init__(self) -> None:
        self.metrics = ""
        self.status: dict[str, Any] = {"symbols": {SYMBOL: {"connections": 1, "streams": {}}}}
        self.url = ""
        self._sockets: list[web.WebSocketResponse] = []

    async def send(self, **event: Any) -> None:
        """Send an event to whoever listens at /gate/events."""
        for socket in self._sockets:
            await socket.send_bytes(orjson.dumps(event))

    async def send_change(self, *reasons: str, added: tuple[str, ...] = (), at: str) -> None:
        """Send a change of the symbol's gate."""
        await self.send(type="gate", symbol=SYMBOL, at=at, added=added, reasons=reasons)

    async def hang_up(self) -> None:
        """Close /gate/events for all."""
        for socket in self._sockets:
            await socket.close()

    def routes(self) -> list[web.RouteDef]:
        """List the endpoints."""
        return [
            web.get("/metrics", self._answer_metrics),
            web.get("/status", self._answer_status),
            web.get("/gate/events", self._serve_events),
        ]

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics)

    async def _answer_status(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self.status))

    async def _serve_events(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_bytes(
            orjson.dumps({"type": "state", "symbols": {SYMBOL: {"reasons": ["starting"]}}})
        )
        self._sockets.append(socket)
        async for _ in socket:
            pass
        return socket


@asynccontextmanager
async def fake_daemon() -> AsyncIterator[FakeDaemon]:
    """Run one on a free port of loopback."""
    daemon = FakeDaemon()
    app = web.Application()
    app.add_routes(daemon.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        daemon.url = f"http://{host}:{port}"
        yield daemon
    finally:
        await runner.cleanup()
