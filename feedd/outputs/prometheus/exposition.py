"""Every metric of feedd, written as text straight from the plain numbers of the sessions.

Nothing is metered per message. A scrape of a thousand symbols is some hundred thousand lines: they are
written in pieces, between which the event loop can serve messages. What never changes of a symbol's lines is
kept as one text with places for the values, so that a line costs little more than printing its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import exposition as classic
from prometheus_client.openmetrics import exposition as openmetrics

from feedd._version import __version__
from feedd.core.daemon_state import Desk
from feedd.core.gate import GATED, Gate
from feedd.core.histogram import Histogram
from feedd.core.symbol_state import Lane, Session
from feedd.model import (
    ConnectFailure,
    ConsumerDisconnect,
    DisconnectReason,
    InvalidReason,
    Rejection,
    Source,
)
from feedd.outputs.clock_reading import Moment
from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.catalogue import Family, Format

LINES_IN_A_PIECE: Final = 500
"""Writing this many takes less than a millisecond: a message that comes meanwhile waits no longer."""

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


def _counts_loss(lane: Lane) -> bool:
    return lane.stream.kind.counts_loss


def _has_history(lane: Lane) -> bool:
    return lane.stream.kind.has_history


def _of_process(desk: Desk) -> Iterator[tuple[Family, list[Row]]]:
    consumers, clock = desk.consumers, desk.clock
    yield catalogue.BUILD_INFO, [_sample(catalogue.BUILD_INFO, f'version="{__version__}"', lambda _: 1)]
    yield (
        catalogue.SOURCE_ACTIVE,
        [
            _sample(catalogue.SOURCE_ACTIVE, f'source="{source}"', _is_source(desk, source))
            for source in Source
        ],
    )
    yield _alone(catalogue.KILL_SWITCH, lambda _: desk.kill_switch)
    yield _alone(catalogue.CONNECT_BUDGET, lambda now: desk.connect_budget.remaining(now.monotonic))
    yield _alone(catalogue.CLOCK_OFFSET, lambda now: clock.offset_from_wall(now.monotonic, now.wall))
    yield _alone(catalogue.CLOCK_ERROR, lambda now: clock.error_at(now.monotonic))
    yield _alone(catalogue.CLOCK_SYNC, lambda now: now.timestamp(clock.synced_at))
    yield _alone(catalogue.RELOAD_SUCCESSFUL, lambda _: desk.last_reload_successful)
    yield _alone(catalogue.RELOAD_TIME, lambda now: now.timestamp(desk.last_reload_success_at))
    yield _alone(catalogue.CONSUMERS, lambda _: consumers.connected)
    yield _alone(catalogue.CONSUMER_DROPPED, lambda _: consumers.messages_dropped)
    yield (
        catalogue.CONSUMER_DISCONNECTS,
        _by_reason(catalogue.CONSUMER_DISCONNECTS, "", consumers.disconnects, ConsumerDisconnect),
    )
    yield catalogue.HTTP_REJECTIONS, _by_reason(catalogue.HTTP_REJECTIONS, "", desk.rejections, Rejection)
    yield _alone(catalogue.PAGER_POSTS, lambda _: desk.pager.posts)
    yield _alone(catalogue.PAGER_FAILURES, lambda _: desk.pager.failures)
    yield catalogue.LOOP_LAG, [HistogramSample(catalogue.LOOP_LAG, desk.event_loop_lag)]


def _alone(family: Family, read: Read) -> tuple[Family, list[Row]]:
    return family, [_sample(family, "", read)]


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
    _single(catalogue.CONNECTED, lambda session, _: int(session.is_connected)),
    _single(catalogue.STALENESS, lambda session, now: session.freshness.age(now.monotonic)),
    _single(catalogue.STALE_AFTER, lambda session, _: session.freshness.limit),
    _single(catalogue.LAST_MESSAGE, lambda session, now: now.timestamp(session.freshness.last_at)),
    _per_stream(catalogue.STREAM_LAST_MESSAGE, lambda lane, now: now.timestamp(lane.last_at)),
    _per_stream(catalogue.MESSAGES, lambda lane, _: lane.messages),
    _per_stream(catalogue.DUPLICATES, lambda lane, _: lane.sequence.duplicates),
    _per_stream(catalogue.COPIES, lambda lane, _: lane.sequence.copies),
    _per_stream(catalogue.GAPS, lambda lane, _: lane.sequence.gaps, _counts_loss),
    _per_stream(catalogue.USUAL_GAP, lambda lane, _: lane.rhythm.usual_gap or 0.0),
    _per_stream(catalogue.MUTES, lambda lane, _: lane.rhythm.mutes),
    _per_stream(catalogue.MISSED, lambda lane, _: lane.sequence.missed, _counts_loss),
    _per_stream(catalogue.BACKFILLED, lambda lane, _: lane.sequence.missing.backfilled, _has_history),
    _per_reason(catalogue.INVALID, InvalidReason, lambda session: session.counts.invalid.values()),
    _single(catalogue.UNKNOWN_FIELDS, lambda session, _: session.counts.unknown_fields),
    _single(catalogue.DISCARDED, lambda session, _: session.counts.discarded),
    _single(catalogue.CONNECTS, lambda session, _: session.counts.connects),
    _per_reason(
        catalogue.CONNECT_FAILURES, ConnectFailure, lambda session: session.counts.connect_failures.values()
    ),
    _per_reason(catalogue.DISCONNECTS, DisconnectReason, lambda session: session.counts.disconnects.values()),
    _single(catalogue.BACKOFF, lambda session, _: session.backoff_seconds),
    _timed(catalogue.EXCHANGE_LATENCY, lambda session: session.exchange_latency),
    _timed(catalogue.PROCESSING_LATENCY, lambda session: session.processing_latency),
    _timed(catalogue.TOTAL_LATENCY, lambda session: session.total_latency),
    _single(catalogue.NEGATIVE_LATENCY, lambda session, _: session.counts.negative_latency),
    _single(catalogue.HALTED, lambda session, _: int(session.gate.halted)),
    _per_reason(catalogue.HALT_REASON, GATED, lambda session: _active(session.gate)),
    _per_reason(catalogue.HALTS, GATED, lambda session: session.gate.halts.values()),
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
