"""Who listens to which stream, and the way of each message to all of them.

The market goes first: a message is only put down for its listeners, and written to them in turns, between
which the event loop reads what the exchange has sent. Its frame is built once for each form that is wanted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from feedd.logs import fields
from feedd.model import ConsumerDisconnect
from feedd.outputs.ws.frame_writer import text_frame
from feedd.venues.binance.common.envelope import combined_form, raw_form

log = logging.getLogger(__name__)

TURN_WRITES: Final = 4
"""How many frames are written before everything else has its turn: some 0.02 ms. With 32, a message of the
market took half as long again at p99 while two hundred listened; with 8 it made no difference to 4."""
TURNS_PENDING: Final = 1000
"""With more than this to do, the market waits: what listeners are owed must not grow without end."""


class FrameSink(Protocol):
    """What has to be known of a consumer to write to it."""

    def send(self, frame: bytes) -> None:
        """Send a frame, or keep it until it can be sent."""

    def end(self, reason: ConsumerDisconnect, text: str = "") -> None:
        """Let the consumer go."""


class FanoutMessage:
    """A message on its way."""

    __slots__ = ("_combined", "_frame", "_raw", "name")

    def __init__(self, name: str, frame: bytes) -> None:
        self.name = name
        self._frame = frame
        self._combined: bytes | None = None
        self._raw: bytes | None = None

    def form(self, combined: bool) -> bytes:
        """Return the WebSocket frame for those who want that form."""
        if combined:
            if self._combined is None:
                self._combined = text_frame(combined_form(self.name, self._frame))
            return self._combined
        if self._raw is None:
            self._raw = text_frame(raw_form(self._frame))
        return self._raw


Turn = tuple[bool, tuple[FrameSink, ...]]
"""Some of a stream's listeners, no more than a turn can write to, and which form they want."""


class Channel:
    """One stream's listeners."""

    def __init__(self) -> None:
        self.listeners: dict[bool, dict[FrameSink, None]] = {True: {}, False: {}}
        self._turns: tuple[Turn, ...] | None = None

    def add(self, listener: FrameSink, combined: bool) -> None:
        """Let a listener have what comes from now on, in that form."""
        self.listeners[combined][listener] = None
        self._turns = None

    def remove(self, listener: FrameSink, combined: bool) -> None:
        """Let a listener that has that form have no more."""
        del self.listeners[combined][listener]
        self._turns = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody listens any more."""
        return not any(self.listeners.values())

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The listeners as they are now, in portions."""
        if self._turns is None:
            self._turns = tuple(
                (combined, portion)
                for combined, listeners in self.listeners.items()
                for portion in _portions(tuple(listeners))
            )
        return self._turns


class Fanout:
    """Hands every message to those who listen to its stream, to each in the order in which they came."""

    def __init__(self, count_failure: Callable[[], None]) -> None:
        """Prepare the way.

        Args:
            count_failure: called for every bug that was contained and logged.
        """
        self._count_failure = count_failure
        self._channels: dict[str, Channel] = {}
        self._tuned: dict[FrameSink, tuple[frozenset[str], bool]] = {}
        self._pending: deque[tuple[FanoutMessage, tuple[Turn, ...]]] = deque()
        self._turns_pending = 0
        self._turns_taken = 0
        """Of the oldest message."""
        self._is_scheduled = False

    @property
    def names(self) -> Iterable[str]:
        """The streams that anybody listens to."""
        return self._channels.keys()

    def tune(self, listener: FrameSink, names: Iterable[str], combined: bool) -> None:
        """Let a listener have these streams and no others, in that form."""
        before, was_combined = self._tuned.pop(listener, (frozenset(), combined))
        for name in before:
            channel = self._channels[name]
            channel.remove(listener, was_combined)
            if channel.is_empty:
                del self._channels[name]
        after = frozenset(names)
        if after:
            self._tuned[listener] = (after, combined)
        for name in after:
            self._channels.setdefault(name, Channel()).add(listener, combined)

    def deliver(self, name: str, frame: bytes) -> None:
        """Put a message of a stream down for all who listen to it now."""
        channel = self._channels.get(name)
        if channel is None:
            return
        turns = channel.turns
        self._pending.append((FanoutMessage(name, frame), turns))
        self._turns_pending += len(turns)
        while self._turns_pending > TURNS_PENDING:
            self._write_turn()
        if not self._is_scheduled:
            self._schedule()

    def flush(self) -> None:
        """Write all that is put down."""
        while self._pending:
            self._write_turn()

    def _schedule(self) -> None:
        # In this order: were it marked first, a failure would leave all listeners unheard for good.
        asyncio.get_running_loop().call_soon(self._take_turn)
        self._is_scheduled = True

    def _take_turn(self) -> None:
        written = 0
        while self._pending and written < TURN_WRITES:
            written += self._write_turn()
        self._is_scheduled = False
        if self._pending:
            self._schedule()

    def _write_turn(self) -> int:
        """Write the oldest message to the next of its listeners; returns to how many."""
        message, turns = self._pending[0]
        combined, listeners = turns[self._turns_taken]
        self._turns_taken += 1
        self._turns_pending -= 1
        if self._turns_taken == len(turns):
            self._pending.popleft()
            self._turns_taken = 0
        try:
            frame = message.form(combined)
            for listener in listeners:
                listener.send(frame)
        except Exception:
            # No trouble with a consumer may halt a symbol, and none may miss a message without being told.
            log.exception("a bug was contained; some consumers are let go", extra=fields(stream=message.name))
            self._count_failure()
            for listener in listeners:
                listener.end(ConsumerDisconnect.PROTOCOL_ERROR, "internal error")
        return len(listeners)


def _portions(listeners: tuple[FrameSink, ...]) -> Iterable[tuple[FrameSink, ...]]:
    return (listeners[start : start + TURN_WRITES] for start in range(0, len(listeners), TURN_WRITES))
