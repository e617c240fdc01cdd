"""The daemon's state as what JSON can hold: the answers of `/gate`, `/gate/events` and `/status`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from feedd._version import __version__
from feedd.config.venue_choice import venue_for
from feedd.core.daemon_state import DaemonState
from feedd.core.feed_health import standing
from feedd.core.gate import GateChange
from feedd.core.histogram import Histogram
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.model import Reason, Source
from feedd.native import is_native
from feedd.outputs.clock_reading import ClockReading

_NO_CONSUMERS: Final[Mapping[str, Any]] = MappingProxyType(
    {"connected": 0, "messages_dropped": 0, "disconnects": {}, "present": []}
)
_NO_OUTPUTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def rfc3339(wall: float) -> str:
    """Return seconds since the epoch as UTC text, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reasons_for(state: DaemonState, reasons: tuple[Reason, ...], allow_static: bool) -> tuple[Reason, ...]:
    """Return the reasons that hold for who asks: static data is no data to who did not ask for it."""
    if state.source is Source.STATIC and not allow_static:
        return (*reasons, Reason.STATIC_SOURCE)
    return reasons


def gate_of_symbol(
    state: DaemonState, symbol_state: SymbolState, allow_static: bool, now: ClockReading
) -> dict[str, Any]:
    """Return one symbol's gate: halted, reasons, since."""
    reasons = reasons_for(state, symbol_state.gate.reasons, allow_static)
    since = rfc3339(now.timestamp(symbol_state.gate.since))
    return {"halted": bool(reasons), "reasons": reasons, "since": since}


def gates(state: DaemonState, allow_static: bool, now: ClockReading) -> dict[str, Any]:
    """Return the gates of all symbols; halted as a whole if any of them is, since the last of these began."""
    symbols = {
        name: gate_of_symbol(state, symbol_state, allow_static, now)
        for name, symbol_state in state.symbols.items()
    }
    halted = any(symbol["halted"] for symbol in symbols.values())
    reasons = tuple(
        reason for reason in Reason if any(reason in symbol["reasons"] for symbol in symbols.values())
    )
    same = [symbol["since"] for symbol in symbols.values() if symbol["halted"] == halted]
    # Halted since the first of those that are; open since the last one opened.
    since = (min(same) if halted else max(same)) if same else rfc3339(now.wall)
    return {"halted": halted, "source": state.source, "reasons": reasons, "since": since, "symbols": symbols}


def state_event(state: DaemonState, allow_static: bool, now: ClockReading) -> dict[str, Any]:
    """Return what a consumer of gate events is told first, and when symbols or the source have changed."""
    symbols = gates(state, allow_static, now)["symbols"]
    return {"type": "state", "source": state.source, "at": rfc3339(now.wall), "symbols": symbols}


def gate_event(
    state: DaemonState, symbol: str, change: GateChange, allow_static: bool, now: ClockReading
) -> dict[str, Any]:
    """Return one change of one gate."""
    reasons = reasons_for(state, change.reasons, allow_static)
    return {
        "type": "gate",
        "symbol": symbol,
        "halted": bool(reasons),
        "reasons": reasons,
        "added": change.added,
        "removed": change.removed,
        "at": rfc3339(now.timestamp(change.at)),
    }


def heartbeat_event(state: DaemonState, now: ClockReading) -> dict[str, Any]:
    """Return the sign of life. Its uptime, which no clock's jump touches, shows if it was read late."""
    uptime = round(now.monotonic - state.started_at, 3)
    return {"type": "heartbeat", "at": rfc3339(now.wall), "uptime_seconds": uptime}


def status(
    state: DaemonState,
    now: ClockReading,
    consumers: Mapping[str, Any] = _NO_CONSUMERS,
    outputs: Mapping[str, Mapping[str, Any]] = _NO_OUTPUTS,
) -> dict[str, Any]:
    """Return all that a person asks of a running daemon. Durations are seconds.

    Args:
        consumers: what those who serve consumers say of them.
        outputs: what the outputs say of themselves, by name.
    """
    found = {
        "version": __version__,
        "native": is_native(),
        "source": state.source,
        "uptime_seconds": round(now.monotonic - state.started_at, 3),
        "flags": {
            "realtime": state.source is Source.REALTIME,
            "trading_halted": state.kill_switch,
            "readable": not state.flags_unreadable,
        },
        "venue": state.settings.venue,
        "endpoints": _endpoints(state),
        "exchange_status_seconds": state.settings.exchange_status_seconds,
        "ready": not state.unready(),
        "clock": _clock(state, now),
        "event_loop_lag_seconds": _quantiles(state.event_loop_lag),
        "connect_budget_remaining": state.connect_budget.remaining(now.monotonic),
        "consumers": {**consumers},
        "symbols": {name: _symbol(state, symbol_state, now) for name, symbol_state in state.symbols.items()},
    }
    return found | {"outputs": outputs} if outputs else found


def _endpoints(state: DaemonState) -> dict[str, Any] | None:
    """Return where live data comes from; None while it doesn't."""
    if state.source is not Source.REALTIME:
        return None
    settings = state.settings
    venue = venue_for(settings)
    return {"ws_urls": venue.ws_urls, "rest_url": venue.rest_url}


def _clock(state: DaemonState, now: ClockReading) -> dict[str, Any]:
    clock = state.clock
    error = clock.error_at(now.monotonic)
    return {
        "offset_seconds": round(clock.offset_from_wall(now.monotonic, now.wall), 6),
        "error_seconds": None if error == math.inf else round(error, 6),
        "synced_at": None if clock.synced_at is None else rfc3339(now.timestamp(clock.synced_at)),
    }


def _symbol(state: DaemonState, symbol_state: SymbolState, now: ClockReading) -> dict[str, Any]:
    counts = symbol_state.counts
    word, why = standing(symbol_state, now.monotonic)
    return {
        **gate_of_symbol(state, symbol_state, True, now),
        "standing": word,
        "why": why,
        "limits": _limits(state, symbol_state),
        "connected": symbol_state.is_connected,
        "connections": symbol_state.open_connections,
        "staleness_seconds": round(symbol_state.age(now.monotonic), 3),
        "backoff_seconds": round(symbol_state.backoff_seconds, 3),
        "connects": counts.connects,
        "connect_failures": _nonzero(counts.connect_failures),
        "disconnects": _nonzero(counts.disconnects),
        "invalid": _nonzero(counts.invalid),
        "unknown_fields": counts.unknown_fields,
        "discarded": counts.discarded,
        "negative_latency": counts.negative_latency,
        "halts": _nonzero(symbol_state.gate.halts),
        "latency_seconds": {
            "exchange": _quantiles(symbol_state.exchange_latency),
            "processing": _quantiles(symbol_state.processing_latency),
            "total": _quantiles(symbol_state.total_latency),
        },
        "streams": {
            stream_state.stream.name: _stream_state(stream_state, now)
            for stream_state in symbol_state.streams.values()
        },
    }


def _limits(state: DaemonState, symbol_state: SymbolState) -> dict[str, Any]:
    limits = state.limits(symbol_state.symbol)
    return {
        "stale_after_seconds": limits.stale_after,
        "latency_seconds": limits.latency,
        "resume_after_seconds": limits.resume_after,
        "resume": limits.resume,
    }


def _stream_state(stream_state: StreamState, now: ClockReading) -> dict[str, Any]:
    sequence = stream_state.sequence
    return {
        "messages": stream_state.messages,
        "age_seconds": None
        if stream_state.last_at is None
        else round(now.monotonic - stream_state.last_at, 3),
        "duplicates": sequence.duplicates,
        "copies": sequence.copies,
        "usual_gap_seconds": _rounded(stream_state.mute_detector.mean_interval),
        "mute": stream_state.mute_detector.is_mute,
        "gaps": sequence.gaps,
        "missed": sequence.missed,
        "backfilled": sequence.ledger.backfilled,
        "pending": sequence.ledger.pending.ids,
        "resets": sequence.resets,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    found = {name: histogram.quantile(share) for name, share in _QUANTILES.items()}
    return {name: _rounded(value) for name, value in found.items()}


def _nonzero(counts: dict[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in counts.items() if count}
