"""The HTTP side: metrics, health, the gate and the status. Nothing that comes in changes anything."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from html import escape
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from feedd._version import __version__
from feedd.core.daemon_state import DaemonState
from feedd.errors import SettingsError
from feedd.logs import fields
from feedd.model import Listen, Rejection
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.http.auth import Authenticator, AuthResult
from feedd.outputs.http.listener import Listener
from feedd.outputs.http.web_config import WebConfig, load_web_config
from feedd.outputs.json_views import gate_of_symbol, gates, status
from feedd.outputs.prometheus.catalogue import Format
from feedd.outputs.prometheus.exposition import MetricsPage
from feedd.outputs.ws.consumer import ConsumerRegistry
from feedd.outputs.ws.gate_events import GateEvents
from feedd.outputs.ws.relay import Relay

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

PROGRESS_SECONDS: Final = 5.0
"""The supervisor looks at its tasks every second; after five without that look something is stuck."""
STOP_SECONDS: Final = 1.2
"""How long consumers may take to leave when the daemon stops.

Longer than each has for its goodbye (CLOSE_SECONDS): aiohttp fails where both end at the same moment.
"""
HEAD_SECONDS: Final = 12.0
"""A request's head must have come this long after the connection, or after the last answer on it.

It is none of the usual intervals of Prometheus, so that no connection is closed just as it asks again.
"""
SCRAPES_AT_ONCE: Final = 8
"""Each delays messages by a piece of its page, which is less than a millisecond; two Prometheis need two."""
SCRAPE_SECONDS: Final = 10.0
"""As long as Prometheus waits by default. Who reads more slowly is cut off, and its place is free again."""
MAX_LINE_BYTES: Final = 32 * 1024
"""A thousand stream names have room in a URL of this length."""
MAX_HEADER_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_BODY_BYTES: Final = 1024
"""Nothing that is answered here takes a body, so what comes of one is thrown away."""
BODY_SECONDS: Final = 1.0
REJECTION_LOG_SECONDS: Final = 60.0
"""A flood is one line a minute for each reason; the metric counts them all."""

_PAGES: Final = (
    ("/metrics", "metrics for Prometheus"),
    ("/gate", "may we trade? 200 open, 503 halted and why; one symbol with ?symbol="),
    ("/gate/events", "WebSocket: every change of the gate, and a heartbeat every second"),
    ("/stream", "WebSocket: the streams as Binance serves them, ?streams=btcusdt@trade; /ws/ as well"),
    ("/status", "everything a person asks, as JSON"),
    ("/-/ready", "200 while every symbol has good live data"),
    ("/-/healthy", "200 while the process works"),
)
_HANDSHAKE: Final = ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")
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


class HttpServer:
    """Serves one daemon on one address."""

    def __init__(
        self,
        state: DaemonState,
        registry: ConsumerRegistry,
        gate_events: GateEvents,
        relay: Relay,
        now: Callable[[], ClockReading] = ClockReading.now,
    ) -> None:
        self._state = state
        self._registry = registry
        self._gate_events = gate_events
        self._relay = relay
        self._metrics = MetricsPage(state)
        self._scrapes = 0
        self._now = now
        self._config = WebConfig()
        self._authenticator = Authenticator()
        self._listener = Listener(self._protocol, self._reject)
        self._rejection_logged_at: dict[Rejection, float] = {}
        http_log = logging.Logger(log.name, logging.DEBUG)
        http_log.parent = log
        http_log.addFilter(self._is_bug)
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=http_log,
            handle_signals=False,
            shutdown_timeout=STOP_SECONDS,
            keepalive_timeout=HEAD_SECONDS,
            lingering_time=BODY_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    @property
    def scheme(self) -> str:
        """`https` where the web config has a certificate, else `http`."""
        return "http" if self._config.tls is None else "https"

    async def start(self, listen: Listen) -> Listen:
        """Listen; returns the address with the port that was free where 0 was asked for.

        Raises:
            SettingsError: the web config can't be used.
            OSError: the address can't be listened on.
        """
        self._use_web_config(self._state.settings.web_config)
        await self._runner.setup()
        self._ignore_expect()
        return Listen(listen.host, await self._listener.open(listen))

    def reload(self) -> bool:
        """Read the web config and its certificates again, for who comes from now on.

        Returns whether all is well; if not, the last good ones stay.
        """
        try:
            self._use_web_config(self._state.settings.web_config)
        except SettingsError as error:
            for problem in error.problems:
                log.error("the web config is wrong; the last good one stays", extra=fields(problem=problem))
            return False
        return True

    def _use_web_config(self, path: Path | None) -> None:
        self._config = WebConfig() if path is None else load_web_config(path)
        self._authenticator.apply_config(self._config)
        self._listener.tls = self._config.tls
        if path is not None:
            log.info(
                "web config read",
                extra=fields(
                    path=path,
                    tls=self._config.tls is not None,
                    users=len(self._config.users),
                    tokens=len(self._config.tokens),
                ),
            )
        if (
            self._config.tls is None
            and self._authenticator.challenges
            and not self._state.settings.listen.is_loopback
        ):
            log.warning("passwords cross the network in clear text: the web config has no tls_server_config")

    async def stop(self) -> None:
        """Let the consumers go and stop listening."""
        self._relay.stop()
        self._registry.stop()
        await self._listener.close()
        await self._runner.cleanup()
        self._authenticator.stop()

    def _ignore_expect(self) -> None:
        # A route can do so for itself, but `*` and a host with a port, which are no paths, find none.
        # There an Expect header that is no text would end in a traceback of aiohttp's.
        assert self._runner.server is not None
        make_request = self._runner.server.request_factory
        self._runner.server.request_factory = lambda message, *rest: make_request(
            _without_expect(message), *rest
        )

    def _protocol(self) -> asyncio.Protocol:
        assert self._runner.server is not None
        return self._runner.server()

    def _is_bug(self, record: logging.LogRecord) -> bool:
        """Say whether what aiohttp wants to log is worth it: malformed requests and lost clients are not."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._reject(Rejection.MALFORMED, record.getMessage().rpartition(" ")[2])
        is_harmless = isinstance(error, HttpProcessingError | ConnectionError)
        return record.levelno >= logging.WARNING and not is_harmless

    def _reject(self, reason: Rejection, address: str) -> None:
        self._state.rejections[reason] += 1
        now = time.monotonic()
        if now - self._rejection_logged_at.get(reason, float("-inf")) >= REJECTION_LOG_SECONDS:
            self._rejection_logged_at[reason] = now
            log.warning(
                "turned away at the HTTP side",
                extra=fields(reason=reason, address=address, so_far=self._state.rejections[reason]),
            )

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request pass to its page, if whoever asks may."""
        with self._listener.answering(request.transport):
            if not _is_handshake_text(request):
                self._reject(Rejection.MALFORMED, request.remote or "")
                return web.Response(status=400, text="handshake: expected ASCII\n")
            match await self._authenticator.check(request.headers.get("Authorization")):
                case AuthResult.GRANTED:
                    return await handler(request)
                case AuthResult.DENIED:
                    self._reject(Rejection.UNAUTHORIZED, request.remote or "")
                    challenges = CIMultiDict(
                        ("WWW-Authenticate", text) for text in self._authenticator.challenges
                    )
                    return web.Response(status=401, text="not without credentials\n", headers=challenges)
                case AuthResult.BUSY:
                    self._reject(Rejection.BUSY, request.remote or "")
                    text = "too many passwords wait to be checked\n"
                    return web.Response(status=503, text=text, headers={"Retry-After": "1"})

    async def _prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Complete an answer before it is sent."""
        response.headers.update({"Server": "feedd", **self._config.headers})
        if isinstance(response, web.WebSocketResponse):
            self._listener.consuming(request.transport)

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._admit])
        application.on_response_prepare.append(self._prepare)
        handlers: dict[str, Handler] = {
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
        application.add_routes(
            [
                *(web.get(path, handler) for path, handler in handlers.items()),
                *(web.get(path, handler, allow_head=False) for path, handler in sockets.items()),
                web.route("*", "/{elsewhere:.*}", _elsewhere),
            ]
        )
        return application

    async def _index(self, _: web.Request) -> web.Response:
        symbols = gates(self._state, False, self._now())["symbols"]
        rows = "".join(_index_row(symbol, gate) for symbol, gate in symbols.items())
        pages = "".join(
            f'<tr><td><a href="{path}">{path}</a></td><td>{text}</td></tr>' for path, text in _PAGES
        )
        page = _INDEX.format(version=__version__, source=self._state.source, rows=rows, pages=pages)
        return web.Response(text=page, content_type="text/html")

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        accepts_open = "application/openmetrics-text" in request.headers.get("Accept", "")
        text_format = Format.OPEN_METRICS if accepts_open else Format.CLASSIC
        if self._scrapes >= SCRAPES_AT_ONCE:
            return web.Response(status=503, text=f"{self._scrapes} scrapes are under way, no more at once\n")
        response = web.StreamResponse(headers={"Content-Type": text_format.value})
        self._scrapes += 1
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                await response.prepare(request)
                await self._write_metrics(response, text_format)
        except (TimeoutError, ConnectionResetError):
            if request.transport is not None:
                request.transport.abort()  # what is incomplete must not look complete
        finally:
            self._scrapes -= 1
        return response

    async def _write_metrics(self, response: web.StreamResponse, text_format: Format) -> None:
        for piece in self._metrics.pieces(text_format, self._now):
            await response.write(piece.encode())
            await asyncio.sleep(0)  # messages first: a large page is written between them
        await response.write_eof()

    async def _healthy(self, _: web.Request) -> web.Response:
        stuck_for = self._now().monotonic - self._state.progress_at
        if stuck_for > PROGRESS_SECONDS:
            return web.Response(status=503, text=f"the supervisor made no progress for {stuck_for:.1f} s\n")
        return web.Response(text="healthy\n")

    async def _ready(self, _: web.Request) -> web.Response:
        unready = self._state.unready()
        if unready:
            lines = [f"{symbol}: {', '.join(reasons)}\n" for symbol, reasons in unready.items()]
            return web.Response(status=503, text="".join(lines))
        return web.Response(text="ready\n")

    async def _gate(self, request: web.Request) -> web.Response:
        allow_static = _allow_static(request)
        if "symbol" not in request.query:
            answer = gates(self._state, allow_static, self._now())
            return _json(answer, 503 if answer["halted"] else 200)
        symbol = request.query["symbol"].upper()
        symbol_state = self._state.symbols.get(symbol)
        if symbol_state is None:
            return _json({"error": f"symbol {symbol!r} is not configured"}, 404)
        gate = gate_of_symbol(self._state, symbol_state, allow_static, self._now())
        return _json({"symbol": symbol, "source": self._state.source, **gate}, 503 if gate["halted"] else 200)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        return await self._gate_events.serve(request, _allow_static(request))

    async def _streams(self, request: web.Request) -> web.StreamResponse:
        return await self._relay.serve(request, _allow_static(request))

    async def _status(self, _: web.Request) -> web.Response:
        return _json(status(self._state, self._now(), self._registry.describe()), 200)


async def _elsewhere(request: web.Request) -> web.Response:
    """Refuse what none of the pages is: another path, or another method than GET."""
    known = await request.app.router.resolve(request.clone(method="GET"))
    if known.handler is _elsewhere:
        raise web.HTTPNotFound
    raise web.HTTPMethodNotAllowed(request.method, ("GET",))


def _without_expect(message: RawRequestMessage) -> RawRequestMessage:
    """Leave out an Expect header: it is about a body, and there is none here to wait for."""
    if hdrs.EXPECT not in message.headers:
        return message
    headers = CIMultiDict(message.headers)
    del headers[hdrs.EXPECT]
    return message._replace(headers=CIMultiDictProxy(headers))


def _index_row(symbol: str, gate: dict[str, Any]) -> str:
    word = "halted" if gate["halted"] else "open"
    reasons = ", ".join(gate["reasons"])
    return f'<tr><td>{escape(symbol)}</td><td class="{word}">{word}</td><td>{reasons}</td></tr>'


def _is_handshake_text(request: web.Request) -> bool:
    """Say whether the headers of a handshake are text: aiohttp takes any bytes for it, and fails later."""
    return all(request.headers.get(name, "").isascii() for name in _HANDSHAKE)


def _allow_static(request: web.Request) -> bool:
    allow = request.query.get("allow")
    if allow not in (None, "static"):
        raise web.HTTPBadRequest(text=f"allow: expected static, found {allow!r}\n")
    return allow == "static"


def _json(content: dict[str, Any], code: int) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(content) + b"\n", content_type="application/json")
