"""What all symbols share: the flags, the venue's clock, the source, and the sessions themselves.

The whole state of the daemon in plain values: sources write it, outputs read it. Times are monotonic seconds.
"""

from __future__ import annotations

from typing import Final

from feedd.config.settings import Settings
from feedd.config.venue_choice import streams_for
from feedd.core.budgets import ConnectBudget
from feedd.core.histogram import Histogram
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import VenueClock
from feedd.model import Reason, Source, Stream

LOOP_LAG_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

STUCK_AFTER_SECONDS: Final = 5.0
"""The supervisor notes progress every second; after five without it something is stuck."""

_READY_NEVERTHELESS = frozenset({Reason.KILL_SWITCH, Reason.FLAGS_UNREADABLE, Reason.LATCHED})


class DaemonState:
    """One daemon's state."""

    def __init__(
        self, settings: Settings, now: float, wall: float, stuck_after: float = STUCK_AFTER_SECONDS
    ) -> None:
        """Begin with these settings at monotonic `now`.

        Args:
            stuck_after: how many seconds may pass between two notes of progress.
        """
        self.settings = settings
        self.source = Source.REALTIME if settings.realtime else Source.STATIC
        self.clock = VenueClock(now, wall)
        self.started_at = now
        self.kill_switch = False
        self.flags_unreadable = False
        self.last_reload_successful = True
        self.last_reload_success_at = now
        self.event_loop_lag = Histogram(LOOP_LAG_BOUNDS)
        self.connect_budget = ConnectBudget(settings.connect_budget)
        self._progress_at = now
        self._stuck_after = stuck_after
        self.symbols = {symbol: self._symbol_state(symbol, now) for symbol in settings.symbols}
        self.set_kill_switch(settings.trading_halted, now)

    def apply_settings(self, settings: Settings, now: float) -> None:
        """Take other settings: symbols come and go, thresholds move, what stays keeps its state."""
        self.settings = settings
        self.source = Source.REALTIME if settings.realtime else Source.STATIC
        self.connect_budget.apply_limit(settings.connect_budget)
        known = self.symbols
        self.symbols = {
            symbol: known.get(symbol) or self._symbol_state(symbol, now) for symbol in settings.symbols
        }
        for symbol, symbol_state in self.symbols.items():
            symbol_state.apply_limits(self.limits(symbol), now)
        self.set_kill_switch(settings.trading_halted, now)
        self.set_flags_unreadable(self.flags_unreadable, now)

    def note_progress(self, now: float) -> None:
        """Note that the supervisor has found every task of the daemon at work."""
        self._progress_at = now

    def seconds_without_progress(self, now: float) -> float:
        """Return for how long the supervisor has not been at work."""
        return now - self._progress_at

    def is_stuck(self, now: float) -> bool:
        """Tell whether the daemon no longer works; what the exchange does has no part in it."""
        return self.seconds_without_progress(now) > self._stuck_after

    def reload_succeeded(self, now: float) -> None:
        """Note that the configuration was read anew, and can be used."""
        self.last_reload_successful = True
        self.last_reload_success_at = now

    def note_reload(self, is_successful: bool) -> None:
        """Note whether what was read anew, of which the env-file is no part, can be used."""
        self.last_reload_successful = is_successful

    def reload_failed(self) -> None:
        """Note that what was read anew can't be used."""
        self.last_reload_successful = False

    def rearm(self, now: float) -> dict[str, tuple[Reason, ...]]:
        """Lift latched halts. Returns the symbols where that was refused, and what forbids it."""
        blocking = {
            symbol: symbol_state.gate.rearm(now)
            for symbol, symbol_state in self.symbols.items()
            if Reason.LATCHED in symbol_state.gate.active
        }
        return {symbol: reasons for symbol, reasons in blocking.items() if reasons}

    def set_kill_switch(self, active: bool, now: float) -> None:
        """Halt every symbol, or take that halt back."""
        self.kill_switch = active
        self._set_for_all(Reason.KILL_SWITCH, active, now)

    def set_flags_unreadable(self, active: bool, now: float) -> None:
        """Note whether the env-file, and with it the kill switch, can be read."""
        self.flags_unreadable = active
        self._set_for_all(Reason.FLAGS_UNREADABLE, active, now)

    def unready(self) -> dict[str, tuple[Reason, ...]]:
        """Return the symbols without good live data, and why. Empty means ready.

        What a person has decided (the flags, a latched halt) says nothing of the data. Static data is never
        live.
        """
        not_live = (Reason.STATIC_SOURCE,) if self.source is Source.STATIC else ()
        reasons = {
            symbol: tuple(reason for reason in symbol_state.gate.reasons if reason not in _READY_NEVERTHELESS)
            + not_live
            for symbol, symbol_state in self.symbols.items()
        }
        return {symbol: found for symbol, found in reasons.items() if found}

    def _set_for_all(self, reason: Reason, active: bool, now: float) -> None:
        for symbol_state in self.symbols.values():
            if active:
                symbol_state.gate.trip(reason, now)
            else:
                symbol_state.gate.clear(reason, now)

    def streams(self) -> tuple[Stream, ...]:
        """Return the streams that the live feed of a symbol is made of."""
        return streams_for(self.settings)

    def _symbol_state(self, symbol: str, now: float) -> SymbolState:
        return SymbolState(symbol, self.streams(), self.limits(symbol), self.clock, now)

    def limits(self, symbol: str) -> SymbolLimits:
        """Return the thresholds that the settings have for a symbol."""
        settings = self.settings
        return SymbolLimits(
            stale_after=settings.stale_after(symbol),
            latency=settings.latency_limit_seconds,
            resume_after=settings.resume_after_seconds,
            resume=settings.resume,
        )
