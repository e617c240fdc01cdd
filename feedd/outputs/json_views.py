"""The desk's state as what JSON can hold: the answers of `/gate`, `/gate/events` and `/status`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from feedd._version import __version__
from feedd.core.daemon_state import Desk
from feedd.core.feed_health import standing
from feedd.core.gate import GateChange
from feedd.core.histogram import Histogram
from feedd.core.symbol_state import Lane, Session
from feedd.model import Reason, Source
from feedd.native import is_native
from feedd.outputs.clock_reading import Moment
from feedd.venues.binance.spot.endpoints import endpoints

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def rfc3339(wall: float) -> str:
    """Return seconds since the epoch as UTC text, to the millisecond."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def reasons_for(desk: Desk, reasons: tuple[Reason, ...], allow_static: bool) -> tuple[Reason, ...]:
    """Return the reasons that hold for who asks: static data is no data to who did not ask for it."""
    if desk.source is Source.STATIC and not allow_static:
        return (*reasons, Reason.STATIC_SOURCE)
    return reasons


def gate_of_symbol(desk: Desk, session: Session, allow_static: bool, now: Moment) -> dict[str, Any]:
    """Return one symbol's gate: halted, reasons, since."""
    reasons = reasons_for(desk, session.gate.reasons, allow_static)
    since = rfc3339(now.timestamp(session.gate.since))
    return {"halted": bool(reasons), "reasons": reasons, "since": since}


def gates(desk: Desk, allow_static: bool, now: Moment) -> dict[str, Any]:
    """Return the gates of all symbols; halted as a whole if any of them is, since the last of these began."""
    symbols = {
        name: gate_of_symbol(desk, session, allow_static, now) for name, session in desk.sessions.items()
    }
    halted = any(symbol["halted"] for symbol in symbols.values())
    reasons = tuple(
        reason for reason in Reason if any(reason in symbol["reasons"] for symbol in symbols.values())
    )
    same = [symbol["since"] for symbol in symbols.values() if symbol["halted"] == halted]
    # Halted since the first of those that are; open since the last one opened.
    since = (min(same) if halted else max(same)) if same else rfc3339(now.wall)
    return {"halted": halted, "source": desk.source, "reasons": reasons, "since": since, "symbols": symbols}


def state_event(desk: Desk, allow_static: bool, now: Moment) -> dict[str, Any]:
    """Return what a consumer of gate events is told first, and when symbols or the source have changed."""
    symbols = gates(desk, allow_static, now)["symbols"]
    return {"type": "state", "source": desk.source, "at": rfc3339(now.wall), "symbols": symbols}


def gate_event(
    desk: Desk, symbol: str, change: GateChange, allow_static: bool, now: Moment
) -> dict[str, Any]:
    """Return one change of one gate."""
    reasons = reasons_for(desk, change.reasons, allow_static)
    return {
        "type": "gate",
        "symbol": symbol,
        "halted": bool(reasons),
        "reasons": reasons,
        "added": change.added,
        "removed": change.removed,
        "at": rfc3339(now.timestamp(change.at)),
    }


def heartbeat_event(desk: Desk, now: Moment) -> dict[str, Any]:
    """Return the sign of life. Its uptime, which no clock's jump touches, shows if it was read late."""
    uptime = round(now.monotonic - desk.started_at, 3)
    return {"type": "heartbeat", "at": rfc3339(now.wall), "uptime_seconds": uptime}


def status(desk: Desk, now: Moment, consumers: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Return all that a person asks of a running daemon. Durations are seconds."""
    return {
        "version": __version__,
        "native": is_native(),
        "source": desk.source,
        "uptime_seconds": round(now.monotonic - desk.started_at, 3),
        "flags": {
            "realtime": desk.source is Source.REALTIME,
            "trading_halted": desk.kill_switch,
            "readable": not desk.flags_unreadable,
        },
        "venue": desk.settings.venue,
        "endpoints": _endpoints(desk),
        "exchange_status_seconds": desk.settings.exchange_status_seconds,
        "ready": not desk.unready(),
        "clock": _clock(desk, now),
        "event_loop_lag_seconds": _quantiles(desk.event_loop_lag),
        "connect_budget_remaining": desk.connect_budget.remaining(now.monotonic),
        "consumers": {
            "connected": desk.consumers.connected,
            "messages_dropped": desk.consumers.messages_dropped,
            "disconnects": _nonzero(desk.consumers.disconnects),
            "present": consumers,
        },
        "symbols": {name: _symbol(desk, session, now) for name, session in desk.sessions.items()},
    }


def _endpoints(desk: Desk) -> dict[str, Any] | None:
    """Return where live data comes from; None while it doesn't."""
    if desk.source is not Source.REALTIME:
        return None
    settings = desk.settings
    venue = endpoints(settings.venue, settings.ws_urls, settings.rest_url)
    return {"ws_urls": venue.ws_urls, "rest_url": venue.rest_url}


def _clock(desk: Desk, now: Moment) -> dict[str, Any]:
    clock = desk.clock
    error = clock.error_at(now.monotonic)
    return {
        "offset_seconds": round(clock.offset_from_wall(now.monotonic, now.wall), 6),
        "error_seconds": None if error == math.inf else round(error, 6),
        "synced_at": None if clock.synced_at is None else rfc3339(now.timestamp(clock.synced_at)),
    }


def _symbol(desk: Desk, session: Session, now: Moment) -> dict[str, Any]:
    counts = session.counts
    word, why = standing(session, now.monotonic)
    return {
        **gate_of_symbol(desk, session, True, now),
        "standing": word,
        "why": why,
        "limits": _limits(desk, session),
        "connected": session.is_connected,
        "connections": session.open_connections,
        "staleness_seconds": round(session.freshness.age(now.monotonic), 3),
        "backoff_seconds": round(session.backoff_seconds, 3),
        "connects": counts.connects,
        "connect_failures": _nonzero(counts.connect_failures),
        "disconnects": _nonzero(counts.disconnects),
        "invalid": _nonzero(counts.invalid),
        "unknown_fields": counts.unknown_fields,
        "discarded": counts.discarded,
        "negative_latency": counts.negative_latency,
        "halts": _nonzero(session.gate.halts),
        "latency_seconds": {
            "exchange": _quantiles(session.exchange_latency),
            "processing": _quantiles(session.processing_latency),
            "total": _quantiles(session.total_latency),
        },
        "streams": {lane.stream.name: _lane(lane, now) for lane in session.lanes.values()},
    }


def _limits(desk: Desk, session: Session) -> dict[str, Any]:
    limits = desk.limits(session.symbol)
    return {
        "stale_after_seconds": limits.stale_after,
        "latency_seconds": limits.latency,
        "resume_after_seconds": limits.resume_after,
        "resume": limits.resume,
    }


def _lane(lane: Lane, now: Moment) -> dict[str, Any]:
    sequence = lane.sequence
    return {
        "messages": lane.messages,
        "age_seconds": None if lane.last_at is None else round(now.monotonic - lane.last_at, 3),
        "duplicates": sequence.duplicates,
        "copies": sequence.copies,
        "usual_gap_seconds": _rounded(lane.rhythm.usual_gap),
        "mute": lane.rhythm.is_mute,
        "gaps": sequence.gaps,
        "missed": sequence.missed,
        "backfilled": sequence.missing.backfilled,
        "pending": sequence.missing.pending.ids,
        "resets": sequence.resets,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _quantiles(histogram: Histogram) -> dict[str, float | None]:
    found = {name: histogram.quantile(share) for name, share in _QUANTILES.items()}
    return {name: _rounded(value) for name, value in found.items()}


def _nonzero(counts: dict[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in counts.items() if count}
