"""One symbol's feed: composes decoding's results, sequence, freshness, latency and schema into the gate.

It is told what happened and when (monotonic seconds) and keeps the numbers; whoever owns it does the I/O,
asks for `deadline`, calls `tick` then, and tells the world of `gate.changes`. Connections come and go beneath
it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from feedd.core.decode_failures import DecodeFailureRule
from feedd.core.gate import Gate
from feedd.core.histogram import LATENCY_BOUNDS, PROCESSING_BOUNDS, Histogram
from feedd.core.latency import LatencyRule, VenueClock
from feedd.core.mute_detector import MuteDetector
from feedd.core.sequence import Sequence, sequence_for
from feedd.core.staleness import StalenessRule
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason, ResumePolicy
from feedd.venues.binance.spot.payloads import Payload
from feedd.venues.binance.spot.streams import Stream, Subscription

TRADING: Final = "TRADING"


@dataclass(frozen=True, slots=True)
class SymbolLimits:
    """A symbol's thresholds, in seconds."""

    stale_after: float
    latency: float
    resume_after: float
    resume: ResumePolicy


class StreamState:
    """One stream of one symbol."""

    __slots__ = ("last_at", "messages", "mute_detector", "sequence", "stream", "symbol", "wire_name")

    def __init__(self, subscription: Subscription) -> None:
        self.symbol = subscription.symbol
        self.stream: Stream = subscription.stream
        self.wire_name = subscription.wire_name
        self.sequence: Sequence = sequence_for(subscription.stream.kind)
        self.mute_detector = MuteDetector()
        self.messages = 0
        """Handed on; repetitions are counted apart."""
        self.last_at: float | None = None


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
        self.streams = {
            subscription.wire_name: StreamState(subscription)
            for subscription in (Subscription(symbol, stream) for stream in streams)
        }
        self.gate = Gate(limits.resume_after, limits.resume, now)
        self.staleness = StalenessRule(limits.stale_after, now)
        self.counts = Counts()
        self.exchange_latency = Histogram(LATENCY_BOUNDS)
        self.processing_latency = Histogram(PROCESSING_BOUNDS)
        self.total_latency = Histogram(LATENCY_BOUNDS)
        self.exchange_status: str | None = None
        """What the venue says of the symbol, such as TRADING; None before the first answer."""
        self.backoff_seconds = 0.0
        """How long the next attempt to connect is being put off; 0 while connected."""
        self.open_connections = 0
        self._clock = clock
        self._measures_latency = True
        self._latency_rule = LatencyRule(limits.latency)
        self._schema = DecodeFailureRule()
        self._ordinal = 0
        self._latency: float | None = None
        self._good_from: float | None = None
        self._streams: tuple[Stream, ...] = ()

    @property
    def is_connected(self) -> bool:
        return self.open_connections > 0

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
        return None if Reason.STALE in self.gate.causes else self.staleness.deadline

    def apply_limits(self, limits: SymbolLimits, now: float) -> None:
        """Take other thresholds."""
        self.staleness.limit = limits.stale_after
        self._latency_rule.limit = limits.latency
        self.gate.apply_policy(limits.resume_after, limits.resume, now)

    def begin(self, streams: Iterable[Stream], measures_latency: bool, now: float) -> None:
        """Begin anew with a source that delivers these streams; the counts stay.

        Old data says nothing of latency, so a source of it must not measure any.
        """
        self._streams = tuple(streams)
        for stream in self._streams:
            stream_state = StreamState(Subscription(self.symbol, stream))
            self.streams.setdefault(stream_state.wire_name, stream_state)
        for stream_state in self.streams.values():
            stream_state.mute_detector.forget()
        self._measures_latency = measures_latency
        self._forget()
        self.staleness.restart(now)
        self.gate.restart(now)
        self._judge_status(now)

    def ended(self, now: float) -> None:
        """There is no more data, and none will come."""
        self.gate.trip(Reason.STALE, now)

    def connected(self, now: float) -> None:
        """A connection was opened."""
        self.open_connections += 1
        self.counts.connects += 1
        self.backoff_seconds = 0.0
        if self.open_connections == 1:
            self._good_from = None
        self.gate.clear(Reason.DISCONNECTED, now)

    def connect_failed(self, failure: ConnectFailure, now: float) -> None:
        """An attempt to open a connection failed."""
        self.counts.connect_failures[failure] += 1
        self._note_disconnected(now)

    def disconnected(self, reason: DisconnectReason, now: float) -> float:
        """An open connection ended. Returns for how many seconds it had delivered good data.

        One that feedd itself shuts down is no trouble: the symbol waits for its next source, or for the end.
        """
        self.open_connections -= 1
        self.counts.disconnects[reason] += 1
        if reason is DisconnectReason.SHUTDOWN and not self.is_connected:
            self.gate.restart(now)
        else:
            self._note_disconnected(now)
        last_at = self.staleness.last_at
        return 0.0 if self._good_from is None or last_at is None else last_at - self._good_from

    def receive(self, stream_state: StreamState, payload: Payload, now: float) -> bool:
        """Take a decoded message of one of the lanes, read at `now`.

        Returns whether it is to be handed on, after which `handed_on` must be called; a repetition is not.
        """
        self._ordinal += 1
        if not stream_state.sequence.admit(payload):
            return False
        stream_state.messages += 1
        stream_state.last_at = self.staleness.last_at = now
        event_time = payload.event_time
        if event_time is None or not self._measures_latency:
            self._latency = None
        else:
            # Spelt out, as below: a call for each of these numbers would cost as much as decoding does.
            self._latency = now + self._clock.offset - event_time * 0.001
        return True

    def handed_on(self, read_at: float, done_at: float) -> None:
        """The message of the last `receive` has reached every output."""
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
        if self._good_from is None:
            self._good_from = read_at
        if self.gate.active:
            self._recover(done_at)

    def invalid(self, reason: InvalidReason, now: float) -> None:
        """A frame came that is no message to trust."""
        self.counts.invalid[reason] += 1
        self._ordinal += 1
        if reason is InvalidReason.UNKNOWN_EVENT:
            return  # well-formed news of the exchange: worth counting, no reason to doubt the rest
        self._schema.note_invalid(self._ordinal)
        self.gate.bad()
        if self._schema.is_failing(self._ordinal):
            self.gate.trip(Reason.SCHEMA, now)

    def unknown_fields(self, count: int) -> None:
        """A trusted message carried fields that feedd doesn't know."""
        self.counts.unknown_fields += count

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self.staleness.is_stale(now):
            self.gate.trip(Reason.STALE, now)

    def mute_changes(self, now: float) -> list[StreamState]:
        """Learn the streams' rhythm. Returns those that have gone mute, or are not any more."""
        siblings_speak = self.staleness.age(now) < self.staleness.limit / 2.0
        changed = []
        for stream_state in self.streams.values():
            stream_state.mute_detector.observe(stream_state.messages, now)
            silent_for = now - (
                self.staleness.since if stream_state.last_at is None else stream_state.last_at
            )
            speaks = siblings_speak and self._is_awaited(stream_state)
            if stream_state.mute_detector.judge(
                silent_for, stream_state.last_at is not None, speaks, self.staleness.limit
            ):
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

    def failed(self, now: float) -> None:
        """A bug was met while handling this symbol: nothing that is known of it can be trusted."""
        self.gate.trip(Reason.INTERNAL, now)

    def rebuilt(self, now: float) -> None:
        """Begin anew after a bug: the rules' memories are gone, the counts stay."""
        self._forget()
        self.gate.clear(Reason.INTERNAL, now)

    def _is_awaited(self, stream_state: StreamState) -> bool:
        # A source that was left behind may have brought streams which this one doesn't.
        return self._measures_latency and stream_state.stream in self._streams

    def _forget(self) -> None:
        self._schema = DecodeFailureRule()
        self._latency_rule = LatencyRule(self._latency_rule.limit)
        self._good_from = None
        for stream_state in self.streams.values():
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

    def _recover(self, now: float) -> None:
        self.gate.clear(Reason.STALE, now)
        if Reason.SCHEMA in self.gate.causes and not self._schema.is_failing(self._ordinal):
            self.gate.clear(Reason.SCHEMA, now)
        self.gate.good(now)
