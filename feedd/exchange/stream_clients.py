"""The clients on stream connections: lets them in, hears them, holds them to the rules, and ends them.

What is told to them is for others to know; it comes in through `publish` and goes out with `flush`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

import orjson
from aiohttp import WSMsgType, web

from feedd.exchange import faults
from feedd.exchange.client_connection import Connection, reset
from feedd.exchange.clocks import Clocks
from feedd.exchange.fault_registry import AnyFault, Board
from feedd.exchange.http import error_page
from feedd.exchange.messages import Message, Opcode, TimeUnit, envelope, message_frame, parse_unit
from feedd.exchange.rules import Action, ConnectionRules, ConnectLimit
from feedd.exchange.settings import ExchangeSettings
from feedd.exchange.stats import Seen
from feedd.exchange.subscriptions import Hub
from feedd.venues.binance.common.stream_protocol import (
    Answer,
    Subscriber,
    Target,
    parse_target,
    too_many_streams,
)

_INBOUND_BYTES_MAX = 1024 * 1024
# How often a handler looks whether a client that it leaves without an answer has given up.
_GONE_CHECK = 0.25
# How long clients have to answer the close frame when the exchange stops.
_GOODBYE = 0.3


class Clients:
    """Every stream connection. `watch` is called with each symbol whose audience has changed."""

    def __init__(
        self,
        settings: ExchangeSettings,
        hub: Hub[Connection],
        board: Board,
        seen: Seen,
        clocks: Clocks,
        watch: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._board = board
        self._seen = seen
        self._clocks = clocks
        self._watch = watch
        self._connect_limit = ConnectLimit(settings.connects_max, settings.connects_window)
        self._connections: set[Connection] = set()
        self._held: set[asyncio.Transport] = set()
        self._unflushed: set[Connection] = set()
        self._stopping = asyncio.Event()

    # --- for whoever runs the exchange

    def carrying(self, symbol: str | None) -> list[Connection]:
        """List the open connections, or those of them that carry a symbol."""
        return [
            connection
            for connection in self._connections
            if connection.is_open and (symbol is None or symbol in connection.symbols)
        ]

    @property
    def are_congested(self) -> bool:
        """Whether some client leaves so much unread that it is not far from being cut."""
        return any(connection.is_congested for connection in self._connections)

    def publish(self, message: Message) -> None:
        """Queue a message for its listeners: rendered once for each shape, however many they are."""
        frames: dict[tuple[TimeUnit, bool], bytes | None] = {}
        for connection in self._hub.audience(message.symbol, message.kind):
            shape = (connection.unit, connection.subscriber.combined)
            if shape not in frames:
                frames[shape] = message_frame(message, *shape)
            frame = frames[shape]
            if frame is not None:
                connection.queue(frame)
                self._unflushed.add(connection)
                self._seen.messages += 1

    def flush(self) -> None:
        """Write what is queued, and cut the clients that don't read."""
        for connection in self._unflushed:
            if not connection.flush():
                self._cut(connection, "slow", connection.drop)
        self._unflushed.clear()

    def close(self, connection: Connection, cause: str, code: int, reason: str = "") -> None:
        """End a connection with a close frame."""
        self._cut(connection, cause, partial(connection.close, code, reason))

    def reset(self, connection: Connection, cause: str) -> None:
        """End a connection with a TCP reset."""
        self._cut(connection, cause, connection.reset)

    def vanish(self, connection: Connection, cause: str) -> None:
        """Leave a connection half-open for good."""
        self._cut(connection, cause, connection.vanish)

    def announce_shutdown(self, connection: Connection, cut_after: float | None) -> None:
        """Send the notice that a connection will end, and end it after so many seconds if any are given."""
        payload = orjson.dumps({"e": "serverShutdown", "E": self._clocks.wall_now() // 1000})
        combined = connection.subscriber.combined
        connection.send(Opcode.TEXT, envelope("!serverShutdown", payload) if combined else payload)
        if cut_after is not None:
            close = partial(self.close, connection, faults.ServerShutdown.name, 1001)
            connection.call_later(cut_after, close)

    async def stop(self) -> None:
        """End every connection: politely where somebody may answer, and at once where nobody will."""
        self._stopping.set()
        for connection in list(self._connections):
            connection.close(1001, "the exchange stops")
        with suppress(TimeoutError):
            await self._seen.wait_until(
                lambda: all(connection.has_vanished for connection in self._connections), _GOODBYE
            )
        for transport in [*self._held, *(connection.transport for connection in self._connections)]:
            transport.abort()

    # --- letting in

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one client from its handshake to its end."""
        transport = request.transport
        target = parse_target(request.path, request.query.get("streams", ""))
        if transport is None or target is None:
            return error_page(404)
        self._seen.attempts += 1
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
        connection = Connection(transport, subscriber, unit, rules, self._settings.buffer_max)
        try:
            self._welcome(connection, target)
            await self._listen(socket, connection)
        finally:
            self._part(connection)
        return socket

    async def _refuse(
        self, address: str, transport: asyncio.Transport, target: Target
    ) -> web.Response | None:
        """Turn a handshake away if a rule or a fault says so; None lets it in."""
        symbols = self._hub.symbols(target.names)
        retry_after = self._connect_limit.attempt(address, self._clocks.now())
        if retry_after is not None:
            self._count_refusal("connect_limit")
            return error_page(429, retry_after)
        if refuse := self._board.find(faults.Refuse, symbols):
            self._count_refusal(refuse.kind.name, refuse)
            reset(transport)
            return web.Response()
        for kind in (faults.Hang, faults.Vanish):
            if silence := self._board.find(kind, symbols):
                self._count_refusal(kind.name, silence)
                await self._hold(transport)
                return web.Response()
        if http := self._board.find(faults.Http, symbols):
            self._count_refusal(http.kind.name, http)
            return error_page(http.kind.status, http.kind.retry_after)
        return None

    def _count_refusal(self, cause: str, fault: AnyFault | None = None) -> None:
        self._seen.refusals[cause] += 1
        if fault is not None:
            fault.hit += 1
        self._seen.change()

    async def _hold(self, transport: asyncio.Transport) -> None:
        """Leave a client without an answer until it gives up."""
        self._held.add(transport)
        # aiohttp tells a handler nothing about a client that is gone, so it has to look now and then.
        while not transport.is_closing() and not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_GONE_CHECK):
                    await self._stopping.wait()
        self._let_go(transport)

    def _welcome(self, connection: Connection, target: Target) -> None:
        self._connections.add(connection)
        self._seen.connects += 1
        self._schedule(connection)
        if connection.subscriber.add(target.names):
            self._subscribe(connection)
        else:
            self._answer(connection, too_many_streams())

    # --- hearing

    async def _listen(self, socket: web.WebSocketResponse, connection: Connection) -> None:
        """Hear a client until it closes or is gone."""
        while True:
            message = await socket.receive()
            match message.type:
                case WSMsgType.CLOSE:
                    await self._hear_close(connection, message.data)
                    return
                case WSMsgType.CLOSING | WSMsgType.CLOSED | WSMsgType.ERROR:
                    return
                case _:
                    if connection.is_open:
                        self._hear(connection, message.type, message.data)

    async def _hear_close(self, connection: Connection, code: int) -> None:
        if connection.has_vanished:
            await self._hold(connection.transport)
            return
        self._seen.close_codes[code] += 1
        connection.close(code or 1000, "")

    def _hear(self, connection: Connection, kind: WSMsgType, data: str | bytes) -> None:
        if not connection.rules.is_within_limit(self._clocks.now()):
            self.close(connection, "inbound_limit", 1008, "Too many requests")
            return
        payload = data.encode() if isinstance(data, str) else bytes(data)
        match kind:
            case WSMsgType.PING:
                self._seen.pings += 1
                connection.send(Opcode.PONG, payload)
            case WSMsgType.PONG:
                is_answer = connection.rules.ponged(payload)
                self._seen.pongs += is_answer
                self._seen.odd_pongs += not is_answer
            case _:
                self._seen.texts += 1
                self._answer(connection, connection.subscriber.receive(payload))
        self._seen.change()

    def _answer(self, connection: Connection, answer: Answer) -> None:
        connection.send(Opcode.TEXT, answer.text)
        if answer.violation is not None:
            self.close(connection, "streams_limit", 1008, answer.violation)
        elif answer.are_streams_changed:
            self._subscribe(connection)

    def _subscribe(self, connection: Connection) -> None:
        self._tune(connection, connection.subscriber.streams)
        symbols = self._hub.symbols(connection.subscriber.streams)
        self._seen.connects_by_symbol.update(symbols - connection.symbols)
        connection.symbols = symbols
        self._seen.change()
        if flap := self._board.find(faults.Flap, symbols):
            flap.hit += 1
            self.close(connection, flap.kind.name, flap.kind.code)
        elif early := self._board.find(faults.EarlyClose, symbols):
            early.hit += 1
            close = partial(self.close, connection, early.kind.name, early.kind.code)
            connection.call_later(early.kind.after, close)

    def _tune(self, connection: Connection, names: Iterable[str]) -> None:
        """Let a connection have these streams and no others."""
        for symbol in self._hub.subscribe(connection, names):
            self._watch(symbol)

    # --- holding to the rules

    def _schedule(self, connection: Connection) -> None:
        delay = max(connection.rules.due - self._clocks.now(), 0.0)
        connection.call_later(delay, partial(self._keep, connection))

    def _keep(self, connection: Connection) -> None:
        """Do what a connection's age asks for."""
        now = self._clocks.now()
        while connection.is_open and (action := connection.rules.tick(now)):
            match action:
                case Action.PING:
                    payload = str(self._clocks.wall_now() // 1000).encode()
                    connection.rules.pinged(payload, now)
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

    def _cut(self, connection: Connection, cause: str, how: Callable[[], None]) -> None:
        if connection.is_open:
            self._seen.cuts[cause] += 1
            how()
            self._tune(connection, ())
            self._seen.change()

    def _part(self, connection: Connection) -> None:
        connection.end()
        self._tune(connection, ())
        self._connections.discard(connection)
        self._unflushed.discard(connection)
        if connection.has_unsent:
            # A transport closes only once all is written, which a client that doesn't read puts off for ever.
            self._held.add(connection.transport)
            asyncio.get_running_loop().call_later(_GOODBYE, self._let_go, connection.transport)
        self._seen.change()

    def _let_go(self, transport: asyncio.Transport) -> None:
        transport.abort()
        self._held.discard(transport)
