"""One address in front of a daemon's gates and a Binance-speaking `/stream`, which can cut each of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

Upstream = aiohttp.ClientWebSocketResponse[bool]


class Proxy:
    """Passes WebSockets on: `/gate/events` to the daemon, `/stream` to where the market data comes from."""

    def __init__(self, gates: str, stream: str) -> None:
        self._upstreams = {"/gate/events": gates, "/stream": stream}
        self._sockets: dict[str, set[web.WebSocketResponse]] = {path: set() for path in self._upstreams}
        self.is_refusing: set[str] = set()
        """Paths that are answered 503."""
        self.is_hanging: set[str] = set()
        """Paths that are not answered at all."""
        self.headers: dict[str, str] = {}
        """Those of the newest handshake."""
        application = web.Application()
        application.add_routes([web.get(path, self._serve) for path in self._upstreams])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        self.url = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._sockets:
            await self.cut(path)
        await self._runner.cleanup()
        await self._http.close()

    async def cut(self, path: str) -> None:
        """End every connection at that path."""
        for socket in list(self._sockets[path]):
            await socket.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.headers = dict(request.headers)
        while request.path in self.is_hanging:  # noqa: ASYNC110  # until a test has had enough of it
            await asyncio.sleep(0.01)
        if request.path in self.is_refusing:
            return web.Response(status=503)
        async with self._http.ws_connect(
            f"{self._upstreams[request.path]}{request.path_qs}", max_msg_size=0, decode_text=False
        ) as upstream:
            socket = web.WebSocketResponse(timeout=0.1)
            await socket.prepare(request)
            self._sockets[request.path].add(socket)
            forwarding = asyncio.create_task(_forward_requests(socket, upstream))
            async for message in upstream:
                await socket.send_frame(message.data, aiohttp.WSMsgType.TEXT)
            forwarding.cancel()
            await socket.close()
        self._sockets[request.path].discard(socket)
        return socket


async def _forward_requests(socket: web.WebSocketResponse, upstream: Upstream) -> None:
    async for message in socket:
        await upstream.send_str(message.data)
    await upstream.close()
