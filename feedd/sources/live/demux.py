"""What becomes of the frames of one feed: decoded, brought into one order, handed to their symbol.

While one connection delivers, a message goes straight on. While two do, the arbiter says when. A bug that a
symbol's message meets halts that symbol alone: it is rebuilt, and what comes meanwhile is counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from feedd.core.arbitration import Arbitrator
from feedd.core.backoff import Backoff
from feedd.core.connection_set import ConnectionRecord
from feedd.errors import DecodeError
from feedd.logs import fields
from feedd.model import UNROUTED, EventFrame, InvalidReason, Stream, Subscription
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.common.control_replies import ControlReply, Drifted, ServerShutdown
from feedd.venues.binance.common.peek import stream_in
from feedd.venues.venue import Decoder, StreamDecoder

log = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 5.0
"""After this, the connection that stayed has long brought what the other had brought before it went."""


class BoundStream:
    """The way of one stream's messages into their symbol's state."""

    __slots__ = ("first_look", "pipeline", "stream_state")

    def __init__(self, decoder: StreamDecoder, pipeline: SymbolPipeline) -> None:
        self.first_look = decoder.first_look
        self.pipeline = pipeline
        self.stream_state = pipeline.symbol_state.streams[decoder.name]


class Demultiplexer:
    """Takes what the connections of one feed deliver."""

    def __init__(
        self,
        open_decoder: Callable[[Iterable[Subscription]], Decoder],
        pipelines: Sequence[SymbolPipeline],
        streams: Sequence[Stream],
        leaving: Callable[[ConnectionRecord], None],
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        *,
        part: str = UNROUTED,
    ) -> None:
        subscriptions = {
            Subscription(pipeline.symbol_state.symbol, stream): pipeline
            for pipeline in pipelines
            for stream in streams
        }
        self.names = [subscription.wire_name for subscription in subscriptions]
        self._pipelines = pipelines
        self._pipeline_of = {
            subscription.wire_name: pipeline for subscription, pipeline in subscriptions.items()
        }
        self._backoffs = {pipeline: Backoff() for pipeline in pipelines}
        self._rebuilding: dict[SymbolPipeline, asyncio.TimerHandle] = {}
        """Symbols that a bug was met with: until they are rebuilt, their messages are counted and no more."""
        self._leaving = leaving
        self._monotonic = monotonic
        self._chance = chance
        self._part = part
        decoder = open_decoder(subscriptions)
        self._second_look = decoder.second_look
        self._peeked = {
            name: BoundStream(each, self._pipeline_of[each.name])
            for name, each in decoder.stream_decoders.items()
        }
        self._bound_streams = {
            bound_stream.stream_state.wire_name: bound_stream for bound_stream in self._peeked.values()
        }
        self._arbitrator = Arbitrator(
            pipeline.symbol_state.streams[name] for name, pipeline in self._pipeline_of.items()
        )
        self._open = 0
        self._is_straight = False
        """One connection delivers, nothing waits and nothing has failed: messages go straight on."""
        self._settling: asyncio.TimerHandle | None = None

    @property
    def is_caught_up(self) -> bool:
        """Nothing that one connection has brought waits for the other."""
        return self._arbitrator.is_caught_up

    def opened(self, record: ConnectionRecord) -> None:
        """Another connection delivers from now on."""
        self._stop_settling()
        self._open += 1
        self._arbitrator.opened(record)
        self._straighten()

    def closed(self, record: ConnectionRecord) -> None:
        """A connection delivers no more; what waited for it goes on."""
        self._open -= 1
        self._arbitrator.closed(record)
        self.pass_on_what_waited()
        if self._open == 1:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(SETTLE_SECONDS, self._arbitrator.settled)

    def stop(self) -> None:
        """Let go of the timers."""
        self._stop_settling()
        for timer in self._rebuilding.values():
            timer.cancel()

    def release_held(self) -> None:
        """To be called now and then while two connections deliver: what has waited long enough goes on."""
        self._arbitrator.detect_resets(self._monotonic())
        self.pass_on_what_waited()

    def accept(self, record: ConnectionRecord, raw: bytes, read_at: float) -> None:
        """Take a text frame that was read at a monotonic time."""
        bound_stream = self._peeked.get(stream_in(raw))
        frame = None if bound_stream is None else bound_stream.first_look(raw)
        if bound_stream is None or frame is None:
            self._decode_again(record, raw, read_at)
        elif self._is_straight:
            record.last_at = read_at  # spelt out: a call would cost as much as all else here
            try:
                bound_stream.pipeline.accept(bound_stream.stream_state, frame.data, raw, read_at)
            except Exception:
                self._contain(bound_stream.pipeline)
        else:
            self._arbitrate(record, frame, raw, read_at)

    def _decode_again(self, record: ConnectionRecord, raw: bytes, read_at: float) -> None:
        try:
            message = self._second_look(raw)
        except DecodeError as error:
            self._refuse(error, raw, read_at)
            return
        if isinstance(message, ServerShutdown | ControlReply):
            self._handle_control(record, message)
            return
        if isinstance(message, Drifted):
            self._pipeline_of[message.frame.stream].note_unknown(message)
            message = message.frame
        self._arbitrate(record, message, raw, read_at)

    def refuse(self, reason: InvalidReason, detail: str, raw: bytes, read_at: float) -> None:
        """Take a frame that can't be a message."""
        self._refuse(DecodeError(reason, detail), raw, read_at)

    def _arbitrate(self, record: ConnectionRecord, frame: EventFrame, raw: bytes, read_at: float) -> None:
        record.received(read_at)
        if self._is_straight or self._arbitrator.may_pass(record, frame, raw, read_at):
            self._hand_on(frame, raw, read_at)
        self.pass_on_what_waited()

    def pass_on_what_waited(self) -> None:
        """Hand on what need not wait for the other connection any more."""
        while (held := self._arbitrator.ready(self._monotonic())) is not None:
            self._hand_on(held.frame, held.raw, held.read_at)
        self._straighten()

    def _hand_on(self, frame: EventFrame, raw: bytes, read_at: float) -> None:
        bound_stream = self._bound_streams[frame.stream]
        if bound_stream.pipeline in self._rebuilding:
            bound_stream.pipeline.discard()
            return
        try:
            bound_stream.pipeline.accept(bound_stream.stream_state, frame.data, raw, read_at)
        except Exception:
            self._contain(bound_stream.pipeline)

    def _straighten(self) -> None:
        self._is_straight = self._open == 1 and self._arbitrator.is_caught_up and not self._rebuilding

    def _contain(self, pipeline: SymbolPipeline) -> None:
        """Halt the symbol that a bug was met with, and take it up again after a while."""
        pipeline.failed(self._part)
        delay = self._backoffs[pipeline].delay(self._chance())
        self._rebuilding[pipeline] = asyncio.get_running_loop().call_later(delay, self._rebuild, pipeline)
        self._straighten()

    def _rebuild(self, pipeline: SymbolPipeline) -> None:
        del self._rebuilding[pipeline]
        pipeline.rebuilt(self._part)
        self._straighten()

    def _refuse(self, error: DecodeError, raw: bytes, read_at: float) -> None:
        # A frame that names no stream of ours casts doubt on all that its connection brings.
        named = self._pipeline_of.get(error.stream or "")
        for pipeline in self._pipelines if named is None else (named,):
            pipeline.reject(error, raw, read_at)

    def _handle_control(self, record: ConnectionRecord, message: ServerShutdown | ControlReply) -> None:
        if isinstance(message, ServerShutdown):
            log.info("the exchange will close a connection", extra=fields(streams=self.names[:3]))
            self._leaving(record)
        elif message.error is not None:
            log.error(
                "the exchange refused a request", extra=fields(streams=self.names[:3], error=message.error)
            )

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
