"""The stream connections: accepts handshakes, answers frames, enforces the rules, and ends connections.

It doesn't know where messages come from: `publish` queues them, and `flush` writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import orjson
from aiohttp import WSMsgType, web

from feedd.exchange import faults
from feedd.exchange.client_connection import ClientConnection, reset
from feedd.exchange.clocks import Clocks
from feedd.exchange.fault_registry import AnyFault, FaultRegistry
from feedd.exchange.messages import MarketMessage, Opcode, TimeUnit, envelope, message_frame, parse_unit
from feedd.exchange.pages import error_page
from feedd.exchange.rules import Action, ConnectionRules, ConnectLimit
from feedd.exchange.settings import ExchangeSettings
from feedd.exchange.stats import Stats
from feedd.exchange.subscriptions import Subscriptions
from feedd.venues.binance.common.stream_protocol import (
    Answer,
    StreamTarget,
    Subscriber,
    parse_target,
    too_many_streams,
)

_INBOUND_BYTES_MAX = 1024 * 1024
# How often a handler polls whether a client that it leaves unanswered has closed its socket.
_GONE_CHECK = 0.25
# How long clients have to answer the close frame when the exchange stops.
_GOODBYE = 0.3


class StreamClients:
    """All stream connections. `watch` is called with each symbol whose subscribers have changed."""

    def __init__(
        self,
        settings: ExchangeSettings,
        subscriptions: Subscriptions[ClientConnection],
        registry: FaultRegistry,
        stats: Stats,
        clocks: Clocks,
        watch: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._subscriptions = subscriptions
        self._registry = registry
        self._stats = stats
        self._clocks = clocks
        self._watch = watch
        self._connect_limit = ConnectLimit(settings.connects_max, settings.connects_window)
        self._connections: set[ClientConnection] = set()
        self._held: set[asyncio.Transport] = set()
        self._unflushed: set[ClientConnection] = set()
        self._stopping = asyncio.Event()

    # --- for the server

    def carrying(self, symbol: str | None) -> list[ClientConnection]:
        """List the open connections, or those of them that carry a symbol."""
        return [
            connection
            for connection in self._connections
            if connection.is_open and (symbol is None or symbol in connection.symbols)
        ]

    @property
    def are_congested(self) -> bool:
        """Whether some client leaves more unread than half of what it is cut for."""
        return any(connection.is_congested for connection in self._connections)

    def publish(self, message: MarketMessage) -> None:
        """Queue a message for its subscribers; it is rendered once for each unit and shape."""
        frames: dict[tuple[TimeUnit, bool], bytes | None] = {}
        for connection in self._subscriptions.subscribers(message.symbol, message.kind):
            shape = (connection.unit, connection.subscriber.combined)
            if shape not in frames:
                frames[shape] = message_frame(message, *shape)
            frame = frames[shape]
            if frame is not None:
                connection.queue(frame)
                self._unflushed.add(connection)
                self._stats.count_message()

    def flush(self) -> None:
        """Write what is queued, and cut the clients that leave too much unread."""
        for connection in self._unflushed:
            if not connection.flush():
                self._end(connection, "slow", connection.drop)
        self._unflushed.clear()

    def close(self, connection: ClientConnection, cause: str, code: int, reason: str = "") -> None:
        """End a connection with a close frame."""
        self._end(connection, cause, partial(connection.close, code, reason))

    def reset(self, connection: ClientConnection, cause: str) -> None:
        """End a connection with a TCP reset."""
        self._end(connection, cause, connection.reset)

    def vanish(self, connection: ClientConnection, cause: str) -> None:
        """Leave a connection half-open for good."""
        self._end(connection, cause, connection.vanish)

    def announce_shutdown(self, connection: ClientConnection, cut_after: float | None) -> None:
        """Send `serverShutdown`, and close the connection after `cut_after` seconds unless that is None."""
        payload = orjson.dumps({"e": "serverShutdown", "E": self._clocks.wall_now() // 1000})
        combined = connection.subscriber.combined
        connection.send(Opcode.TEXT, envelope("!serverShutdown", payload) if combined else payload)
        if cut_after is not None:
            close = partial(self.close, connection, faults.ServerShutdownFault.name, 1001)
            connection.call_later(cut_after, close)

    async def stop(self) -> None:
        """End every connection: with a close frame where the client may answer it, else at once."""
        self._stopping.set()
        for connection in list(self._connections):
            connection.close(1001, "the exchange stops")
        with suppress(TimeoutError):
            await self._stats.wait_until(
                lambda: all(connection.has_vanished for connection in self._connections), _GOODBYE
            )
        for transport in [*self._held, *(connection.transport for connection in self._connections)]:
            transport.abort()

    # --- handshakes

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client from its handshake to its end."""
        transport = request.transport
        target = parse_target(request.path, request.query.get("streams", ""))
        if transport is None or target is None:
            return error_page(404)
        self._stats.count_attempt()
        refusal = await self._refuse(request.remote or "", transport, target)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=_INBOUND_BYTES_MAX
        )
        await socket.prepare(request)
        subscriber = Subscriber(target.combined, self._settings.streams_max)
        unit = parse_unit(request.query.get("timeUnit", ""))
        rules = ConnectionRules(self._settings, self._clocks.now())
        connection = ClientConnection(transport, subscriber, unit, rules, self._settings.buffer_max)
        try:
            self._register(connection, target)
            await self._read_frames(socket, connection)
        finally:
            self._unregister(connection)
        return socket

    async def _refuse(
        self, address: str, transport: asyncio.Transport, target: StreamTarget
    ) -> web.Response | None:
        """Refuse a handshake if a rule or a fault says so; None accepts it."""
        symbols = self._subscriptions.symbols(target.names)
        retry_after = self._connect_limit.attempt(address, self._clocks.now())
        if retry_after is not None:
            self._count_refusal("connect_limit")
            return error_page(429, retry_after)
        if refuse := self._registry.find(faults.Refuse, symbols):
            self._count_refusal(refuse.kind.name, refuse)
            reset(transport)
            return web.Response()
        for kind in (faults.Hang, faults.Vanish):
            if silence := self._registry.find(kind, symbols):
                self._count_refusal(kind.name, silence)
                await self._hold_unanswered(transport)
                return web.Response()
        if http := self._registry.find(faults.Http, symbols):
            self._count_refusal(http.kind.name, http)
            return error_page(http.kind.status, http.kind.retry_after)
        return None

    def _count_refusal(self, cause: str, fault: AnyFault | None = None) -> None:
        if fault is not None:
            fault.count_hits()
        self._stats.count_refusal(cause)

    async def _hold_unanswered(self, transport: asyncio.Transport) -> None:
        """Leave a client unanswered until it closes its socket."""
        self._held.add(transport)
        # aiohttp doesn't tell a handler that its client is gone, so it has to poll.
        while not transport.is_closing() and not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_GONE_CHECK):
                    await self._stopping.wait()
        self._abort(transport)

    def _register(self, connection: ClientConnection, target: StreamTarget) -> None:
        self._connections.add(connection)
        self._stats.count_connect()
        self._schedule(connection)
        if connection.subscriber.add(target.names):
            self._subscribe(connection)
        else:
            self._answer(connection, too_many_streams())

    # --- frames from clients

    async def _read_frames(self, socket: web.WebSocketResponse, connection: ClientConnection) -> None:
        """Handle a client's frames until it closes or is gone."""
        while True:
            message = await socket.receive()
            match message.type:
                case WSMsgType.CLOSE:
                    await self._handle_close(connection, message.data)
                    return
                case WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                    return
                case _:
                    if connection.is_open:
                        self._handle_frame(connection, message.type, message.data)

    async def _handle_close(self, connection: ClientConnection, code: int) -> None:
        if connection.has_vanished:
            await self._hold_unanswered(connection.transport)
            return
        self._stats.count_close(code)
        connection.close(code or 1000, "")

    def _handle_frame(self, connection: ClientConnection, kind: WSMsgType, data: str | bytes) -> None:
        if not connection.rules.admit_inbound(self._clocks.now()):
            self.close(connection, "inbound_limit", 1008, "Too many requests")
            return
        payload = data.encode() if isinstance(data, str) else bytes(data)
        match kind:
            case WSMsgType.PING:
                connection.send(Opcode.PONG, payload)
                self._stats.count_ping()
            case WSMsgType.PONG:
                self._stats.count_pong(is_answer=connection.rules.accept_pong(payload))
            case _:
                self._stats.count_text()
                self._answer(connection, connection.subscriber.receive(payload))

    def _answer(self, connection: ClientConnection, answer: Answer) -> None:
        connection.send(Opcode.TEXT, answer.text)
        if answer.violation is not None:
            self.close(connection, "streams_limit", 1008, answer.violation)
        elif answer.are_streams_changed:
            self._subscribe(connection)

    def _subscribe(self, connection: ClientConnection) -> None:
        self._set_streams(connection, connection.subscriber.streams)
        symbols = self._subscriptions.symbols(connection.subscriber.streams)
        self._stats.count_carried(connection.carry(symbols))
        if flap := self._registry.find(faults.Flap, symbols):
            flap.count_hits()
            self.close(connection, flap.kind.name, flap.kind.code)
        elif early := self._registry.find(faults.EarlyClose, symbols):
            early.count_hits()
            close = partial(self.close, connection, early.kind.name, early.kind.code)
            connection.call_later(early.kind.after, close)

    def _set_streams(self, connection: ClientConnection, names: Iterable[str]) -> None:
        """Subscribe a connection to these streams and no others."""
        for symbol in self._subscriptions.subscribe(connection, names):
            self._watch(symbol)

    # --- rules

    def _schedule(self, connection: ClientConnection) -> None:
        delay = max(connection.rules.due - self._clocks.now(), 0.0)
        connection.call_later(delay, partial(self._enforce_rules, connection))

    def _enforce_rules(self, connection: ClientConnection) -> None:
        """Carry out what the rules ask for at a connection's age."""
        now = self._clocks.now()
        while connection.is_open and (action := connection.rules.next_action(now)):
            match action:
                case Action.PING:
                    payload = str(self._clocks.wall_now() // 1000).encode()
                    connection.rules.note_ping(payload, now)
                    connection.send(Opcode.PING, payload)
                case Action.NOTICE:
                    self.announce_shutdown(connection, None)
                case Action.PONG_TIMEOUT:
                    self.close(connection, action, 1008, "Pong timeout")
                case Action.LIFETIME:
                    self.close(connection, action, 1001)
        if connection.is_open:
            self._schedule(connection)

    # --- ending

    def _end(self, connection: ClientConnection, cause: str, how: Callable[[], None]) -> None:
        if connection.is_open:
            how()
            self._set_streams(connection, ())
            self._stats.count_cut(cause)

    def _unregister(self, connection: ClientConnection) -> None:
        connection.end()
        self._set_streams(connection, ())
        self._connections.discard(connection)
        self._unflushed.discard(connection)
        if connection.has_unsent:
            # A transport closes only once all is written: never, if the client doesn't read.
            self._held.add(connection.transport)
            asyncio.get_running_loop().call_later(_GOODBYE, self._abort, connection.transport)
        self._stats.notify()

    def _abort(self, transport: asyncio.Transport) -> None:
        transport.abort()
        self._held.discard(transport)
