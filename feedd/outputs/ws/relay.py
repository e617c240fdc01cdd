"""The relay: Binance's streams, from this daemon. An existing client needs nothing but another URL.

It answers as Binance does (binance.common.stream_protocol), and passes on what the exchange has sent, byte
for byte. What Binance doesn't have: `on_halt=close` ends a connection when a gate of its symbols closes,
`allow=static` says that recorded data is wanted, `backfill=1` that missed trades are wanted late (each in an
envelope that marks it), and `name=` is what operators see. Without `allow=static` nobody ever gets a message
that is not the market's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from feedd.config.settings import Settings
from feedd.config.venue_choice import venue_for
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.logs import fields
from feedd.model import ConsumerDisconnect, Source
from feedd.outputs.output import OutputFailures
from feedd.outputs.ws.consumer import Consumer, ConsumerRegistry, Socket
from feedd.outputs.ws.fanout import Fanout
from feedd.outputs.ws.frame_writer import text_frame
from feedd.venues.binance.common.stream_protocol import (
    Answer,
    Method,
    RequestRefused,
    StreamTarget,
    Subscriber,
    parse_request,
    parse_target,
    too_many_streams,
)

log = logging.getLogger(__name__)

PARAMETERS: Final = ("streams", "timeUnit", "on_halt", "allow", "backfill", "name")
"""All that a handshake's query may hold: a typo must not pass for a wish that is granted."""
NAMES_LOGGED: Final = 50
"""Streams that are asked for and not held are logged once each, and no more than this many."""


@dataclass(frozen=True, slots=True)
class RelayConsumer:
    """A consumer of the relay, and what it wants."""

    consumer: Consumer
    subscriber: Subscriber
    closes_on_halt: bool
    allows_static: bool
    wants_backfill: bool


class Relay:
    """Everyone who listens to streams."""

    def __init__(self, state: DaemonState, registry: ConsumerRegistry, failures: OutputFailures) -> None:
        self._state = state
        self._registry = registry
        self._failures = failures
        self._fanout = Fanout(self._count_failure)
        self._backfill = Fanout(self._count_failure)
        self._listeners: dict[Consumer, RelayConsumer] = {}
        self._source = state.source
        self._names_logged: set[str] = set()

    # --- what the daemon hands on

    def deliver(self, stream_state: StreamState, frame: bytes) -> None:
        """Pass a message on to those who listen to its stream."""
        # Nobody stands between the symbol's pipeline and this who could contain a bug.
        try:
            self._fanout.deliver(stream_state.wire_name, frame)
        except Exception:
            self._lose(stream_state.wire_name)

    def deliver_backfill(self, stream_state: StreamState, frame: bytes) -> None:
        """Pass a message that was missed and fetched later on to those who want such."""
        try:
            self._backfill.deliver(stream_state.wire_name, frame)
        except Exception:
            self._lose(stream_state.wire_name)

    def is_heard(self, symbol: str) -> bool:
        """Tell whether anybody listens to a stream of the symbol."""
        prefix = f"{symbol.lower()}@"
        return any(name.startswith(prefix) for name in self._fanout.names)

    def gate_changed(self, _: SymbolState, change: GateChange) -> None:
        """Let go of those who don't want to listen to a halted symbol."""
        if change.halted:
            self._end_halted()

    def apply_settings(self, _: Settings, __: Settings) -> None:
        """Follow the settings, which the state has already: other sources, symbols or streams.

        To be called before the first message of another source: who did not ask for static data is let go
        here, and no message is looked at for it.
        """
        self._apply_source()
        self._end_halted()
        self._names_logged.clear()
        self._log_unheld(self._fanout.names, "listeners hear no more of streams that are not configured")

    def flush(self) -> None:
        """Write what is owed."""
        self._fanout.flush()
        self._backfill.flush()

    # --- bugs

    def _lose(self, name: str) -> None:
        """Contain the bug that is being handled. No one may miss a message of a stream without being told."""
        self._failures.contain("relay", "deliver")
        for consumer, listener in self._listeners.items():
            if name in listener.subscriber.streams:
                consumer.end(ConsumerDisconnect.PROTOCOL_ERROR, "internal error")

    def _count_failure(self) -> None:
        self._failures.count("relay")

    # --- one consumer

    async def serve(self, request: web.Request, allows_static: bool) -> Socket:
        """Serve one consumer until it goes."""
        target, closes_on_halt = _target_of(request), _has_wish(request, "on_halt", "close")
        wants_backfill = _has_wish(request, "backfill", "1")
        self._refuse_static(allows_static)
        if closes_on_halt:
            self._refuse_halted(target.names)
        consumer = await self._registry.admit(request)
        if self._source is Source.STATIC and not allows_static:
            consumer.end(ConsumerDisconnect.STATIC_SOURCE)  # the source has changed during the handshake
        listener = RelayConsumer(
            consumer, Subscriber(target.combined), closes_on_halt, allows_static, wants_backfill
        )
        consumer.shows(listener.subscriber.streams)
        self._listeners[consumer] = listener
        try:
            self._begin(listener, target)
            await self._registry.serve(consumer, partial(self._handle_text, listener))
        finally:
            del self._listeners[consumer]
            for fanout in (self._fanout, self._backfill):
                fanout.tune(consumer, (), combined=False)
        return consumer.response

    def _begin(self, listener: RelayConsumer, target: StreamTarget) -> None:
        # A name that is not held is no reason to refuse: Binance accepts any, and clients open a
        # connection under names of their own before they subscribe (ccxt: /ws/0).
        self._log_unheld(target.names, "a consumer listens to a stream that is not configured")
        if listener.subscriber.add(target.names):
            self._tune(listener)
        else:
            self._answer(listener, too_many_streams())

    def _handle_text(self, listener: RelayConsumer, text: bytes) -> None:
        self.flush()  # what was put down for it is still due as it was wanted
        try:
            request = parse_request(text)
            if request.method is Method.SUBSCRIBE and not self._holds_all(request.names):
                raise request.refused(2, "Invalid request: invalid stream")
            answer = listener.subscriber.carry_out(request)
        except RequestRefused as refused:
            answer = refused.answer
        self._answer(listener, answer)
        if answer.violation is None:
            self._tune(listener)

    def _answer(self, listener: RelayConsumer, answer: Answer) -> None:
        listener.consumer.send(text_frame(answer.text))
        if answer.violation is not None:
            listener.consumer.end(ConsumerDisconnect.PROTOCOL_ERROR, answer.violation)

    def _tune(self, listener: RelayConsumer) -> None:
        subscriber = listener.subscriber
        self._fanout.tune(listener.consumer, subscriber.streams, subscriber.combined)
        if listener.wants_backfill:
            # The envelope bears the mark, so these come in it whatever form the others have.
            self._backfill.tune(listener.consumer, subscriber.streams, combined=True)
        self._end_if_halted(listener)

    # --- halts and static data

    def _refuse_static(self, allows_static: bool) -> None:
        if self._state.source is Source.STATIC and not allows_static:
            self._registry.counts.refused(ConsumerDisconnect.STATIC_SOURCE)
            text = "the source is static data, not the market's: only who asks with allow=static gets it\n"
            raise web.HTTPServiceUnavailable(text=text)

    def _refuse_halted(self, names: Iterable[str]) -> None:
        for symbol in _symbols(names):
            if symbol not in self._state.symbols:
                raise web.HTTPNotFound(text=f"symbol {symbol!r} is not configured\n")
        halted = self._halted(names)
        if halted:
            self._registry.counts.refused(ConsumerDisconnect.HALT)
            raise web.HTTPServiceUnavailable(text=f"{halted}\n")

    def _halted(self, names: Iterable[str]) -> str:
        """Say which of the streams' symbols is halted, and why; nothing if none is."""
        for symbol in _symbols(names):
            symbol_state = self._state.symbols.get(symbol)
            if symbol_state is None:
                return f"{symbol} is not configured any more"
            if symbol_state.gate.halted:
                return f"{symbol} is halted: {', '.join(symbol_state.gate.reasons)}"
        return ""

    def _end_halted(self) -> None:
        for listener in self._listeners.values():
            self._end_if_halted(listener)

    def _end_if_halted(self, listener: RelayConsumer) -> None:
        if listener.closes_on_halt:
            halted = self._halted(listener.subscriber.streams)
            if halted:
                self.flush()
                listener.consumer.end(ConsumerDisconnect.HALT, halted)

    def _apply_source(self) -> None:
        """Let go of those who did not ask for static data, before there is any."""
        if self._source is self._state.source:
            return
        self._source = self._state.source
        try:
            self.flush()
        finally:  # whatever goes wrong with what is owed
            if self._source is Source.STATIC:
                for listener in self._listeners.values():
                    if not listener.allows_static:
                        listener.consumer.end(ConsumerDisconnect.STATIC_SOURCE)

    # --- which streams there are

    def _holds(self, name: str) -> bool:
        symbol, _, stream = name.partition("@")
        if symbol != symbol.lower() or symbol.upper() not in self._state.symbols:
            return False
        if self._source is Source.STATIC:
            # Which of them a file holds is known once it is played.
            return stream in venue_for(self._state.settings).streams
        return stream in self._state.settings.streams

    def _holds_all(self, names: Iterable[str]) -> bool:
        self._log_unheld(names, "a consumer was refused a stream that is not configured")
        return all(self._holds(name) for name in names)

    def _log_unheld(self, names: Iterable[str], message: str) -> None:
        for name in names:
            # Binance's names have an @; others are names that clients give to their connections.
            if "@" not in name or self._holds(name) or name in self._names_logged:
                continue
            if len(self._names_logged) < NAMES_LOGGED:
                self._names_logged.add(name)
                log.warning("%s", message, extra=fields(stream=name))


def _symbols(names: Iterable[str]) -> Iterator[str]:
    return (name.partition("@")[0].upper() for name in names if "@" in name)


def _target_of(request: web.Request) -> StreamTarget:
    query = request.query
    unknown = [key for key in query if key not in PARAMETERS]
    if unknown:
        raise web.HTTPBadRequest(text=f"query: expected {', '.join(PARAMETERS)}, found {unknown[0]!r}\n")
    if query.get("timeUnit", "millisecond").lower() != "millisecond":
        text = f"timeUnit: expected millisecond, which is what feedd asks for, found {query['timeUnit']!r}\n"
        raise web.HTTPBadRequest(text=text)
    target = parse_target(request.path, query.get("streams", ""))
    if target is None:
        raise web.HTTPNotFound
    if not all(name.isprintable() for name in target.names):
        raise web.HTTPBadRequest(text="streams: expected names of streams, found what is no text\n")
    return target


def _has_wish(request: web.Request, key: str, value: str) -> bool:
    wish = request.query.get(key)
    if wish not in (None, value):
        raise web.HTTPBadRequest(text=f"{key}: expected {value}, found {wish!r}\n")
    return wish is not None
