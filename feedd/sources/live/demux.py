"""What becomes of the frames of one feed: decoded, brought into one order, handed to their symbol.

While one connection delivers, a message goes straight on. While two do, the arbiter says when. A bug that a
symbol's message meets halts that symbol alone: it is rebuilt, and what comes meanwhile is counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from feedd.core.arbitration import Arbiter
from feedd.core.backoff import Backoff
from feedd.core.connection_set import Link
from feedd.errors import DecodeError
from feedd.logs import fields
from feedd.model import InvalidReason
from feedd.sources.symbol_pipeline import Intake
from feedd.venues.binance.spot.decode import ControlReply, Decoder, Drifted, Route, ServerShutdown, stream_in
from feedd.venues.binance.spot.payloads import Frame, Payload
from feedd.venues.binance.spot.streams import Stream, Subscription

log = logging.getLogger(__name__)

SETTLE_SECONDS: Final = 5.0
"""After this, the connection that stayed has long brought what the other had brought before it went."""


class Way:
    """The way of one stream's messages into their session."""

    __slots__ = ("first_look", "intake", "lane")

    def __init__(self, route: Route, intake: Intake) -> None:
        self.first_look = route.first_look
        self.intake = intake
        self.lane = intake.session.lanes[route.name]


class Reception:
    """Takes what the connections of one feed deliver."""

    def __init__(
        self,
        intakes: Sequence[Intake],
        streams: Sequence[Stream],
        leaving: Callable[[Link], None],
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        subscriptions = {
            Subscription(intake.session.symbol, stream): intake for intake in intakes for stream in streams
        }
        self.names = [subscription.wire_name for subscription in subscriptions]
        self._intakes = intakes
        self._intake_of = {subscription.wire_name: intake for subscription, intake in subscriptions.items()}
        self._backoffs = {intake: Backoff() for intake in intakes}
        self._rebuilding: dict[Intake, asyncio.TimerHandle] = {}
        """Symbols that a bug was met with: until they are rebuilt, their messages are counted and no more."""
        self._leaving = leaving
        self._monotonic = monotonic
        self._chance = chance
        decoder = Decoder(subscriptions)
        self._second_look = decoder.second_look
        self._peeked = {
            name: Way(route, self._intake_of[route.name]) for name, route in decoder.routes.items()
        }
        self._ways = {way.lane.wire_name: way for way in self._peeked.values()}
        self._arbiter = Arbiter(intake.session.lanes[name] for name, intake in self._intake_of.items())
        self._open = 0
        self._is_straight = False
        """One connection delivers, nothing waits and nothing has failed: messages go straight on."""
        self._settling: asyncio.TimerHandle | None = None

    @property
    def is_caught_up(self) -> bool:
        """Nothing that one connection has brought waits for the other."""
        return self._arbiter.is_caught_up

    def opened(self, link: Link) -> None:
        """Another connection delivers from now on."""
        self._stop_settling()
        self._open += 1
        self._arbiter.opened(link)
        self._straighten()

    def closed(self, link: Link) -> None:
        """A connection delivers no more; what waited for it goes on."""
        self._open -= 1
        self._arbiter.closed(link)
        self.pass_on_what_waited()
        if self._open == 1:
            loop = asyncio.get_running_loop()
            self._settling = loop.call_later(SETTLE_SECONDS, self._arbiter.settled)

    def stop(self) -> None:
        """Let go of the timers."""
        self._stop_settling()
        for timer in self._rebuilding.values():
            timer.cancel()

    def look(self) -> None:
        """To be called now and then while two connections deliver: what has waited long enough goes on."""
        self._arbiter.look(self._monotonic())
        self.pass_on_what_waited()

    def take(self, link: Link, raw: bytes, read_at: float) -> None:
        """Take a text frame that was read at a monotonic time."""
        name = stream_in(raw)
        way = None if name is None else self._peeked.get(name)
        frame = None if way is None else way.first_look(raw)
        if way is None or frame is None:
            self._look_again(link, raw, read_at)
        elif self._is_straight:
            link.last_at = read_at
            try:
                way.intake.take(way.lane, frame.data, raw, read_at)
            except Exception:
                self._contain(way.intake)
        else:
            self._arbitrate(link, frame, raw, read_at)

    def _look_again(self, link: Link, raw: bytes, read_at: float) -> None:
        try:
            message = self._second_look(raw)
        except DecodeError as error:
            self._refuse(error, raw, read_at)
            return
        if isinstance(message, ServerShutdown | ControlReply):
            self._heed(link, message)
            return
        if isinstance(message, Drifted):
            self._intake_of[message.frame.stream].note_unknown(message)
            message = message.frame
        self._arbitrate(link, message, raw, read_at)

    def refuse(self, reason: InvalidReason, detail: str, raw: bytes, read_at: float) -> None:
        """Take a frame that can't be a message."""
        self._refuse(DecodeError(reason, detail), raw, read_at)

    def _arbitrate(self, link: Link, frame: Frame[Payload], raw: bytes, read_at: float) -> None:
        link.last_at = read_at
        if link.first_at is None:
            link.first_at = read_at
        if self._is_straight or self._arbiter.may_pass(link, frame, raw, read_at):
            self._hand_on(frame, raw, read_at)
        self.pass_on_what_waited()

    def pass_on_what_waited(self) -> None:
        """Hand on what need not wait for the other connection any more."""
        while (held := self._arbiter.ready(self._monotonic())) is not None:
            self._hand_on(held.frame, held.raw, held.read_at)
        self._straighten()

    def _hand_on(self, frame: Frame[Payload], raw: bytes, read_at: float) -> None:
        way = self._ways[frame.stream]
        if way.intake in self._rebuilding:
            way.intake.session.counts.discarded += 1
            return
        try:
            way.intake.take(way.lane, frame.data, raw, read_at)
        except Exception:
            self._contain(way.intake)

    def _straighten(self) -> None:
        self._is_straight = self._open == 1 and self._arbiter.is_caught_up and not self._rebuilding

    def _contain(self, intake: Intake) -> None:
        """Halt the symbol that a bug was met with, and take it up again after a while."""
        intake.failed()
        delay = self._backoffs[intake].delay(self._chance())
        self._rebuilding[intake] = asyncio.get_running_loop().call_later(delay, self._rebuild, intake)
        self._straighten()

    def _rebuild(self, intake: Intake) -> None:
        del self._rebuilding[intake]
        intake.rebuilt()
        self._straighten()

    def _refuse(self, error: DecodeError, raw: bytes, read_at: float) -> None:
        # A frame that names no stream of ours casts doubt on all that its connection brings.
        named = self._intake_of.get(error.stream or "")
        for intake in self._intakes if named is None else (named,):
            intake.take_invalid(error, raw, read_at)

    def _heed(self, link: Link, message: ServerShutdown | ControlReply) -> None:
        if isinstance(message, ServerShutdown):
            log.info("the exchange will close a connection", extra=fields(streams=self.names[:3]))
            self._leaving(link)
        elif message.error is not None:
            log.error(
                "the exchange refused a request", extra=fields(streams=self.names[:3], error=message.error)
            )

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
