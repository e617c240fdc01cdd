"""What each path of the HTTP side answers, but for the outputs' own. Who may ask is decided elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import orjson
from aiohttp import web

from feedd._version import __version__
from feedd.core.daemon_state import DaemonState
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.json_views import gate_of_symbol, gates, status
from feedd.outputs.output import Outputs
from feedd.outputs.prometheus.catalogue import Format
from feedd.outputs.prometheus.exposition import MetricsPage
from feedd.outputs.ws.consumer import ConsumerRegistry

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

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


@dataclass(frozen=True, slots=True)
class ScrapeLimits:
    """What scrapes of the metrics may cost the feed."""

    at_once: int = 8
    """Each delays messages by a piece of its page, which is less than a millisecond; two Prometheis need
    two."""
    seconds: float = 10.0
    """As long as Prometheus waits by default. Who reads more slowly is cut off, and its place is free."""


class Handlers:
    """Answers from the daemon's state, which none of them changes."""

    def __init__(
        self,
        state: DaemonState,
        consumers: ConsumerRegistry,
        outputs: Outputs,
        page: MetricsPage,
        limits: ScrapeLimits,
        now: Callable[[], ClockReading] = ClockReading.now,
    ) -> None:
        self._state = state
        self._consumers = consumers
        self._outputs = outputs
        self._page = page
        self._limits = limits
        self._now = now
        self._scrapes = 0

    def pages(self) -> Mapping[str, Handler]:
        """Return what answers a plain GET, by path."""
        return {
            "/": self.index,
            "/metrics": self.metrics,
            "/-/healthy": self.healthy,
            "/-/ready": self.ready,
            "/gate": self.gate,
            "/status": self.status,
        }

    async def index(self, _: web.Request) -> web.Response:
        """Show a person the gates and the other pages."""
        symbols = gates(self._state, False, self._now())["symbols"]
        rows = "".join(_index_row(symbol, gate) for symbol, gate in symbols.items())
        pages = "".join(
            f'<tr><td><a href="{path}">{path}</a></td><td>{text}</td></tr>' for path, text in _PAGES
        )
        page = _INDEX.format(version=__version__, source=self._state.source, rows=rows, pages=pages)
        return web.Response(text=page, content_type="text/html")

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Write the metrics piece by piece, for so many at once and no longer than a scrape may take."""
        accepts_open = "application/openmetrics-text" in request.headers.get("Accept", "")
        text_format = Format.OPEN_METRICS if accepts_open else Format.CLASSIC
        if self._scrapes >= self._limits.at_once:
            return web.Response(status=503, text=f"{self._scrapes} scrapes are under way, no more at once\n")
        response = web.StreamResponse(headers={"Content-Type": text_format.value})
        self._scrapes += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await response.prepare(request)
                await self._write_metrics(response, text_format)
        except (TimeoutError, ConnectionResetError):
            if request.transport is not None:
                request.transport.abort()  # what is incomplete must not look complete
        finally:
            self._scrapes -= 1
        return response

    async def healthy(self, _: web.Request) -> web.Response:
        """Answer 200 while the process works, whatever the exchange does."""
        now = self._now().monotonic
        if self._state.is_stuck(now):
            stuck_for = self._state.seconds_without_progress(now)
            return web.Response(status=503, text=f"the supervisor made no progress for {stuck_for:.1f} s\n")
        return web.Response(text="healthy\n")

    async def ready(self, _: web.Request) -> web.Response:
        """Answer 200 while every symbol has good live data, else name those that have not, and why."""
        unready = self._state.unready()
        if unready:
            lines = [f"{symbol}: {', '.join(reasons)}\n" for symbol, reasons in unready.items()]
            return web.Response(status=503, text="".join(lines))
        return web.Response(text="ready\n")

    async def gate(self, request: web.Request) -> web.Response:
        """Answer 200 while trading is open, 503 while it is halted: in one symbol, or in all of them."""
        allows_static = allow_static(request)
        if "symbol" not in request.query:
            answer = gates(self._state, allows_static, self._now())
            return _json(answer, 503 if answer["halted"] else 200)
        symbol = request.query["symbol"].upper()
        symbol_state = self._state.symbols.get(symbol)
        if symbol_state is None:
            return _json({"error": f"symbol {symbol!r} is not configured"}, 404)
        gate = gate_of_symbol(self._state, symbol_state, allows_static, self._now())
        return _json({"symbol": symbol, "source": self._state.source, **gate}, 503 if gate["halted"] else 200)

    async def status(self, _: web.Request) -> web.Response:
        """Answer all that a person asks."""
        answer = status(self._state, self._now(), self._consumers.status(), self._outputs.status())
        return _json(answer, 200)

    async def _write_metrics(self, response: web.StreamResponse, text_format: Format) -> None:
        for piece in self._page.pieces(text_format, self._now):
            await response.write(piece.encode())
            await asyncio.sleep(0)  # messages first: a large page is written between them
        await response.write_eof()


def allow_static(request: web.Request) -> bool:
    """Tell whether who asks takes recorded data as well. Raises HTTPBadRequest for any other wish."""
    allow = request.query.get("allow")
    if allow not in (None, "static"):
        raise web.HTTPBadRequest(text=f"allow: expected static, found {allow!r}\n")
    return allow == "static"


def _index_row(symbol: str, gate: dict[str, Any]) -> str:
    word = "halted" if gate["halted"] else "open"
    reasons = ", ".join(gate["reasons"])
    return f'<tr><td>{escape(symbol)}</td><td class="{word}">{word}</td><td>{reasons}</td></tr>'


def _json(content: dict[str, Any], code: int) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(content) + b"\n", content_type="application/json")
