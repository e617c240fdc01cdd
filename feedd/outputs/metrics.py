"""Every metric of feedd, written as text straight from the plain numbers of the sessions.

Nothing is metered per message. A scrape of a thousand symbols is some hundred thousand lines: they are
written in pieces, between which the event loop can serve messages. What never changes of a symbol's lines is
kept as one text with places for the values, so that a line costs little more than printing its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import exposition as classic
from prometheus_client.openmetrics import exposition as openmetrics

from feedd import __version__
from feedd.core.desk import Desk
from feedd.core.gate import GATED, Gate
from feedd.core.histogram import Histogram
from feedd.core.session import Lane, Session
from feedd.model import (
    ConnectFailure,
    ConsumerDisconnect,
    DisconnectReason,
    InvalidReason,
    Rejection,
    Source,
)
from feedd.outputs.moment import Moment

LINES_IN_A_PIECE: Final = 500
"""Writing this many takes less than a millisecond: a message that comes meanwhile waits no longer."""


class Format(Enum):
    """The two text formats that Prometheus reads."""

    CLASSIC = classic.CONTENT_TYPE_LATEST
    OPEN_METRICS = openmetrics.CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as it is exposed in the classic format, its type, and what it tells."""

    name: str
    type: str
    help: str

    def header(self, text_format: Format) -> str:
        """Return the lines that stand before its samples."""
        name, type_name = self.name, self.type
        if text_format is Format.OPEN_METRICS:
            name = name.removesuffix("_total" if type_name == "counter" else "_info")
            type_name = "info" if name != self.name and type_name == "gauge" else type_name
        return f"# HELP {name} {self.help}\n# TYPE {name} {type_name}\n"


Read = Callable[[Moment], float]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: all that stands before its value, and how the value is read."""

    prefix: str
    read: Read

    def write(self, moment: Moment) -> str:
        return f"{self.prefix}{_number(self.read(moment))}\n"


class HistogramSample:
    """The lines of one histogram, written together so that they agree with each other."""

    def __init__(self, family: Family, histogram: Histogram) -> None:
        self._lines = histogram_lines(family, "", histogram)
        self._histogram = histogram

    def write(self, _: Moment) -> str:
        return self._lines % histogram_values(self._histogram)


def histogram_lines(family: Family, labels: str, histogram: Histogram) -> str:
    """Return the lines of a histogram, with a place for each of its values."""
    comma, braces = (f"{labels},", f"{{{labels}}}") if labels else ("", "")
    buckets = "".join(
        f'{family.name}_bucket{{{comma}le="{_number(bound)}"}} %d\n'
        for bound in (*histogram.bounds, math.inf)
    )
    return f"{buckets}{family.name}_count{braces} %d\n{family.name}_sum{braces} %s\n"


def histogram_values(histogram: Histogram) -> tuple[float, ...]:
    """Return what stands in those lines."""
    cumulated = [*accumulate(histogram.counts)]
    return (*cumulated, cumulated[-1], histogram.total)


Row = Sample | HistogramSample
AnyReason = TypeVar("AnyReason", bound=StrEnum)


def _gauge(name: str, text: str) -> Family:
    return Family(name, "gauge", text)


def _counter(name: str, text: str) -> Family:
    return Family(name, "counter", text)


def _histogram(name: str, text: str) -> Family:
    return Family(name, "histogram", text)


BUILD_INFO = _gauge("feedd_build_info", "Always 1; the version is in its label.")
SOURCE_ACTIVE = _gauge("feedd_source_active", "1 for the source that market data comes from.")
KILL_SWITCH = _gauge("feedd_kill_switch", "1 while FLAG_TRADING_HALTED halts all symbols.")
CONNECT_BUDGET = _gauge(
    "feedd_connect_budget_remaining", "Connection attempts left in the five-minute budget."
)
CLOCK_OFFSET = _gauge("feedd_clock_offset_seconds", "The venue's clock minus this host's wall clock.")
CLOCK_ERROR = _gauge(
    "feedd_clock_offset_error_seconds",
    "Bound of the clock offset's error, which grows with age; +Inf if never measured.",
)
CLOCK_SYNC = _gauge(
    "feedd_clock_last_sync_timestamp_seconds", "When the clock offset was last measured; 0 if never."
)
RELOAD_SUCCESSFUL = _gauge(
    "feedd_config_last_reload_successful", "1 if the env-file could be used when last read."
)
RELOAD_TIME = _gauge(
    "feedd_config_last_reload_success_timestamp_seconds", "When the env-file was last read with success."
)
CONSUMERS = _gauge("feedd_consumers", "Consumers connected over WebSocket.")
CONSUMER_DROPPED = _counter(
    "feedd_consumer_messages_dropped_total", "Messages that consumers were let go without having been sent."
)
CONSUMER_DISCONNECTS = _counter("feedd_consumer_disconnects_total", "Consumers gone, by reason.")
HTTP_REJECTIONS = _counter(
    "feedd_http_rejections_total", "Connections and requests turned away at feedd's own HTTP side, by reason."
)
PAGER_POSTS = _counter("feedd_pager_posts_total", "Posts of halts that Alertmanager has taken.")
PAGER_FAILURES = _counter("feedd_pager_failures_total", "Posts of halts that Alertmanager has not taken.")
LOOP_LAG = _histogram("feedd_event_loop_lag_seconds", "How late the event loop runs what was due.")

CONNECTED = _gauge("feedd_feed_connected", "1 while the symbol has an open connection.")
STALENESS = _gauge(
    "feedd_feed_staleness_seconds", "Age of the newest market message; since the start where there was none."
)
STALE_AFTER = _gauge("feedd_stale_after_seconds", "Age at which the symbol's data is stale.")
LAST_MESSAGE = _gauge(
    "feedd_feed_last_message_timestamp_seconds", "When the newest market message came; 0 if never."
)
STREAM_LAST_MESSAGE = _gauge(
    "feedd_stream_last_message_timestamp_seconds", "When the stream's newest message came; 0 if never."
)
MESSAGES = _counter("feedd_messages_total", "Messages handed on.")
INVALID = _counter("feedd_invalid_messages_total", "Frames that were no message to trust, by reason.")
UNKNOWN_FIELDS = _counter("feedd_unknown_fields_total", "Fields in trusted messages that feedd doesn't know.")
DISCARDED = _counter(
    "feedd_discarded_messages_total", "Messages that came while the symbol was being rebuilt after a bug."
)
DUPLICATES = _counter(
    "feedd_duplicate_messages_total",
    "Repetitions that nothing explains; not handed on.",
)
COPIES = _counter(
    "feedd_redundant_messages_total", "Second copies while two connections delivered; not handed on."
)
GAPS = _counter("feedd_gaps_total", "Holes in the stream's ids.")
USUAL_GAP = _gauge(
    "feedd_stream_usual_gap_seconds", "Mean time between two messages of the stream; 0 before it is known."
)
MUTES = _counter(
    "feedd_stream_mutes_total", "How often the stream went mute while others of its symbol spoke."
)
MISSED = _counter("feedd_missed_messages_total", "Ids that were in the holes, less what was backfilled.")
BACKFILLED = _counter("feedd_backfilled_messages_total", "Messages that were missed and fetched later.")
CONNECTS = _counter("feedd_connects_total", "Handshakes that succeeded.")
CONNECT_FAILURES = _counter("feedd_connect_failures_total", "Attempts to connect that failed, by reason.")
DISCONNECTS = _counter("feedd_disconnects_total", "Open connections that ended, by reason.")
BACKOFF = _gauge(
    "feedd_connect_backoff_seconds", "How long the next attempt to connect is put off; 0 if it isn't."
)
EXCHANGE_LATENCY = _histogram(
    "feedd_exchange_latency_seconds",
    "From the event's time at the exchange to the frame's reading, clocks corrected.",
)
PROCESSING_LATENCY = _histogram(
    "feedd_processing_latency_seconds", "From the frame's reading to its handing on to every output."
)
TOTAL_LATENCY = _histogram(
    "feedd_total_latency_seconds", "From the event's time at the exchange to the message's handing on."
)
NEGATIVE_LATENCY = _counter(
    "feedd_negative_latency_total",
    "Messages from the future: a clock is wrong. Zero latency if within the clock's error, else none at all.",
)
HALTED = _gauge("feedd_trading_halted", "1 while trading in the symbol is halted.")
HALT_REASON = _gauge("feedd_halt_reason_active", "1 while the reason halts trading in the symbol.")
HALTS = _counter(
    "feedd_trading_halts_total", "How often the reason began to halt trading; starting never counts."
)


def _counts_loss(lane: Lane) -> bool:
    return lane.stream.kind.counts_loss


def _has_history(lane: Lane) -> bool:
    return lane.stream.kind.has_history


def _of_process(desk: Desk) -> Iterator[tuple[Family, list[Row]]]:
    consumers, clock = desk.consumers, desk.clock
    yield BUILD_INFO, [_sample(BUILD_INFO, f'version="{__version__}"', lambda _: 1)]
    yield (
        SOURCE_ACTIVE,
        [_sample(SOURCE_ACTIVE, f'source="{source}"', _is_source(desk, source)) for source in Source],
    )
    yield KILL_SWITCH, [_sample(KILL_SWITCH, "", lambda _: desk.kill_switch)]
    yield (
        CONNECT_BUDGET,
        [_sample(CONNECT_BUDGET, "", lambda now: desk.connect_budget.remaining(now.monotonic))],
    )
    yield (
        CLOCK_OFFSET,
        [_sample(CLOCK_OFFSET, "", lambda now: clock.offset_from_wall(now.monotonic, now.wall))],
    )
    yield CLOCK_ERROR, [_sample(CLOCK_ERROR, "", lambda now: clock.error_at(now.monotonic))]
    yield CLOCK_SYNC, [_sample(CLOCK_SYNC, "", lambda now: now.timestamp(clock.synced_at))]
    yield RELOAD_SUCCESSFUL, [_sample(RELOAD_SUCCESSFUL, "", lambda _: desk.last_reload_successful)]
    yield RELOAD_TIME, [_sample(RELOAD_TIME, "", lambda now: now.timestamp(desk.last_reload_success_at))]
    yield CONSUMERS, [_sample(CONSUMERS, "", lambda _: consumers.connected)]
    yield CONSUMER_DROPPED, [_sample(CONSUMER_DROPPED, "", lambda _: consumers.messages_dropped)]
    yield (
        CONSUMER_DISCONNECTS,
        _by_reason(CONSUMER_DISCONNECTS, "", consumers.disconnects, ConsumerDisconnect),
    )
    yield HTTP_REJECTIONS, _by_reason(HTTP_REJECTIONS, "", desk.rejections, Rejection)
    yield PAGER_POSTS, [_sample(PAGER_POSTS, "", lambda _: desk.pager.posts)]
    yield PAGER_FAILURES, [_sample(PAGER_FAILURES, "", lambda _: desk.pager.failures)]
    yield LOOP_LAG, [HistogramSample(LOOP_LAG, desk.event_loop_lag)]


Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SymbolMetric:
    """A metric that every symbol has: one symbol's lines but for their values, and how those are read."""

    family: Family
    lines: Callable[[Session], str]
    """The lines, with a place for each value."""
    values: Callable[[Session, Moment], Values]


def _single(family: Family, read: Callable[[Session, Moment], float]) -> SymbolMetric:
    return SymbolMetric(
        family,
        lambda session: _line(family, _symbol(session)),
        lambda session, now: (read(session, now),),
    )


def _per_reason(
    family: Family, reasons: Iterable[StrEnum], values: Callable[[Session], Iterable[int]]
) -> SymbolMetric:
    return SymbolMetric(
        family,
        lambda session: "".join(
            _line(family, _symbol(session, f'reason="{_escaped(reason)}"')) for reason in reasons
        ),
        lambda session, _: tuple(values(session)),
    )


def _per_stream(
    family: Family, read: Callable[[Lane, Moment], float], has: Callable[[Lane], bool] | None = None
) -> SymbolMetric:
    def lanes(session: Session) -> Iterable[Lane]:
        lanes = session.lanes.values()
        return lanes if has is None else filter(has, lanes)

    return SymbolMetric(
        family,
        lambda session: "".join(
            _line(family, _symbol(session, f'stream="{_escaped(lane.stream.name)}"'))
            for lane in lanes(session)
        ),
        lambda session, now: tuple([read(lane, now) for lane in lanes(session)]),
    )


def _timed(family: Family, histogram_of: Callable[[Session], Histogram]) -> SymbolMetric:
    return SymbolMetric(
        family,
        lambda session: histogram_lines(family, _symbol(session), histogram_of(session)),
        lambda session, _: histogram_values(histogram_of(session)),
    )


def _symbol(session: Session, more: str = "") -> str:
    label = f'symbol="{_escaped(session.symbol)}"'
    return (f"{label},{more}" if more else label).replace("%", "%%")


def _active(gate: Gate) -> Iterable[int]:
    return [int(reason in gate.active) for reason in GATED] if gate.active else _NONE_ACTIVE


def _line(family: Family, labels: str) -> str:
    return f"{family.name}{{{labels}}} %s\n"


_NONE_ACTIVE: Final = (0,) * len(GATED)
SYMBOL_METRICS: Final = (
    _single(CONNECTED, lambda session, _: int(session.is_connected)),
    _single(STALENESS, lambda session, now: session.freshness.age(now.monotonic)),
    _single(STALE_AFTER, lambda session, _: session.freshness.limit),
    _single(LAST_MESSAGE, lambda session, now: now.timestamp(session.freshness.last_at)),
    _per_stream(STREAM_LAST_MESSAGE, lambda lane, now: now.timestamp(lane.last_at)),
    _per_stream(MESSAGES, lambda lane, _: lane.messages),
    _per_stream(DUPLICATES, lambda lane, _: lane.sequence.duplicates),
    _per_stream(COPIES, lambda lane, _: lane.sequence.copies),
    _per_stream(GAPS, lambda lane, _: lane.sequence.gaps, _counts_loss),
    _per_stream(USUAL_GAP, lambda lane, _: lane.rhythm.usual_gap or 0.0),
    _per_stream(MUTES, lambda lane, _: lane.rhythm.mutes),
    _per_stream(MISSED, lambda lane, _: lane.sequence.missed, _counts_loss),
    _per_stream(BACKFILLED, lambda lane, _: lane.sequence.missing.backfilled, _has_history),
    _per_reason(INVALID, InvalidReason, lambda session: session.counts.invalid.values()),
    _single(UNKNOWN_FIELDS, lambda session, _: session.counts.unknown_fields),
    _single(DISCARDED, lambda session, _: session.counts.discarded),
    _single(CONNECTS, lambda session, _: session.counts.connects),
    _per_reason(CONNECT_FAILURES, ConnectFailure, lambda session: session.counts.connect_failures.values()),
    _per_reason(DISCONNECTS, DisconnectReason, lambda session: session.counts.disconnects.values()),
    _single(BACKOFF, lambda session, _: session.backoff_seconds),
    _timed(EXCHANGE_LATENCY, lambda session: session.exchange_latency),
    _timed(PROCESSING_LATENCY, lambda session: session.processing_latency),
    _timed(TOTAL_LATENCY, lambda session: session.total_latency),
    _single(NEGATIVE_LATENCY, lambda session, _: session.counts.negative_latency),
    _single(HALTED, lambda session, _: int(session.gate.halted)),
    _per_reason(HALT_REASON, GATED, lambda session: _active(session.gate)),
    _per_reason(HALTS, GATED, lambda session: session.gate.halts.values()),
)


class MetricsPage:
    """The page at `/metrics`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._process_rows = dict(_of_process(desk))
        self._lines: dict[Family, dict[Session, str]] = {metric.family: {} for metric in SYMBOL_METRICS}
        """Made when a symbol is first written: what never changes of its lines."""
        self._lanes: dict[Session, int] = {}
        """How many lanes each symbol had when its lines were made."""
        self._interpreter = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._interpreter)

    def pieces(self, text_format: Format, now: Callable[[], Moment] = Moment.now) -> Iterator[str]:
        """Write the page piece by piece. `now` is asked for each: time passes between."""
        yield self._process_piece(text_format, now())
        sessions = tuple(self._desk.sessions.values())
        self._follow(sessions)
        for metric in SYMBOL_METRICS:
            yield from self._symbol_pieces(metric, sessions, text_format, now)
        yield self._interpreter_page(text_format)

    def _process_piece(self, text_format: Format, moment: Moment) -> str:
        return "".join(
            family.header(text_format) + "".join(row.write(moment) for row in rows)
            for family, rows in self._process_rows.items()
        )

    def _symbol_pieces(
        self,
        metric: SymbolMetric,
        sessions: Sequence[Session],
        text_format: Format,
        now: Callable[[], Moment],
    ) -> Iterator[str]:
        made, values = self._lines[metric.family], metric.values
        written, count, moment = [metric.family.header(text_format)], 0, now()
        for session in sessions:
            lines = made.get(session)
            if lines is None:
                lines = made[session] = metric.lines(session)
            read = values(session, moment)
            written.append(lines % read)
            count += len(read)
            if count >= LINES_IN_A_PIECE:
                yield "".join(written)
                written, count, moment = [], 0, now()
        yield "".join(written)

    def _follow(self, sessions: Sequence[Session]) -> None:
        """Forget the lines of symbols that are gone, and of those that have got other streams."""
        lanes = {session: len(session.lanes) for session in sessions}
        if lanes == self._lanes:
            return
        for session, count in self._lanes.items():
            if lanes.get(session) != count:
                for made in self._lines.values():
                    made.pop(session, None)
        self._lanes = lanes

    def _interpreter_page(self, text_format: Format) -> str:
        if text_format is Format.OPEN_METRICS:
            return str(openmetrics.generate_latest(self._interpreter), "utf-8")  # type: ignore[no-untyped-call]  # theirs
        return classic.generate_latest(self._interpreter).decode()


def _sample(family: Family, labels: str, read: Read) -> Sample:
    return Sample(f"{family.name}{{{labels}}} " if labels else f"{family.name} ", read)


def _by_reason(
    family: Family, labels: str, counts: Mapping[AnyReason, int], reasons: Iterable[AnyReason]
) -> list[Row]:
    comma = f"{labels}," if labels else ""
    return [_sample(family, f'{comma}reason="{reason}"', _count(counts, reason)) for reason in reasons]


def _count(counts: Mapping[AnyReason, int], reason: AnyReason) -> Read:
    return lambda _: counts[reason]


def _is_source(desk: Desk, source: Source) -> Read:
    return lambda _: desk.source is source


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if isinstance(value, int) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
