"""The HTTP side: metrics, health, the gate and the status. Nothing that comes in changes anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any, Final

import orjson
from aiohttp import web

from feedd import __version__
from feedd.core.desk import Desk
from feedd.outputs.consumers import Attendance
from feedd.outputs.gate_events import GateEvents
from feedd.outputs.metrics import Format, MetricsPage
from feedd.outputs.moment import Moment
from feedd.outputs.relay import Relay
from feedd.outputs.views import gate_of_symbol, gates, status
from feedd.settings import Listen

PROGRESS_SECONDS: Final = 5.0
"""The supervisor looks at its tasks every second; after five without that look something is stuck."""
STOP_SECONDS: Final = 1.0
"""How long an answer under way may take when the daemon stops."""
MAX_REQUEST_BYTES: Final = 64 * 1024

_PAGES: Final = (
    ("/metrics", "metrics for Prometheus"),
    ("/gate", "may we trade? 200 open, 503 halted and why; one symbol with ?symbol="),
    ("/gate/events", "WebSocket: every change of the gate, and a heartbeat every second"),
    ("/stream", "WebSocket: the streams as Binance serves them, ?streams=btcusdt@trade; /ws/ as well"),
    ("/status", "everything a person asks, as JSON"),
    ("/-/ready", "200 while every symbol has good live data"),
    ("/-/healthy", "200 while the process works"),
)
_INDEX: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>feedd</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 44rem; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left }}
.halted {{ color: #b00020; font-weight: 600 }} .open {{ color: #0a7a2f; font-weight: 600 }}
</style></head><body><h1>feedd {version}</h1>
<p>Source: <strong>{source}</strong></p>
<table><tr><th>symbol</th><th>gate</th><th>why</th></tr>{rows}</table>
<h2>Pages</h2><table>{pages}</table></body></html>
"""


class Web:
    """Serves one desk on one address."""

    def __init__(
        self,
        desk: Desk,
        attendance: Attendance,
        gate_events: GateEvents,
        relay: Relay,
        now: Callable[[], Moment] = Moment.now,
    ) -> None:
        self._desk = desk
        self._attendance = attendance
        self._gate_events = gate_events
        self._relay = relay
        self._metrics = MetricsPage(desk)
        self._now = now
        self._runner = web.AppRunner(
            self._application(), access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
        )

    async def start(self, listen: Listen) -> Listen:
        """Listen; returns the address with the port that was free where 0 was asked for. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, listen.host, listen.port, reuse_address=True)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return Listen(listen.host, port)

    async def stop(self) -> None:
        """Let the consumers go and stop listening."""
        self._relay.stop()
        self._attendance.stop()
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_REQUEST_BYTES)
        handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/": self._index,
            "/metrics": self._show_metrics,
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
            "/gate": self._gate,
            "/status": self._status,
        }
        sockets: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/gate/events": self._events,
            "/stream": self._streams,
            "/stream/": self._streams,
            "/ws": self._streams,
            "/ws/{names:.*}": self._streams,
        }
        # Were it not for the last route, an Expect header of garbage would end in a traceback of aiohttp's.
        application.add_routes(
            [
                *(web.get(path, handler, expect_handler=_expect) for path, handler in handlers.items()),
                *(
                    web.get(path, handler, allow_head=False, expect_handler=_expect)
                    for path, handler in sockets.items()
                ),
                web.route("*", "/{elsewhere:.*}", _elsewhere, expect_handler=_expect),
            ]
        )
        return application

    async def _index(self, _: web.Request) -> web.Response:
        symbols = gates(self._desk, False, self._now())["symbols"]
        rows = "".join(_index_row(symbol, gate) for symbol, gate in symbols.items())
        pages = "".join(
            f'<tr><td><a href="{path}">{path}</a></td><td>{text}</td></tr>' for path, text in _PAGES
        )
        page = _INDEX.format(version=__version__, source=self._desk.source, rows=rows, pages=pages)
        return web.Response(text=page, content_type="text/html")

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        accepts_open = "application/openmetrics-text" in request.headers.get("Accept", "")
        text_format = Format.OPEN_METRICS if accepts_open else Format.CLASSIC
        response = web.StreamResponse(headers={"Content-Type": text_format.value})
        await response.prepare(request)
        for piece in self._metrics.pieces(text_format, self._now):
            await response.write(piece.encode())
            await asyncio.sleep(0)  # messages first: a large page is written between them
        await response.write_eof()
        return response

    async def _healthy(self, _: web.Request) -> web.Response:
        stuck_for = self._now().monotonic - self._desk.progress_at
        if stuck_for > PROGRESS_SECONDS:
            return web.Response(status=503, text=f"the supervisor made no progress for {stuck_for:.1f} s\n")
        return web.Response(text="healthy\n")

    async def _ready(self, _: web.Request) -> web.Response:
        unready = self._desk.unready()
        if unready:
            lines = [f"{symbol}: {', '.join(reasons)}\n" for symbol, reasons in unready.items()]
            return web.Response(status=503, text="".join(lines))
        return web.Response(text="ready\n")

    async def _gate(self, request: web.Request) -> web.Response:
        allow_static = _allow_static(request)
        if "symbol" not in request.query:
            answer = gates(self._desk, allow_static, self._now())
            return _json(answer, 503 if answer["halted"] else 200)
        symbol = request.query["symbol"].upper()
        session = self._desk.sessions.get(symbol)
        if session is None:
            return _json({"error": f"symbol {symbol!r} is not configured"}, 404)
        gate = gate_of_symbol(self._desk, session, allow_static, self._now())
        return _json({"symbol": symbol, "source": self._desk.source, **gate}, 503 if gate["halted"] else 200)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._gate_events.serve(request, _allow_static(request))

    async def _streams(self, request: web.Request) -> web.StreamResponse:
        return await self._relay.serve(request, _allow_static(request))

    async def _status(self, _: web.Request) -> web.Response:
        return _json(status(self._desk, self._now(), self._attendance.describe()), 200)


async def _elsewhere(request: web.Request) -> web.Response:
    """Refuse what none of the pages is: another path, or another method than GET."""
    known = await request.app.router.resolve(request.clone(method="GET"))
    if known.handler is _elsewhere:
        raise web.HTTPNotFound
    raise web.HTTPMethodNotAllowed(request.method, ("GET",))


async def _expect(_: web.Request) -> None:
    """Heed no Expect header: it is about a body, and there is none here to wait for."""


def _index_row(symbol: str, gate: dict[str, Any]) -> str:
    word = "halted" if gate["halted"] else "open"
    reasons = ", ".join(gate["reasons"])
    return f'<tr><td>{escape(symbol)}</td><td class="{word}">{word}</td><td>{reasons}</td></tr>'


def _allow_static(request: web.Request) -> bool:
    allow = request.query.get("allow")
    if allow not in (None, "static"):
        raise web.HTTPBadRequest(text=f"allow: expected static, found {allow!r}\n")
    return allow == "static"


def _json(content: dict[str, Any], code: int) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(content) + b"\n", content_type="application/json")
