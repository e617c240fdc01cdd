"""What a client knows of the gates, and for how long it may believe it. It takes `now`, and asks no clock.

A gate is open only while the daemon says so, and says that it lives: everything else is a reason to halt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

SILENCE_SECONDS: Final = 2.0
"""The daemon gives a sign of life every second. Without one for this long it is taken for gone."""
BEATS_REMEMBERED: Final = 30

# The client's own reasons; all others are the daemon's.
UNREACHABLE: Final = "unreachable"
"""There is no connection to the daemon."""
SILENT: Final = "silent"
"""The daemon gave no sign of life for 2 s."""
UNKNOWN_SYMBOL: Final = "unknown_symbol"
"""The daemon doesn't have the symbol."""
NO_STREAM: Final = "no_stream"
"""The gate's connection stands, the market data's doesn't."""
LAGGING: Final = "lagging"
"""The strategy doesn't keep up with the market data: what it knows is old."""
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
    """All gates, as last told; replaced as a whole, so that any thread may read it."""

    open: frozenset[str] = frozenset()
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Those of each symbol that the daemon has."""
    alive_at: float = float("-inf")
    """When the daemon last lived for certain, in monotonic seconds."""
    lost: str | None = UNREACHABLE
    """Why nothing is known, if so."""

    def is_open(self, symbol: str, now: float) -> bool:
        """Say whether trading in that symbol is open."""
        return symbol.upper() in self.open and now - self.alive_at < SILENCE_SECONDS

    def view(self, symbol: str, now: float) -> GateView:
        """Return that symbol's gate."""
        symbol = symbol.upper()
        if self.lost is not None:
            return GateView(symbol, (self.lost,))
        reasons = self.reasons.get(symbol, (UNKNOWN_SYMBOL,))
        if now - self.alive_at >= SILENCE_SECONDS:
            reasons = (*reasons, SILENT)
        return GateView(symbol, reasons)


class _SymbolGate(msgspec.Struct):
    halted: bool = True
    reasons: tuple[str, ...] = ()

    def why(self) -> tuple[str, ...]:
        return self.reasons or (("halted",) if self.halted else ())


class _Told(_SymbolGate):
    type: str = ""
    source: str = ""
    symbols: dict[str, _SymbolGate] = {}  # msgspec copies it
    symbol: str = ""
    uptime_seconds: float | None = None


_told = msgspec.json.Decoder(_Told)


class Board:
    """The gates of one daemon, as `/gate/events` tells them."""

    def __init__(self, allow_static: bool) -> None:
        self.allow_static = allow_static
        self._is_live = False
        self._pulse = _Pulse()
        self.snapshot = Snapshot()

    def hear(self, frame: bytes, now: float, asked_at: float) -> None:
        """Take a message that was read at `now`, over a connection that was asked for at `asked_at`.

        Raises msgspec.MsgspecError for what is no gate event; kinds that are not known yet say nothing.
        """
        told = _told.decode(frame)
        before = self.snapshot
        if told.type == "state":
            self._is_live = told.source == "realtime"
            reasons = {name: self._why(gate) for name, gate in told.symbols.items()}
            # It was written after it was asked for; how long it waited to be read, nobody knows.
            self._set(reasons, max(before.alive_at, asked_at))
        elif before.lost is None and told.type == "gate":
            self._set({**before.reasons, told.symbol: self._why(told)}, before.alive_at)
        elif before.lost is None and told.type == "heartbeat":
            alive_at = self._pulse.beat(told.uptime_seconds, now)
            self._set(before.reasons, max(before.alive_at, alive_at))

    def lose(self, why: str) -> None:
        """Forget everything: nothing is known until the daemon tells it anew."""
        self._pulse = _Pulse()
        self.snapshot = Snapshot(lost=why)

    def _why(self, gate: _SymbolGate) -> tuple[str, ...]:
        reasons = gate.why()
        if self._is_live or self.allow_static or STATIC_SOURCE in reasons:
            return reasons
        return (*reasons, STATIC_SOURCE)

    def _set(self, reasons: Mapping[str, tuple[str, ...]], alive_at: float) -> None:
        is_open = frozenset(symbol for symbol, why in reasons.items() if not why)
        self.snapshot = Snapshot(is_open, reasons, alive_at, None)


class _Pulse:
    """Tells when heartbeats were sent, on the receiver's clock.

    A heartbeat that was read late, because the receiver was stopped or busy, proves nothing of now.
    The least of the differences between the two clocks is the one that waiting has falsified least.
    """

    def __init__(self) -> None:
        self._differences: deque[float] = deque(maxlen=BEATS_REMEMBERED)

    def beat(self, sent: float | None, now: float) -> float:
        """Return when a heartbeat that was read at `now` was sent; `sent` is on the sender's clock."""
        if sent is None:
            return now
        self._differences.append(now - sent)
        return sent + min(self._differences)
