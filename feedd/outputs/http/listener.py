"""The connections of the HTTP side: who may keep one, and for how long.

Whoever connects costs memory and turns of the event loop, which belong to the feed. So only a few may wait
(for their TLS handshake, or with nothing asked) or be answered at a time. When there are more, the one that
has been at it longest goes: a client in earnest is done in milliseconds, so that a flood mostly hits itself.
Consumers on a WebSocket are counted elsewhere (FEEDD_CONSUMERS_MAX).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from feedd.model import Listen, Rejection

log = logging.getLogger(__name__)

_TLS_GOODBYE_SECONDS: Final = 1.0
_NO_DESCRIPTORS_PAUSE_SECONDS: Final = 0.1
_BACKLOG: Final = 1024
_NO_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Reject = Callable[[Rejection, str], None]
"""Takes the reason and the address of who was turned away."""


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """How many may have a connection, and for how long one may make no headway."""

    waiting: int = 128
    """For a handshake, or with nothing asked."""
    answered: int = 64
    handshake_seconds: float = 10.0
    stalled_seconds: float = 5.0
    """Who reads nothing of an answer for this long, and then for as long again, is let go."""
    flood_pause_seconds: float = 0.001
    """Before the next is let in where all places are taken: a flood costs that many turns, and no more."""


class Listener:
    """Listens, and keeps what comes in within bounds."""

    def __init__(
        self, protocol: Callable[[], asyncio.Protocol], reject: Reject, limits: ListenerLimits | None = None
    ) -> None:
        self._tls: ssl.SSLContext | None = None
        self._limits = limits or ListenerLimits()
        self._protocol = protocol
        self._reject = reject
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._clients: dict[object, GuardedConnection] = {}
        """By their transport."""
        self._waiting: dict[GuardedConnection, None] = {}
        """Longest first, as is the next."""
        self._answered: dict[GuardedConnection, None] = {}

    def use_tls(self, context: ssl.SSLContext | None) -> None:
        """Speak TLS, or clear text, with those who come from now on."""
        self._tls = context

    async def open(self, listen: Listen) -> int:
        """Listen. Returns the port, which was free where 0 is asked for. Raises OSError."""
        port = listen.port
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, _, _, _, address in dict.fromkeys(infos):
                listener = _listen(family, (address[0], port, *address[2:]))
                self._listeners.append(listener)
                port = listener.getsockname()[1]
        except OSError as error:
            self._stop_listening()
            why = str(error.strerror).lower()
            raise OSError(error.errno, f"can't listen on {listen}: {why}") from error
        for listener in self._listeners:
            self._start(self._accept(listener))
        self._start(self._abort_stalled())
        return port

    async def close(self) -> None:
        """Accept no more and abort what is there, but for the consumers: who serves them closes them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # first, so that no socket is closed under one
        self._stop_listening()
        for client in [*self._waiting, *self._answered]:
            client.abort()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    @contextmanager
    def answering(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Note that a client's request is being answered, until the end of the block."""
        client = self._clients.get(transport)
        if client is None:
            yield
            return
        self._move(client, self._waiting, self._answered, self._limits.answered)
        try:
            yield
        finally:
            self._move(client, self._answered, self._waiting, self._limits.waiting)

    def consuming(self, transport: asyncio.BaseTransport | None) -> None:
        """Note that a client has become a consumer, which has bounds of its own."""
        client = self._clients.get(transport)
        if client is not None:
            client.became_consumer()
            self._answered.pop(client, None)

    # --- connections that begin

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _NO_DESCRIPTORS:
                    for _ in range(1 + len(self._waiting) // 4):
                        self._abort_oldest(self._waiting)
                    await asyncio.sleep(_NO_DESCRIPTORS_PAUSE_SECONDS)
                continue
            client = GuardedConnection(self, self._protocol(), str(address[0]))
            client.note_handshake(self._start(self._connect(client, connection)))
            self._move(client, self._answered, self._waiting, self._limits.waiting)
            if len(self._waiting) == self._limits.waiting:
                await asyncio.sleep(self._limits.flood_pause_seconds)

    async def _connect(self, client: GuardedConnection, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {
                "ssl": self._tls,
                "ssl_handshake_timeout": self._limits.handshake_seconds,
                "ssl_shutdown_timeout": _TLS_GOODBYE_SECONDS,
            }
        try:
            await loop.connect_accepted_socket(lambda: client, connection, **tls)
        except OSError:
            if tls:
                self._reject(Rejection.TLS, client.address)
        finally:
            client.note_handshake(None)
            if client.transport is None:
                self._waiting.pop(client, None)
                connection.close()

    def opened(self, client: GuardedConnection, transport: asyncio.Transport) -> None:
        """Take note of a client whose connection is there."""
        self._clients[transport] = client

    # --- connections that end

    def closed(self, client: GuardedConnection) -> None:
        """Take note of a client whose connection is no more."""
        self._clients.pop(client.transport, None)
        self._waiting.pop(client, None)
        self._answered.pop(client, None)

    def _move(
        self,
        client: GuardedConnection,
        old: dict[GuardedConnection, None],
        new: dict[GuardedConnection, None],
        most: int,
    ) -> None:
        old.pop(client, None)
        if not client.is_gone and not client.is_consumer:
            new[client] = None
            if len(new) > most:
                self._abort_oldest(new)

    def _abort_oldest(self, clients: dict[GuardedConnection, None]) -> None:
        oldest = next(iter(clients), None)
        if oldest is not None:
            del clients[oldest]
            self._reject(Rejection.FLOOD, oldest.address)
            oldest.abort()

    async def _abort_stalled(self) -> None:
        while True:
            await asyncio.sleep(self._limits.stalled_seconds)
            for client in [client for client in self._clients.values() if client.is_stalled()]:
                self._reject(Rejection.STALLED, client.address)
                client.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a bug at the HTTP side's door", exc_info=task.exception())


def _listen(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class GuardedConnection(asyncio.Protocol):
    """One connection: passes everything on to the HTTP protocol, and knows how far it is."""

    def __init__(self, listener: Listener, inner: asyncio.Protocol, address: str) -> None:
        self.address = address
        self.transport: asyncio.Transport | None = None
        self.is_consumer = False
        self.is_gone = False
        self._handshake: asyncio.Task[None] | None = None
        self._listener = listener
        self._inner = inner
        self._resumes = 0
        self._progress = (0, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: the connection is there."""
        self.transport = cast(asyncio.Transport, transport)
        self._listener.opened(self, self.transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what has come."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on that no more will come."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass on that the socket takes no more."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the socket takes more, which is headway."""
        self._resumes += 1
        self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass on that the connection is no more."""
        self.is_gone = True
        self._listener.closed(self)
        self._inner.connection_lost(error)

    def note_handshake(self, handshake: asyncio.Task[None] | None) -> None:
        """Remember the task of its handshake, which is to end with it; None once it is done."""
        self._handshake = handshake

    def became_consumer(self) -> None:
        """Take note that it is a WebSocket now."""
        self.is_consumer = True

    def abort(self) -> None:
        """End the connection without a word, also one that is still in its handshake."""
        self.is_gone = True
        if self.transport is not None:
            self.transport.abort()
        elif self._handshake is not None:
            self._handshake.cancel()

    def is_stalled(self) -> bool:
        """Say whether something is to be sent, and nothing of it has been since this was asked last."""
        assert self.transport is not None
        before, self._progress = self._progress, (self.transport.get_write_buffer_size(), self._resumes)
        is_bounded = self.is_consumer and not self.transport.is_closing()
        return self._progress == before and before[0] > 0 and not is_bounded
