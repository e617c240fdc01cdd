"""One client's stream connection: writes frames to its socket, and ends it in each way that faults need."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from feedd.exchange.messages import Opcode, TimeUnit, close_frame, websocket_frame
from feedd.exchange.rules import ConnectionRules
from feedd.venues.binance.common.stream_protocol import Subscriber

# How long a client has to answer a close frame before its connection is dropped.
_CLOSE_GRACE = 1.0


class ClientConnection:
    """An open stream connection. Frames go straight to the transport: no task and no wait per message."""

    def __init__(
        self,
        transport: asyncio.Transport,
        subscriber: Subscriber,
        unit: TimeUnit,
        rules: ConnectionRules,
        buffer_max: int,
    ) -> None:
        self.transport = transport
        self.subscriber = subscriber
        self.unit = unit
        """The unit it wants times in."""
        self.rules = rules
        self.symbols: frozenset[str] = frozenset()
        """The symbols that it carries; set by `carry`."""
        self.is_open = True
        """False once it was closed or cut, or has vanished."""
        self.has_vanished = False
        self._buffer_max = buffer_max
        self._queued: list[bytes] = []
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def has_unsent(self) -> bool:
        """Whether something written is still on its way into the socket."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def is_congested(self) -> bool:
        """Whether the client leaves more unread than half of what it is cut for."""
        return self.transport.get_write_buffer_size() > self._buffer_max // 2

    def carry(self, symbols: frozenset[str]) -> frozenset[str]:
        """Note the symbols that it carries from now on; return those that it didn't carry before."""
        added = symbols - self.symbols
        self.symbols = symbols
        return added

    def call_later(self, delay: float, action: Callable[[], None]) -> None:
        """Call `action` after `delay` seconds, unless the connection has ended by then."""

        def run() -> None:
            self._timers.discard(timer)
            action()

        timer = asyncio.get_running_loop().call_later(delay, run)
        self._timers.add(timer)

    def queue(self, frame: bytes) -> None:
        """Put a frame with those that go out together at the next `flush`."""
        self._queued.append(frame)

    def flush(self) -> bool:
        """Write what is queued; False if the client has left too much unread to go on."""
        if self._queued:
            self.transport.write(b"".join(self._queued))
            self._queued.clear()
        return self.transport.get_write_buffer_size() <= self._buffer_max

    def send(self, opcode: Opcode, payload: bytes) -> None:
        """Write one frame at once, after what is queued."""
        self.queue(websocket_frame(opcode, payload))
        self.flush()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame; drop the connection if the client doesn't answer it soon."""
        if self.is_open:
            self.queue(close_frame(code, reason))
            self.flush()
            self._stop()
            self.call_later(_CLOSE_GRACE, self.transport.abort)

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        self._stop()
        reset(self.transport)

    def drop(self) -> None:
        """Abort the connection without a close frame."""
        self._stop()
        self.transport.abort()

    def vanish(self) -> None:
        """Never send anything again, but leave the socket open: the connection is half-open."""
        self._stop()
        self.has_vanished = True

    def end(self) -> None:
        """Close the socket and cancel the timers, after the client has closed or is gone."""
        self._stop()
        self.transport.close()

    def _stop(self) -> None:
        self.is_open = False
        self._queued.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def reset(transport: asyncio.Transport) -> None:
    """End a TCP connection with a reset (RST) instead of a FIN."""
    # A linger time of zero is what makes the kernel send RST when the socket is closed.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
