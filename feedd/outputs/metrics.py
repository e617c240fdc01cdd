"""Every metric of feedd, written as text straight from the plain numbers of the sessions.

Nothing is metered per message. A scrape of a thousand symbols is some hundred thousand lines: they are
written in pieces, between which the event loop can serve messages, and what never changes of a line is kept
ready.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
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
    Reason,
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

    def __init__(self, name: str, labels: str, histogram: Histogram) -> None:
        comma = f"{labels}," if labels else ""
        bounds = (*histogram.bounds, math.inf)
        self._histogram = histogram
        self._buckets = [f'{name}_bucket{{{comma}le="{_number(bound)}"}} ' for bound in bounds]
        braces = f"{{{labels}}}" if labels else ""
        self._count = f"{name}_count{braces} "
        self._sum = f"{name}_sum{braces} "

    def write(self, moment: Moment) -> str:
        counts = list(accumulate(self._histogram.counts))
        buckets = "".join(f"{prefix}{count}\n" for prefix, count in zip(self._buckets, counts, strict=True))
        return f"{buckets}{self._count}{counts[-1]}\n{self._sum}{_number(self._histogram.total)}\n"


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

_GAPLESS_ONLY = (GAPS, MISSED)


def _has(lane: Lane, family: Family) -> bool:
    if family is BACKFILLED:
        return lane.stream.kind.has_history
    return family not in _GAPLESS_ONLY or lane.stream.kind.counts_loss


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
    yield LOOP_LAG, [HistogramSample(LOOP_LAG.name, "", desk.event_loop_lag)]


def _of_symbol(session: Session) -> Iterator[tuple[Family, list[Row]]]:
    symbol = f'symbol="{_escaped(session.symbol)}"'
    counts, gate, freshness = session.counts, session.gate, session.freshness
    yield CONNECTED, [_sample(CONNECTED, symbol, lambda _: session.is_connected)]
    yield STALENESS, [_sample(STALENESS, symbol, lambda now: freshness.age(now.monotonic))]
    yield STALE_AFTER, [_sample(STALE_AFTER, symbol, lambda _: freshness.limit)]
    yield LAST_MESSAGE, [_sample(LAST_MESSAGE, symbol, lambda now: now.timestamp(freshness.last_at))]
    for family, read in _LANE_FAMILIES:
        yield (
            family,
            [
                _sample(
                    family,
                    f'{symbol},stream="{lane.stream.name}"',
                    partial(read, lane),
                )
                for lane in session.lanes.values()
                if _has(lane, family)
            ],
        )
    yield INVALID, _by_reason(INVALID, symbol, counts.invalid, InvalidReason)
    yield UNKNOWN_FIELDS, [_sample(UNKNOWN_FIELDS, symbol, lambda _: counts.unknown_fields)]
    yield DISCARDED, [_sample(DISCARDED, symbol, lambda _: counts.discarded)]
    yield CONNECTS, [_sample(CONNECTS, symbol, lambda _: counts.connects)]
    yield CONNECT_FAILURES, _by_reason(CONNECT_FAILURES, symbol, counts.connect_failures, ConnectFailure)
    yield DISCONNECTS, _by_reason(DISCONNECTS, symbol, counts.disconnects, DisconnectReason)
    yield BACKOFF, [_sample(BACKOFF, symbol, lambda _: session.backoff_seconds)]
    yield EXCHANGE_LATENCY, [HistogramSample(EXCHANGE_LATENCY.name, symbol, session.exchange_latency)]
    yield PROCESSING_LATENCY, [HistogramSample(PROCESSING_LATENCY.name, symbol, session.processing_latency)]
    yield TOTAL_LATENCY, [HistogramSample(TOTAL_LATENCY.name, symbol, session.total_latency)]
    yield NEGATIVE_LATENCY, [_sample(NEGATIVE_LATENCY, symbol, lambda _: counts.negative_latency)]
    yield HALTED, [_sample(HALTED, symbol, lambda _: gate.halted)]
    yield (
        HALT_REASON,
        [_sample(HALT_REASON, f'{symbol},reason="{reason}"', _is_active(gate, reason)) for reason in GATED],
    )
    yield HALTS, _by_reason(HALTS, symbol, gate.halts, GATED)


_LANE_FAMILIES: Final[tuple[tuple[Family, Callable[[Lane, Moment], float]], ...]] = (
    (STREAM_LAST_MESSAGE, lambda lane, now: now.timestamp(lane.last_at)),
    (MESSAGES, lambda lane, _: lane.messages),
    (DUPLICATES, lambda lane, _: lane.sequence.duplicates),
    (COPIES, lambda lane, _: lane.sequence.copies),
    (GAPS, lambda lane, _: lane.sequence.gaps),
    (USUAL_GAP, lambda lane, _: lane.rhythm.usual_gap or 0.0),
    (MUTES, lambda lane, _: lane.rhythm.mutes),
    (MISSED, lambda lane, _: lane.sequence.missed),
    (BACKFILLED, lambda lane, _: lane.sequence.missing.backfilled),
)


class MetricsPage:
    """The page at `/metrics`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._process_rows = dict(_of_process(desk))
        self._symbol_rows: dict[Session, dict[Family, list[Row]]] = {}
        self._interpreter = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._interpreter)

    def pieces(self, text_format: Format, now: Callable[[], Moment] = Moment.now) -> Iterator[str]:
        """Write the page piece by piece, some of them empty. `now` is asked for each: time passes between."""
        yield from self._prepare()
        for family, rows in self._families():
            yield from _pieces(family.header(text_format), rows, now)
        yield self._interpreter_page(text_format)

    def _families(self) -> Iterator[tuple[Family, Iterable[Row]]]:
        yield from self._process_rows.items()
        per_symbol = list(self._symbol_rows.values())
        for family in next(iter(per_symbol), {}):
            yield family, (row for rows in per_symbol for row in rows[family])

    def _prepare(self) -> Iterator[str]:
        """Make the rows of symbols that are new, which takes longer than writing them."""
        known, rows = self._symbol_rows, {}
        for session in tuple(self._desk.sessions.values()):
            ready = self._still_right(session, known.get(session))
            rows[session] = ready or dict(_of_symbol(session))
            if ready is None:
                yield ""
        self._symbol_rows = rows

    def _still_right(
        self, session: Session, rows: dict[Family, list[Row]] | None
    ) -> dict[Family, list[Row]] | None:
        # Another source may have brought a session streams that it had not known.
        return rows if rows and len(rows[MESSAGES]) == len(session.lanes) else None

    def _interpreter_page(self, text_format: Format) -> str:
        if text_format is Format.OPEN_METRICS:
            return str(openmetrics.generate_latest(self._interpreter), "utf-8")  # type: ignore[no-untyped-call]  # theirs
        return classic.generate_latest(self._interpreter).decode()


def _pieces(header: str, rows: Iterable[Row], now: Callable[[], Moment]) -> Iterator[str]:
    moment, lines = now(), [header]
    for row in rows:
        lines.append(row.write(moment))
        if len(lines) >= LINES_IN_A_PIECE:
            yield "".join(lines)
            moment, lines = now(), []
    if lines:
        yield "".join(lines)


def _sample(family: Family, labels: str, read: Read) -> Sample:
    return Sample(f"{family.name}{{{labels}}} " if labels else f"{family.name} ", read)


def _by_reason(
    family: Family, labels: str, counts: Mapping[AnyReason, int], reasons: Iterable[AnyReason]
) -> list[Row]:
    comma = f"{labels}," if labels else ""
    return [_sample(family, f'{comma}reason="{reason}"', _count(counts, reason)) for reason in reasons]


def _count(counts: Mapping[AnyReason, int], reason: AnyReason) -> Read:
    return lambda _: counts[reason]


def _is_active(gate: Gate, reason: Reason) -> Read:
    return lambda _: reason in gate.active


def _is_source(desk: Desk, source: Source) -> Read:
    return lambda _: desk.source is source


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if isinstance(value, int) else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
