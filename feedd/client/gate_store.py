"""The gates as a daemon last reported them, and for how long a client may rely on that. Reads no clock.

A gate is open only while the daemon reports it open and sends heartbeats; all else is a reason to halt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

SILENCE_SECONDS: Final = 2.0
"""The daemon gives a sign of life every second. Without one for this long it is taken for gone."""
HEARTBEATS_REMEMBERED: Final = 30

# The client's own reasons; all others are the daemon's.
UNREACHABLE: Final = "unreachable"
"""There is no connection to the daemon."""
SILENT: Final = "silent"
"""The daemon gave no sign of life for 2 s."""
UNKNOWN_SYMBOL: Final = "unknown_symbol"
"""The daemon doesn't have the symbol."""
NO_STREAM: Final = "no_stream"
"""There is a connection for gates, and none for market data."""
LAGGING: Final = "lagging"
"""Market data waits for the strategy to take it, so what the strategy has seen is old."""
CLOSED: Final = "closed"
"""The client itself was closed."""
STATIC_SOURCE: Final = "static_source"
"""The data is recorded, and static data was not asked for."""


@dataclass(frozen=True, slots=True)
class GateView:
    """One symbol's gate at one moment."""

    symbol: str
    reasons: tuple[str, ...]
    """Why trading is halted: the daemon's reasons, or the client's own."""

    @property
    def is_open(self) -> bool:
        """Whether trading in the symbol is open."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All gates as last reported; replaced as a whole, so that any thread may read it."""

    open_symbols: frozenset[str] = frozenset()
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Why each of the daemon's symbols is halted: empty for one that is open."""
    alive_at: float = float("-inf")
    """The last moment at which the daemon certainly ran, in monotonic seconds."""
    lost_reason: str | None = UNREACHABLE
    """Why nothing is known; None when the daemon's report holds."""

    def is_open(self, symbol: str, now: float) -> bool:
        """Return whether trading in that symbol is open."""
        return symbol.upper() in self.open_symbols and now - self.alive_at < SILENCE_SECONDS

    def view(self, symbol: str, now: float) -> GateView:
        """Return that symbol's gate."""
        symbol = symbol.upper()
        if self.lost_reason is not None:
            return GateView(symbol, (self.lost_reason,))
        reasons = self.reasons.get(symbol, (UNKNOWN_SYMBOL,))
        if now - self.alive_at >= SILENCE_SECONDS:
            reasons = (*reasons, SILENT)
        return GateView(symbol, reasons)


class _SymbolGate(msgspec.Struct):
    halted: bool = True
    reasons: tuple[str, ...] = ()

    def halt_reasons(self) -> tuple[str, ...]:
        """Return why the symbol is halted: `halted` where the daemon gives no reason, empty if it is open."""
        return self.reasons or (("halted",) if self.halted else ())


class _GateEvent(_SymbolGate):
    type: str = ""
    source: str = ""
    symbols: dict[str, _SymbolGate] = {}  # msgspec copies it
    symbol: str = ""
    uptime_seconds: float | None = None


_decoder = msgspec.json.Decoder(_GateEvent)


class GateStore:
    """The gates of one daemon, kept up to date by the events of its `/gate/events`."""

    def __init__(self, allow_static: bool) -> None:
        self.allow_static = allow_static
        self._is_live = False
        self._heartbeat_clock = _HeartbeatClock()
        self.snapshot = Snapshot()

    def apply_event(self, frame: bytes, now: float, asked_at: float) -> None:
        """Apply an event that was read at `now`, from a connection that was asked for at `asked_at`.

        Raises msgspec.MsgspecError for what is no gate event; events of unknown types change nothing.
        """
        event = _decoder.decode(frame)
        before = self.snapshot
        if event.type == "state":
            self._is_live = event.source == "realtime"
            reasons = {name: self._reasons(gate) for name, gate in event.symbols.items()}
            # It was written after it was asked for; how long it waited to be read, nobody knows.
            self._replace_snapshot(reasons, max(before.alive_at, asked_at))
        elif before.lost_reason is None and event.type == "gate":
            self._replace_snapshot({**before.reasons, event.symbol: self._reasons(event)}, before.alive_at)
        elif before.lost_reason is None and event.type == "heartbeat":
            alive_at = self._heartbeat_clock.sent_at(event.uptime_seconds, now)
            self._replace_snapshot(before.reasons, max(before.alive_at, alive_at))

    def invalidate(self, reason: str) -> None:
        """Close every gate for that reason, until the daemon reports its whole state again."""
        self._heartbeat_clock = _HeartbeatClock()
        self.snapshot = Snapshot(lost_reason=reason)

    def _reasons(self, gate: _SymbolGate) -> tuple[str, ...]:
        reasons = gate.halt_reasons()
        if self._is_live or self.allow_static or STATIC_SOURCE in reasons:
            return reasons
        return (*reasons, STATIC_SOURCE)

    def _replace_snapshot(self, reasons: Mapping[str, tuple[str, ...]], alive_at: float) -> None:
        open_symbols = frozenset(symbol for symbol, halted_by in reasons.items() if not halted_by)
        self.snapshot = Snapshot(open_symbols, reasons, alive_at, None)


class _HeartbeatClock:
    """Estimates when heartbeats were sent, on the receiver's clock.

    A heartbeat that was read late, because the receiver was stopped or busy, does not show that the daemon
    runs now. Each heartbeat's difference between the two clocks is the true one plus the time that it waited
    to be read, so the least difference of the last ones is the best estimate. Only the last ones count, so
    that clocks which drift apart are followed.
    """

    def __init__(self) -> None:
        self._differences: deque[float] = deque(maxlen=HEARTBEATS_REMEMBERED)

    def sent_at(self, uptime: float | None, now: float) -> float:
        """Return when a heartbeat that was read at `now` was sent; `uptime` is on the sender's clock."""
        if uptime is None:
            return now
        self._differences.append(now - uptime)
        return uptime + min(self._differences)
