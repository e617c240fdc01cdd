"""The way into one symbol's state, whatever the source: messages in, gate changes and deliveries out.

It also keeps the one timer a symbol needs: a message only moves the deadline, the timer looks at it when it
fires. That costs a busy feed nothing, and a silent one is halted on time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import TRADING, SymbolState
from feedd.errors import DecodeError
from feedd.logs import fields
from feedd.model import UNROUTED, ConnectFailure, DisconnectReason, Event, Stream
from feedd.venues.binance.common.control_replies import Drifted

log = logging.getLogger(__name__)

Deliver = Callable[[StreamState, bytes], None]
"""Hands a message (the state of its stream, and the frame as it came) to an output."""
DeliverEvent = Callable[[StreamState, bytes, Event, float], None]
"""The same with the decoded event, and when it was read: for outputs that want more than the frame."""
Announce = Callable[[SymbolState, GateChange], None]

_SAMPLES_LOGGED = 3
"""Undecodable frames are counted one by one, but a broken exchange must not fill the disk with them."""
_SAMPLE_BYTES = 200
_FIELDS_LOGGED = 50


class SymbolPipeline:
    """Carries one symbol's news into its state, and tells what comes of it."""

    def __init__(
        self,
        symbol_state: SymbolState,
        deliver: Deliver,
        announce: Announce,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        note_missing: Callable[[StreamState], None] = lambda _: None,
        deliver_backfill: Deliver = lambda *_: None,
        deliver_event: DeliverEvent | None = None,
    ) -> None:
        """Prepare the way.

        Args:
            note_missing: told of a stream that misses something which is to be fetched.
            deliver_backfill: takes what was fetched, apart from what the streams bring.
            deliver_event: called in place of `deliver` where an output wants more than the frame.
        """
        self.symbol_state = symbol_state
        self._deliver = deliver
        self._announce = announce
        self._monotonic = monotonic
        self._note_missing = note_missing
        self._deliver_backfill = deliver_backfill
        self._deliver_event = deliver_event
        self._timer: asyncio.TimerHandle | None = None
        self._samples_logged = 0
        self._unknown_fields_logged: set[str] = set()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def begin(self, streams: Iterable[Stream], measures_latency: bool) -> None:
        """Begin anew with a source that delivers these streams."""
        self.symbol_state.begin(streams, measures_latency, self._monotonic())
        self.emit_changes()
        self.rearm()

    def expect_next(self, seconds: float) -> None:
        """Say that the next message is due only so many seconds after the newest: no silence until then."""
        if self.symbol_state.expect_next(seconds):
            self.rearm()  # a timer only looks later by itself, never earlier

    def ended(self, detail: str) -> None:
        """There is no more data: halt, and say why."""
        log.warning("the data has ended", extra=fields(symbol=self.symbol_state.symbol, detail=detail))
        self.symbol_state.ended(self._monotonic())
        self.emit_changes()

    def accept(self, stream_state: StreamState, event: Event, raw: bytes, read_at: float) -> None:
        """Carry a decoded message, read at monotonic `read_at`, to the symbol's state and the outputs."""
        symbol_state = self.symbol_state
        if not symbol_state.receive(stream_state, event, read_at):
            return
        if self._deliver_event is None:
            self._deliver(stream_state, raw)
        else:
            self._deliver_event(stream_state, raw, event, read_at)
        symbol_state.handed_on(stream_state, read_at, self._monotonic())
        if symbol_state.gate.changes:
            self.emit_changes()
        if self._timer is None:
            self._arm()
        if stream_state.sequence.ledger.has_new_gaps:
            stream_state.sequence.ledger.acknowledge_gaps()
            self._note_missing(stream_state)

    def accept_backfill(self, stream_state: StreamState, raw: bytes) -> None:
        """Hand on a message that was missed and fetched: it says nothing of what the data is worth now."""
        self._deliver_backfill(stream_state, raw)

    def note_unknown(self, drifted: Drifted) -> None:
        """Count the unknown fields of a message; a field is logged when it is first seen."""
        self.symbol_state.unknown_fields(len(drifted.unknown_fields))
        new = set(drifted.unknown_fields) - self._unknown_fields_logged
        if new and len(self._unknown_fields_logged) < _FIELDS_LOGGED:
            self._unknown_fields_logged |= new
            log.warning(
                "the exchange sends fields that feedd doesn't know",
                extra=fields(
                    symbol=self.symbol_state.symbol, stream=drifted.frame.stream, unknown=sorted(new)
                ),
            )

    def reject(self, error: DecodeError, raw: bytes, read_at: float) -> None:
        """Count a frame that can't be trusted; the first few are logged with a sample."""
        self.symbol_state.invalid(error.reason, read_at)
        if self._samples_logged < _SAMPLES_LOGGED:
            self._samples_logged += 1
            log.warning(
                "a message can't be trusted",
                extra=fields(
                    symbol=self.symbol_state.symbol,
                    reason=error.reason,
                    detail=error.detail,
                    stream=error.stream,
                    sample=raw[:_SAMPLE_BYTES].decode(errors="backslashreplace"),
                ),
            )
        self.emit_changes()

    def discard(self) -> None:
        """Count a message that came while the symbol was being rebuilt after a bug."""
        self.symbol_state.discard()

    def delay_reconnect(self, seconds: float, route: str = UNROUTED) -> None:
        """Note for how long the next attempt to connect on that route is being put off."""
        self.symbol_state.delay_reconnect(seconds, route)

    def connected(self, route: str = UNROUTED) -> None:
        """A connection for the symbol was opened on that route."""
        self.symbol_state.connected(self._monotonic(), route)
        self.emit_changes()

    def connect_failed(self, failure: ConnectFailure) -> None:
        """An attempt to connect failed."""
        self.symbol_state.connect_failed(failure, self._monotonic())
        self.emit_changes()

    def disconnected(self, reason: DisconnectReason, route: str = UNROUTED) -> float:
        """An open connection ended. Returns for how many seconds it had delivered good data."""
        good_for = self.symbol_state.disconnected(reason, self._monotonic(), route)
        self.emit_changes()
        return good_for

    def note_status(self, status: str) -> None:
        """The venue has said whether the symbol is traded; a change of that is logged."""
        if status != (self.symbol_state.exchange_status or TRADING):
            trading = status == TRADING
            log.log(
                logging.INFO if trading else logging.WARNING,
                "the exchange trades the symbol" if trading else "the exchange does not trade the symbol",
                extra=fields(symbol=self.symbol_state.symbol, status=status),
            )
        self.symbol_state.note_status(status, self._monotonic())
        self.emit_changes()

    def failed(self, part: str = UNROUTED) -> None:
        """A bug was met in handling the symbol: halt it. To be called while the exception is handled.

        Args:
            part: who met it, such as a route: the halt lasts until each that did is `rebuilt`.
        """
        log.exception(
            "a bug was contained; the symbol is halted", extra=fields(symbol=self.symbol_state.symbol)
        )
        self.symbol_state.failed(self._monotonic(), part)
        self.emit_changes()

    def rebuilt(self, part: str = UNROUTED) -> None:
        """That part of the symbol begins anew after a bug."""
        self.symbol_state.rebuilt(self._monotonic(), part)
        self.emit_changes()

    def check_mute_streams(self) -> None:
        """Learn the streams' rhythm; one that goes mute while its siblings speak is logged."""
        now = self._monotonic()
        for stream_state in self.symbol_state.mute_changes(now):
            mute = stream_state.mute_detector.is_mute
            log.log(
                logging.WARNING if mute else logging.INFO,
                "a stream is mute while others of the symbol speak" if mute else "a stream speaks again",
                extra=fields(
                    symbol=self.symbol_state.symbol,
                    stream=stream_state.stream.name,
                    silent_seconds=f"{stream_state.silent_for(now):.1f}",
                    usual_gap_seconds=f"{stream_state.mute_detector.mean_interval or 0.0:.3f}",
                ),
            )

    def emit_changes(self) -> None:
        """Announce what has changed at the gate."""
        for change in self.symbol_state.gate.take_changes():
            self._announce(self.symbol_state, change)

    def rearm(self) -> None:
        """Look at the symbol's deadline anew: a threshold may have moved."""
        self.stop()
        self._arm()

    def _arm(self) -> None:
        deadline = self.symbol_state.deadline
        if deadline is None:
            self._timer = None
            return
        delay = max(0.0, deadline - self._monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self.symbol_state.tick(self._monotonic())
        self.emit_changes()
        self._arm()
