"""A symbol's way in, from its state to its outputs, by a clock that a test sets, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import VenueClock
from feedd.model import Reason, ResumePolicy, Stream
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.spot.tables import SPOT
from tests.venues.binance.spot.frames import EVENT_TIME

STALE_AFTER = 10.0
LATENCY_LIMIT = 1.0
RESUME_AFTER = 5.0


class Bench:
    """One symbol's pipeline between a test's messages and a test's outputs."""

    def __init__(
        self,
        *streams: str | Stream,
        symbol: str = "BTCUSDT",
        stale_after: float = STALE_AFTER,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        """Set everything up.

        Args:
            monotonic: another clock than the one that stands at `now`.
        """
        self.now = [0.0]
        self.monotonic = self._stands_at if monotonic is None else monotonic
        self.streams = tuple(
            SPOT.parse_stream(stream) if isinstance(stream, str) else stream
            for stream in streams or ("trade", "bookTicker")
        )
        self.news: list[Any] = []
        """What was handed on and announced, in its order."""
        self.delivered: list[bytes] = []
        self.backfilled: list[tuple[str, bytes]] = []
        self.missing: list[StreamState] = []
        self.bug: type[Exception] | None = None
        """What an output raises."""
        self._has_changed = asyncio.Event()
        limits = SymbolLimits(stale_after, LATENCY_LIMIT, RESUME_AFTER, ResumePolicy.AUTO)
        clock = VenueClock(0.0, EVENT_TIME / 1000.0)
        self.symbol_state = SymbolState(symbol, self.streams, limits, clock, self.monotonic())
        self.pipeline = SymbolPipeline(
            self.symbol_state,
            self._deliver,
            self._announce,
            self.monotonic,
            note_missing=self.missing.append,
            deliver_backfill=self._deliver_backfill,
        )

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.symbol_state.gate.reasons

    def _stands_at(self) -> float:
        return self.now[0]

    def stream_state(self, stream: str = "trade") -> StreamState:
        return self.symbol_state.streams[f"{self.symbol_state.symbol.lower()}@{stream}"]

    def _deliver(self, stream_state: StreamState, raw: bytes) -> None:
        if self.bug is not None:
            raise self.bug
        self.delivered.append(raw)
        self.news.append(("delivered", stream_state.stream.name, raw))

    def _deliver_backfill(self, stream_state: StreamState, raw: bytes) -> None:
        self.backfilled.append((stream_state.stream.name, raw))

    def _announce(self, symbol_state: SymbolState, change: GateChange) -> None:
        assert symbol_state is self.symbol_state
        self.news.append(change)
        self._has_changed.set()

    async def next_change(self, timeout: float = 5.0) -> None:
        """Wait until something is announced from now on."""
        self._has_changed.clear()
        async with asyncio.timeout(timeout):
            await self._has_changed.wait()

    def changes(self) -> list[tuple[tuple[Reason, ...], tuple[Reason, ...]]]:
        """Return what was announced so far: the reasons that came, and those that went."""
        return [(each.added, each.removed) for each in self.news if isinstance(each, GateChange)]


def said(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    """Return the fields of every log line that says this."""
    return [vars(record)["fields"] for record in caplog.records if record.getMessage() == message]
