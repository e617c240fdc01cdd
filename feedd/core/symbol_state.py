"""One symbol's state: composes sequences, staleness, latency and decode failures into the gate.

It is told what happened and when (monotonic seconds) and keeps the numbers; whoever owns it does the I/O,
asks for `deadline`, calls `tick` then, and emits what `gate.take_changes` returns. Connections come and go
beneath it, on each of the routes that the venue has for its streams.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from feedd.core.decode_failures import DecodeFailureRule
from feedd.core.gate import Gate
from feedd.core.histogram import LATENCY_BOUNDS, PROCESSING_BOUNDS, Histogram
from feedd.core.latency import LatencyRule
from feedd.core.route_state import RouteState
from feedd.core.stream_state import StreamState
from feedd.core.venue_clock import VenueClock
from feedd.model import (
    UNROUTED,
    ConnectFailure,
    DisconnectReason,
    Event,
    InvalidReason,
    Reason,
    ResumePolicy,
    Stream,
    Subscription,
)

TRADING: Final = "TRADING"


@dataclass(frozen=True, slots=True)
class SymbolLimits:
    """A symbol's thresholds, in seconds."""

    stale_after: float
    latency: float
    resume_after: float
    resume: ResumePolicy


class Counts:
    """What happened to a symbol since the start. Numbers only ever rise."""

    def __init__(self) -> None:
        self.invalid = dict.fromkeys(InvalidReason, 0)
        self.unknown_fields = 0
        self.discarded = 0
        """Messages that came while the symbol was being rebuilt after a bug."""
        self.negative_latency = 0
        self.connects = 0
        self.connect_failures = dict.fromkeys(ConnectFailure, 0)
        self.disconnects = dict.fromkeys(DisconnectReason, 0)


class SymbolState:
    """The state of one symbol's feed. All times are monotonic seconds."""

    def __init__(
        self, symbol: str, streams: Iterable[Stream], limits: SymbolLimits, clock: VenueClock, now: float
    ) -> None:
        self.symbol = symbol
        self.routes: dict[str, RouteState] = {}
        """What the source is made of: one for each address that the venue serves streams under."""
        self.streams: dict[str, StreamState] = {}
        """By wire name: all that any source has delivered since the start."""
        self.stale_after = limits.stale_after
        self._current: tuple[Stream, ...] = ()
        """What the source of now delivers."""
        self._broken: set[str] = set()
        """Parts that a bug was met in, and that are not rebuilt yet."""
        self._take_up(tuple(streams), now)
        self.gate = Gate(limits.resume_after, limits.resume, now)
        self.counts = Counts()
        self.exchange_latency = Histogram(LATENCY_BOUNDS)
        self.processing_latency = Histogram(PROCESSING_BOUNDS)
        self.total_latency = Histogram(LATENCY_BOUNDS)
        self.exchange_status: str | None = None
        """What the venue says of the symbol, such as TRADING; None before the first answer."""
        self._clock = clock
        self._measures_latency = True
        self._latency_rule = LatencyRule(limits.latency)
        self._decode_failures = DecodeFailureRule()
        self._ordinal = 0
        self._latency: float | None = None

    @property
    def is_connected(self) -> bool:
        """Tell whether every route has an open connection."""
        return all(route.is_connected for route in self.routes.values())

    @property
    def open_connections(self) -> int:
        return sum([route.open_connections for route in self.routes.values()])

    @property
    def backoff_seconds(self) -> float:
        """How long the next attempt to connect is being put off, on the route that waits longest."""
        return max([route.backoff_seconds for route in self.routes.values()])

    @property
    def last_message_at(self) -> float | None:
        """When the newest message came of the route that has been silent for longest; None without any."""
        newest = [route.staleness.last_at for route in self.routes.values()]
        known = [at for at in newest if at is not None]
        return min(known) if len(known) == len(newest) else None

    def age(self, now: float) -> float:
        """Return the seconds for which the most silent route has been silent."""
        return max([route.staleness.age(now) for route in self.routes.values()])

    @property
    def is_live(self) -> bool:
        """The data is of now: it comes over a connection, and its latency means something."""
        return self._measures_latency

    @property
    def mean_interval(self) -> float | None:
        """Mean seconds between two messages, whatever their stream; None before that is known."""
        gaps = [stream_state.mute_detector.mean_interval for stream_state in self.streams.values()]
        rate = sum(1.0 / gap for gap in gaps if gap)
        return 1.0 / rate if rate else None

    @property
    def deadline(self) -> float | None:
        """When `tick` must be called next; None while only a message can change anything."""
        if Reason.STALE in self.gate.causes:
            return None
        return min([route.staleness.deadline for route in self.routes.values()])

    def apply_limits(self, limits: SymbolLimits, now: float) -> None:
        """Take other thresholds."""
        self.stale_after = limits.stale_after
        for route in self.routes.values():
            route.staleness.apply_limit(limits.stale_after)
        self._latency_rule.apply_limit(limits.latency)
        self.gate.apply_policy(limits.resume_after, limits.resume, now)

    def begin(self, streams: Iterable[Stream], measures_latency: bool, now: float) -> None:
        """Begin anew with a source that delivers these streams; the counts stay.

        Old data says nothing of latency, so a source of it must not measure any.
        """
        self._take_up(tuple(streams), now)
        for stream_state in self.streams.values():
            stream_state.mute_detector.forget()
        self._measures_latency = measures_latency
        self._broken.clear()
        self._forget()
        for route in self.routes.values():
            route.restart(now)
        self.gate.restart(now)
        self._judge_status(now)

    def ended(self, now: float) -> None:
        """There is no more data, and none will come."""
        self.gate.trip(Reason.STALE, now)

    def expect_next(self, seconds: float) -> bool:
        """Expect the next message only so many seconds after the newest. Returns whether that is sooner."""
        staleness = self.routes[UNROUTED].staleness  # a recording has one route
        is_sooner = seconds < staleness.expected_after
        staleness.expect_after(seconds)
        return is_sooner

    def delay_reconnect(self, seconds: float, route: str = UNROUTED) -> None:
        """Note for how long the next attempt to connect on that route is being put off."""
        self.routes[route].delay_reconnect(seconds)

    def connected(self, now: float, route: str = UNROUTED) -> None:
        """A connection was opened."""
        self.routes[route].connected()
        self.counts.connects += 1
        if self.is_connected:
            self.gate.clear(Reason.DISCONNECTED, now)

    def connect_failed(self, failure: ConnectFailure, now: float) -> None:
        """An attempt to open a connection failed."""
        self.counts.connect_failures[failure] += 1
        self._note_disconnected(now)

    def disconnected(self, reason: DisconnectReason, now: float, route: str = UNROUTED) -> float:
        """An open connection ended. Returns for how many seconds its route had delivered good data.

        One that feedd itself shuts down is no trouble: the symbol waits for its next source, or for the end.
        """
        ended = self.routes[route]
        ended.disconnected()
        self.counts.disconnects[reason] += 1
        if reason is DisconnectReason.SHUTDOWN and not ended.is_connected:
            self.gate.restart(now)
        else:
            self._note_disconnected(now)
        return ended.good_for

    def receive(self, stream_state: StreamState, event: Event, now: float) -> bool:
        """Take a decoded message of one of the lanes, read at `now`.

        Returns whether it is to be handed on, after which `handed_on` must be called; a repetition is not.
        """
        self._ordinal += 1
        if not stream_state.sequence.admit(event):
            return False
        # Spelt out, as below: a call for each of these numbers would cost as much as decoding does.
        stream_state.messages += 1
        stream_state.last_at = now
        staleness = stream_state.route.staleness
        staleness.last_at = now
        event_time = event.event_time
        if event_time is None or not self._measures_latency:
            self._latency = None
        else:
            self._latency = now + self._clock.offset - event_time * 0.001
        return True

    def handed_on(self, stream_state: StreamState, read_at: float, done_at: float) -> None:
        """The message of the last `receive`, of that stream, has reached every output."""
        processing = done_at - read_at
        histogram = self.processing_latency
        histogram.counts[bisect_left(histogram.bounds, processing)] += 1
        histogram.total += processing
        latency = self._latency
        if latency is not None:
            total = latency + processing
            rule = self._latency_rule
            if latency < 0.0 or total > rule.limit or rule.over or self.gate.causes:
                if self._is_late(latency, total, done_at):
                    return
            else:
                histogram = self.exchange_latency
                bucket = bisect_left(histogram.bounds, latency)
                histogram.counts[bucket] += 1
                histogram.total += latency
                histogram = self.total_latency
                # The same bucket, unless handing on took it over the bound.
                same = bucket == len(histogram.bounds) or total <= histogram.bounds[bucket]
                histogram.counts[bucket if same else bisect_left(histogram.bounds, total)] += 1
                histogram.total += total
        if self.gate.active:
            self._recover(stream_state.route, read_at, done_at)

    def invalid(self, reason: InvalidReason, now: float) -> None:
        """A frame came that is no message to trust."""
        self.counts.invalid[reason] += 1
        self._ordinal += 1
        if reason is InvalidReason.UNKNOWN_EVENT:
            return  # well-formed news of the exchange: worth counting, no reason to doubt the rest
        self._decode_failures.note_invalid(self._ordinal)
        self.gate.bad()
        if self._decode_failures.is_failing(self._ordinal):
            self.gate.trip(Reason.SCHEMA, now)

    def discard(self) -> None:
        """A message came while the symbol was being rebuilt after a bug."""
        self.counts.discarded += 1

    def unknown_fields(self, count: int) -> None:
        """A trusted message carried fields that feedd doesn't know."""
        self.counts.unknown_fields += count

    def tick(self, now: float) -> None:
        """Let time pass."""
        if any(route.staleness.is_stale(now) for route in self.routes.values()):
            self.gate.trip(Reason.STALE, now)

    def mute_changes(self, now: float) -> list[StreamState]:
        """Learn the streams' rhythm. Returns those that have gone mute, or are not any more."""
        changed = []
        for stream_state in self.streams.values():
            staleness = stream_state.route.staleness
            siblings_speak = staleness.age(now) < staleness.limit / 2.0
            speaks = siblings_speak and self._is_awaited(stream_state)
            stream_state.mute_detector.observe(stream_state.messages, now)
            silent_for = stream_state.silent_for(now)
            has_spoken = stream_state.last_at is not None
            if stream_state.mute_detector.judge(silent_for, has_spoken, speaks, staleness.limit):
                changed.append(stream_state)
        return changed

    def note_status(self, status: str, now: float) -> None:
        """The venue has said what it thinks of the symbol. Any status but TRADING halts, known or not."""
        self.exchange_status = status
        self._judge_status(now)

    def _judge_status(self, now: float) -> None:
        # Recorded data is not about today's market: a source without latency has no status either.
        if self.exchange_status in (None, TRADING) or not self._measures_latency:
            self.gate.clear(Reason.EXCHANGE, now)
        else:
            self.gate.trip(Reason.EXCHANGE, now)

    def failed(self, now: float, part: str = UNROUTED) -> None:
        """A bug was met in handling this symbol: nothing that is known of it can be trusted.

        Args:
            now: monotonic seconds.
            part: whose handling it was, such as a route's; it stays broken until that part is rebuilt.
        """
        self._broken.add(part)
        self.gate.trip(Reason.INTERNAL, now)

    def rebuilt(self, now: float, part: str = UNROUTED) -> None:
        """Begin anew after a bug in that part: the rules' memories are gone, the counts stay."""
        self._broken.discard(part)
        self._forget(part)
        if not self._broken:
            self.gate.clear(Reason.INTERNAL, now)

    def _is_awaited(self, stream_state: StreamState) -> bool:
        # A source that was left behind may have brought streams which this one doesn't.
        return self._measures_latency and stream_state.stream in self._current

    def _forget(self, part: str | None = None) -> None:
        """Forget what the rules remember, and where the streams have come to: one route's, or all."""
        routes = [self.routes[part]] if part in self.routes else [*self.routes.values()]
        self._decode_failures = DecodeFailureRule()
        self._latency_rule = LatencyRule(self._latency_rule.limit)
        for route in routes:
            route.forget_good()
        for stream_state in self.streams.values():
            if stream_state.route in routes:
                stream_state.sequence.forget()

    def _note_disconnected(self, now: float) -> None:
        if not self.is_connected:
            self.gate.trip(Reason.DISCONNECTED, now)

    def _is_late(self, exchange_latency: float, total_latency: float, now: float) -> bool:
        if exchange_latency < 0.0:
            self.counts.negative_latency += 1
            if not -exchange_latency <= self._clock.error_at(now) < self._latency_rule.limit:
                return False  # impossible, so it measures nothing: neither a delay nor health
        self.exchange_latency.observe(exchange_latency)
        self.total_latency.observe(total_latency)
        if self._latency_rule.is_over(total_latency):
            self.gate.bad()
            if self._latency_rule.is_confirmed:
                self.gate.trip(Reason.LATENCY, now)
                self.gate.began(now)
            return True
        self.gate.clear(Reason.LATENCY, now)
        return False

    def _recover(self, delivered: RouteState, read_at: float, now: float) -> None:
        # A route begins with its first good message after it was opened alone, begun anew or rebuilt. Each
        # of these leaves a reason active until good data has come: nothing begins while the gate is open.
        if delivered.good_from is None:
            delivered.began_well(read_at)
        if not self._others_deliver(delivered, now):
            return  # good data of one route proves nothing of another
        self.gate.clear(Reason.STALE, now)
        if Reason.SCHEMA in self.gate.causes and not self._decode_failures.is_failing(self._ordinal):
            self.gate.clear(Reason.SCHEMA, now)
        self.gate.good(now)

    def _others_deliver(self, delivered: RouteState, now: float) -> bool:
        """Tell whether every route but the one that has just delivered has fresh data too."""
        return all(
            route.staleness.last_at is not None and not route.staleness.is_stale(now)
            for route in self.routes.values()
            if route is not delivered
        )

    def _take_up(self, streams: tuple[Stream, ...], now: float) -> None:
        """Make routes and streams what a source is made of; what has been known before keeps its numbers."""
        self._current = streams
        names = {stream.route for stream in streams} or {UNROUTED}
        self.routes = {
            name: self.routes.get(name) or RouteState(name, self.stale_after, now) for name in sorted(names)
        }
        for stream in streams:
            subscription = Subscription(self.symbol, stream)
            route = self.routes[stream.route]
            if subscription.wire_name in self.streams:
                self.streams[subscription.wire_name].move_to(route)
            else:
                self.streams[subscription.wire_name] = StreamState(subscription, route)
