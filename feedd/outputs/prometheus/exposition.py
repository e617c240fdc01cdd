"""Every metric of feedd, written as text straight from the plain numbers of the sessions.

Nothing is metered per message. A scrape of a thousand symbols is some hundred thousand lines: they are
written in pieces, between which the event loop can serve messages. What never changes of a symbol's lines is
kept as one text with places for the values, so that a line costs little more than printing its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import exposition as classic
from prometheus_client.openmetrics import exposition as openmetrics

from feedd._version import __version__
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GATED, Gate
from feedd.core.histogram import Histogram
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.model import (
    ConnectFailure,
    DisconnectReason,
    InvalidReason,
    Source,
)
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.catalogue import Family, Format
from feedd.outputs.prometheus.samples import (
    HistogramSample,
    Metric,
    Read,
    histogram_lines,
    histogram_values,
    labelled,
    single,
)

LINES_IN_A_PIECE: Final = 500
"""Writing this many takes less than a millisecond: a message that comes meanwhile waits no longer."""


def _counts_loss(stream_state: StreamState) -> bool:
    return stream_state.stream.continuity.counts_loss


def _has_history(stream_state: StreamState) -> bool:
    return stream_state.stream.has_history


def _of_process(state: DaemonState, of_outputs: Iterable[Metric]) -> Iterator[Metric]:
    clock = state.clock
    yield labelled(catalogue.BUILD_INFO, [(f'version="{__version__}"', lambda _: 1)])
    yield labelled(
        catalogue.SOURCE_ACTIVE, [(f'source="{source}"', _is_source(state, source)) for source in Source]
    )
    yield single(catalogue.KILL_SWITCH, lambda _: state.kill_switch)
    yield single(catalogue.CONNECT_BUDGET, lambda now: state.connect_budget.remaining(now.monotonic))
    yield single(catalogue.CLOCK_OFFSET, lambda now: clock.offset_from_wall(now.monotonic, now.wall))
    yield single(catalogue.CLOCK_ERROR, lambda now: clock.error_at(now.monotonic))
    yield single(catalogue.CLOCK_SYNC, lambda now: now.timestamp(clock.synced_at))
    yield single(catalogue.RELOAD_SUCCESSFUL, lambda _: state.last_reload_successful)
    yield single(catalogue.RELOAD_TIME, lambda now: now.timestamp(state.last_reload_success_at))
    yield from of_outputs
    yield catalogue.LOOP_LAG, [HistogramSample(catalogue.LOOP_LAG, state.event_loop_lag)]


Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SymbolMetric:
    """A metric that every symbol has: one symbol's lines but for their values, and how those are read."""

    family: Family
    lines: Callable[[SymbolState], str]
    """The lines, with a place for each value."""
    values: Callable[[SymbolState, ClockReading], Values]


def _of_symbol(family: Family, read: Callable[[SymbolState, ClockReading], float]) -> SymbolMetric:
    return SymbolMetric(
        family,
        lambda symbol_state: _line(family, _symbol(symbol_state)),
        lambda symbol_state, now: (read(symbol_state, now),),
    )


def _per_reason(
    family: Family, reasons: Iterable[StrEnum], values: Callable[[SymbolState], Iterable[int]]
) -> SymbolMetric:
    return SymbolMetric(
        family,
        lambda symbol_state: "".join(
            _line(family, _symbol(symbol_state, f'reason="{_escaped(reason)}"')) for reason in reasons
        ),
        lambda symbol_state, _: tuple(values(symbol_state)),
    )


def _per_stream(
    family: Family,
    read: Callable[[StreamState, ClockReading], float],
    has: Callable[[StreamState], bool] | None = None,
) -> SymbolMetric:
    def stream_states(symbol_state: SymbolState) -> Iterable[StreamState]:
        stream_states = symbol_state.streams.values()
        return stream_states if has is None else filter(has, stream_states)

    return SymbolMetric(
        family,
        lambda symbol_state: "".join(
            _line(family, _symbol(symbol_state, f'stream="{_escaped(stream_state.stream.name)}"'))
            for stream_state in stream_states(symbol_state)
        ),
        lambda symbol_state, now: tuple(
            [read(stream_state, now) for stream_state in stream_states(symbol_state)]
        ),
    )


def _timed(family: Family, histogram_of: Callable[[SymbolState], Histogram]) -> SymbolMetric:
    return SymbolMetric(
        family,
        lambda symbol_state: histogram_lines(family, _symbol(symbol_state), histogram_of(symbol_state)),
        lambda symbol_state, _: histogram_values(histogram_of(symbol_state)),
    )


def _symbol(symbol_state: SymbolState, more: str = "") -> str:
    label = f'symbol="{_escaped(symbol_state.symbol)}"'
    return (f"{label},{more}" if more else label).replace("%", "%%")


def _active(gate: Gate) -> Iterable[int]:
    return [int(reason in gate.active) for reason in GATED] if gate.active else _NONE_ACTIVE


def _line(family: Family, labels: str) -> str:
    return f"{family.name}{{{labels}}} %s\n"


_NONE_ACTIVE: Final = (0,) * len(GATED)
SYMBOL_METRICS: Final = (
    _of_symbol(catalogue.CONNECTED, lambda symbol_state, _: int(symbol_state.is_connected)),
    _of_symbol(catalogue.STALENESS, lambda symbol_state, now: symbol_state.age(now.monotonic)),
    _of_symbol(catalogue.STALE_AFTER, lambda symbol_state, _: symbol_state.stale_after),
    _of_symbol(catalogue.LAST_MESSAGE, lambda symbol_state, now: now.timestamp(symbol_state.last_message_at)),
    _per_stream(catalogue.STREAM_LAST_MESSAGE, lambda stream_state, now: now.timestamp(stream_state.last_at)),
    _per_stream(catalogue.MESSAGES, lambda stream_state, _: stream_state.messages),
    _per_stream(catalogue.DUPLICATES, lambda stream_state, _: stream_state.sequence.duplicates),
    _per_stream(catalogue.COPIES, lambda stream_state, _: stream_state.sequence.copies),
    _per_stream(catalogue.GAPS, lambda stream_state, _: stream_state.sequence.gaps, _counts_loss),
    _per_stream(catalogue.USUAL_GAP, lambda stream_state, _: stream_state.mute_detector.mean_interval or 0.0),
    _per_stream(catalogue.MUTES, lambda stream_state, _: stream_state.mute_detector.mutes),
    _per_stream(catalogue.MISSED, lambda stream_state, _: stream_state.sequence.missed, _counts_loss),
    _per_stream(
        catalogue.BACKFILLED, lambda stream_state, _: stream_state.sequence.ledger.backfilled, _has_history
    ),
    _per_reason(catalogue.INVALID, InvalidReason, lambda symbol_state: symbol_state.counts.invalid.values()),
    _of_symbol(catalogue.UNKNOWN_FIELDS, lambda symbol_state, _: symbol_state.counts.unknown_fields),
    _of_symbol(catalogue.DISCARDED, lambda symbol_state, _: symbol_state.counts.discarded),
    _of_symbol(catalogue.CONNECTS, lambda symbol_state, _: symbol_state.counts.connects),
    _per_reason(
        catalogue.CONNECT_FAILURES,
        ConnectFailure,
        lambda symbol_state: symbol_state.counts.connect_failures.values(),
    ),
    _per_reason(
        catalogue.DISCONNECTS, DisconnectReason, lambda symbol_state: symbol_state.counts.disconnects.values()
    ),
    _of_symbol(catalogue.BACKOFF, lambda symbol_state, _: symbol_state.backoff_seconds),
    _timed(catalogue.EXCHANGE_LATENCY, lambda symbol_state: symbol_state.exchange_latency),
    _timed(catalogue.PROCESSING_LATENCY, lambda symbol_state: symbol_state.processing_latency),
    _timed(catalogue.TOTAL_LATENCY, lambda symbol_state: symbol_state.total_latency),
    _of_symbol(catalogue.NEGATIVE_LATENCY, lambda symbol_state, _: symbol_state.counts.negative_latency),
    _of_symbol(catalogue.HALTED, lambda symbol_state, _: int(symbol_state.gate.halted)),
    _per_reason(catalogue.HALT_REASON, GATED, lambda symbol_state: _active(symbol_state.gate)),
    _per_reason(catalogue.HALTS, GATED, lambda symbol_state: symbol_state.gate.halts.values()),
)


class MetricsPage:
    """The page at `/metrics`."""

    def __init__(self, state: DaemonState, of_outputs: Iterable[Metric] = ()) -> None:
        """Prepare the page.

        Args:
            of_outputs: the metrics that the outputs and the HTTP side count themselves.
        """
        self._state = state
        self._process_rows = dict(_of_process(state, of_outputs))
        self._lines: dict[Family, dict[SymbolState, str]] = {metric.family: {} for metric in SYMBOL_METRICS}
        """Made when a symbol is first written: what never changes of its lines."""
        self._stream_states: dict[SymbolState, int] = {}
        """How many streams each symbol had when its lines were made."""
        self._interpreter = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._interpreter)

    def pieces(
        self, text_format: Format, now: Callable[[], ClockReading] = ClockReading.now
    ) -> Iterator[str]:
        """Write the page piece by piece. `now` is asked for each: time passes between."""
        yield self._process_piece(text_format, now())
        symbol_states = tuple(self._state.symbols.values())
        self._track_symbols(symbol_states)
        for metric in SYMBOL_METRICS:
            yield from self._symbol_pieces(metric, symbol_states, text_format, now)
        yield self._interpreter_page(text_format)

    def _process_piece(self, text_format: Format, reading: ClockReading) -> str:
        return "".join(
            family.header(text_format) + "".join(row.write(reading) for row in rows)
            for family, rows in self._process_rows.items()
        )

    def _symbol_pieces(
        self,
        metric: SymbolMetric,
        symbol_states: Sequence[SymbolState],
        text_format: Format,
        now: Callable[[], ClockReading],
    ) -> Iterator[str]:
        made, values = self._lines[metric.family], metric.values
        written, count, reading = [metric.family.header(text_format)], 0, now()
        for symbol_state in symbol_states:
            lines = made.get(symbol_state)
            if lines is None:
                lines = made[symbol_state] = metric.lines(symbol_state)
            read = values(symbol_state, reading)
            written.append(lines % read)
            count += len(read)
            if count >= LINES_IN_A_PIECE:
                yield "".join(written)
                written, count, reading = [], 0, now()
        yield "".join(written)

    def _track_symbols(self, symbol_states: Sequence[SymbolState]) -> None:
        """Forget the lines of symbols that are gone, and of those that have got other streams."""
        stream_states = {symbol_state: len(symbol_state.streams) for symbol_state in symbol_states}
        if stream_states == self._stream_states:
            return
        for symbol_state, count in self._stream_states.items():
            if stream_states.get(symbol_state) != count:
                for made in self._lines.values():
                    made.pop(symbol_state, None)
        self._stream_states = stream_states

    def _interpreter_page(self, text_format: Format) -> str:
        if text_format is Format.OPEN_METRICS:
            return str(openmetrics.generate_latest(self._interpreter), "utf-8")  # type: ignore[no-untyped-call]  # theirs
        return classic.generate_latest(self._interpreter).decode()


def _is_source(state: DaemonState, source: Source) -> Read:
    return lambda _: state.source is source


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
