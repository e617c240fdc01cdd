"""The HTTP side: one address, who may ask, and how large a request may be. Nothing that comes in is an order.

What is answered stands in `handlers`, how many may be connected in `listener`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.errors import SettingsError
from feedd.logs import fields
from feedd.model import Listen, Rejection
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.http.auth import Authenticator, AuthResult
from feedd.outputs.http.handlers import Handler, Handlers, ScrapeLimits, allow_static
from feedd.outputs.http.listener import Listener, ListenerLimits
from feedd.outputs.http.web_config import WebConfig, load_web_config
from feedd.outputs.output import Outputs, Serve
from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.exposition import MetricsPage
from feedd.outputs.prometheus.samples import Metric, by_reason
from feedd.outputs.ws.consumer import ConsumerRegistry

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 1.2
"""How long consumers may take to leave when the daemon stops.

Longer than each has for its goodbye (CLOSE_SECONDS): aiohttp fails where both end at the same moment.
"""
MAX_LINE_BYTES: Final = 32 * 1024
"""A thousand stream names have room in a URL of this length."""
MAX_HEADER_BYTES: Final = 8 * 1024
MAX_HEADERS: Final = 64
MAX_BODY_BYTES: Final = 1024
"""Nothing that is answered here takes a body, so what comes of one is thrown away."""
REJECTION_LOG_SECONDS: Final = 60.0
"""A flood is one line a minute for each reason; the metric counts them all."""

_HANDSHAKE: Final = ("Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How long a request may take to come, and how many there may be."""

    head_seconds: float = 12.0
    """A request's head must have come this long after the connection, or after the last answer on it.

    It is none of the usual intervals of Prometheus, so that no connection is closed just as it asks again.
    """
    body_seconds: float = 1.0
    """How long a body that nobody wants is thrown away before the connection is closed."""
    scrapes: ScrapeLimits = field(default_factory=ScrapeLimits)
    listener: ListenerLimits = field(default_factory=ListenerLimits)


class HttpServer:
    """Serves one daemon on one address."""

    def __init__(
        self,
        state: DaemonState,
        consumers: ConsumerRegistry,
        outputs: Outputs,
        limits: HttpLimits | None = None,
        now: Callable[[], ClockReading] = ClockReading.now,
    ) -> None:
        limits = limits or HttpLimits()
        self.rejections = dict.fromkeys(Rejection, 0)
        """Connections and requests that were turned away."""
        self.is_web_config_valid = True
        """Whether the web config that was read last could be used."""
        self._state = state
        self._consumers = consumers
        self._outputs = outputs
        self.page = MetricsPage(state, self._metrics())
        self._handlers = Handlers(state, consumers, outputs, self.page, limits.scrapes, now)
        self._config = WebConfig()
        self._authenticator = Authenticator()
        self._listener = Listener(self._protocol, self._reject, limits.listener)
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
            keepalive_timeout=limits.head_seconds,
            lingering_time=limits.body_seconds,
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

    def apply_settings(self, old: Settings, new: Settings) -> None:
        """Follow the settings: another web config is read."""
        if old.web_config != new.web_config:
            self.reload_web_config()

    def reload_web_config(self) -> None:
        """Read the web config and its certificates again, for who comes from now on.

        If something is wrong with them the last good ones stay.
        """
        try:
            self._use_web_config(self._state.settings.web_config)
        except SettingsError as error:
            for problem in error.problems:
                log.error("the web config is wrong; the last good one stays", extra=fields(problem=problem))
            self.is_web_config_valid = False
        else:
            self.is_web_config_valid = True

    def _use_web_config(self, path: Path | None) -> None:
        self._config = WebConfig() if path is None else load_web_config(path)
        self._authenticator.apply_config(self._config)
        self._listener.use_tls(self._config.tls)
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
        self._consumers.stop()
        await self._listener.close()
        await self._runner.cleanup()
        self._authenticator.stop()

    def _ignore_expect(self) -> None:
        # A route can do so for itself, but `*` and a host with a port, which are no paths, find none.
        # There an Expect header that is no text would end in a traceback of aiohttp's.
        # aiohttp has no other way to look at a request before it is made, so that its server is written to.
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
        self.rejections[reason] += 1
        now = time.monotonic()
        if now - self._rejection_logged_at.get(reason, float("-inf")) >= REJECTION_LOG_SECONDS:
            self._rejection_logged_at[reason] = now
            log.warning(
                "turned away at the HTTP side",
                extra=fields(reason=reason, address=address, so_far=self.rejections[reason]),
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
        routes = self._outputs.routes()
        application.add_routes(
            [
                *(web.get(path, handler) for path, handler in self._handlers.pages().items()),
                *(web.get(path, _serving(serve), allow_head=False) for path, serve in routes.items()),
                web.route("*", "/{elsewhere:.*}", _elsewhere),
            ]
        )
        return application

    def _metrics(self) -> Iterator[Metric]:
        yield from self._consumers.counts.metrics()
        yield by_reason(catalogue.HTTP_REJECTIONS, self.rejections, Rejection)
        yield from self._outputs.metrics()


def _serving(serve: Serve) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await serve(request, allow_static(request))

    return answer


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


def _is_handshake_text(request: web.Request) -> bool:
    """Say whether the headers of a handshake are text: aiohttp takes any bytes for it, and fails later."""
    return all(request.headers.get(name, "").isascii() for name in _HANDSHAKE)
