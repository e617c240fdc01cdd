"""Observes a running daemon: each change of its gates as it happens, and its metrics and status by polling.

Only public endpoints are used, and times are taken when an event is received, as a consumer would take them.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import aiohttp
import orjson

from feedd.drill.gate_change import ObservedChange
from feedd.drill.metrics_snapshot import MetricsSnapshot, per_symbol, read_snapshot
from feedd.drill.timing import DEFAULT_TIMING, DrillTiming
from feedd.errors import UnavailableError
from feedd.model import Reason

WINDOW_MESSAGES: Final = 100
"""Among so many messages the daemon tolerates a few bad ones."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)
_SILENCE: Final = aiohttp.ClientWSTimeout(ws_receive=10.0)
"""The daemon's heartbeat comes every second."""


class Observer:
    """Observes one daemon for as long as it runs."""

    def __init__(self, http: aiohttp.ClientSession, url: str, timing: DrillTiming = DEFAULT_TIMING) -> None:
        self.url = url
        self.polled_at = -1.0
        """When the metrics that are known were asked for (monotonic seconds)."""
        self._on_change: Callable[[ObservedChange], None] = lambda change: None
        self._http = http
        self._timing = timing
        self._changed = asyncio.Event()
        self._metrics = ""
        self._status: Mapping[str, Any] = {}
        self._reasons: dict[str, tuple[Reason, ...]] = {}
        self._backoffs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._stalls: list[tuple[float, float]] = []
        self._invalid: dict[str, float] = {}
        self._messages: dict[str, float] = {}
        self._clean_at: dict[str, float] = {}

    def on_change(self, callback: Callable[[ObservedChange], None]) -> None:
        """Have `callback` called with each change of a gate from now on."""
        self._on_change = callback

    async def run(self) -> None:
        """Observe until cancelled.

        Raises:
            UnavailableError: the daemon is gone.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_gate_events())
                tasks.create_task(self._poll_metrics())
                tasks.create_task(self._watch_event_loop())
        except* (aiohttp.ClientError, OSError) as errors:
            error = errors.exceptions[0]
            raise UnavailableError(f"the daemon at {self.url} is gone: {error!r}") from error

    async def status(self) -> dict[str, Any]:
        """Fetch the status now.

        Raises:
            UnavailableError: no daemon answers.
        """
        try:
            status: dict[str, Any] = orjson.loads(await self._get("/status"))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(f"no daemon answers at {self.url}: {reason}") from error
        return status

    def is_open(self, symbol: str) -> bool:
        """Say whether a symbol's gate is open, by the last event."""
        return self._reasons.get(symbol) == ()

    def reasons(self, symbol: str) -> tuple[Reason, ...]:
        """Return why a symbol's gate is halted, by the last event."""
        return self._reasons.get(symbol, ())

    def is_clean(self, symbol: str) -> bool:
        """Say whether the last bad message of a symbol has left the window in which such are counted."""
        return self._messages.get(symbol, 0.0) >= self._clean_at.get(symbol, 0.0)

    def messages(self, symbol: str) -> float:
        """Return how many messages of a symbol were handed on, by the last poll."""
        return self._messages.get(symbol, 0.0)

    def backoff(self, symbol: str, since: float) -> float:
        """Return the longest pause between attempts to connect that was polled since then, in seconds."""
        return max((pause for at, pause in self._backoffs[symbol] if at >= since), default=0.0)

    def longest_stall(self, since: float, until: float) -> float:
        """Return the longest stall of this process's event loop between these times, in seconds."""
        return max((late for at, late in self._stalls if since <= at <= until), default=0.0)

    def snapshot(self, symbol: str | None) -> MetricsSnapshot:
        """Return the metrics of a symbol, or of all added up, by the last poll."""
        return read_snapshot(symbol, self._metrics, self._status)

    def connections(self, symbol: str) -> int:
        """Return how many connections a symbol had at the last poll."""
        connections: int = self._status["symbols"][symbol]["connections"]
        return connections

    async def refresh(self) -> None:
        """Wait until metrics and status have been asked for after this moment."""
        now = time.monotonic()
        await self.wait_until(lambda: self.polled_at > now)

    async def wait_until(
        self, condition: Callable[[], bool], deadline: Callable[[], float] = lambda: float("inf")
    ) -> bool:
        """Wait until an event or a poll makes a condition true; False if none did in time.

        `deadline` (monotonic seconds) is called again and again, as it may move.
        """
        while not condition():
            left = deadline() - time.monotonic()
            if left <= 0.0:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left == float("inf") else left):
                    await self._changed.wait()
        return True

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _get(self, path: str) -> bytes:
        async with self._http.get(self.url + path, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            return await response.read()

    async def _follow_gate_events(self) -> None:
        async with self._http.ws_connect(f"{self.url}/gate/events", timeout=_SILENCE) as socket:
            async for message in socket:
                self._apply_event(orjson.loads(message.data))
        raise aiohttp.ClientConnectionError("it has closed /gate/events")

    def _apply_event(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "state":
                for symbol, gate in event["symbols"].items():
                    self._reasons[symbol] = _reasons(gate["reasons"])
            case "gate":
                change = ObservedChange(
                    at=time.monotonic(),
                    reported_at=datetime.fromisoformat(event["at"]).timestamp(),
                    symbol=event["symbol"],
                    added=_reasons(event["added"]),
                    reasons=_reasons(event["reasons"]),
                )
                self._reasons[change.symbol] = change.reasons
                self._on_change(change)
            case _:
                return
        self._notify()

    async def _poll_metrics(self) -> None:
        while True:
            asked_at = time.monotonic()
            self._metrics = (await self._get("/metrics")).decode()
            self._status = orjson.loads(await self._get("/status"))
            self._collect_backoffs(asked_at)
            self._collect_messages()
            self.polled_at = asked_at
            self._notify()
            await asyncio.sleep(max(self._timing.poll, 4 * (time.monotonic() - asked_at)))

    async def _watch_event_loop(self) -> None:
        while True:
            due = time.monotonic() + self._timing.pulse
            await asyncio.sleep(self._timing.pulse)
            late = time.monotonic() - due
            if late > self._timing.pulse:
                self._stalls.append((time.monotonic(), late))

    def _collect_backoffs(self, at: float) -> None:
        for symbol, pause in per_symbol(self._metrics, "feedd_connect_backoff_seconds").items():
            if pause:
                self._backoffs[symbol].append((at, pause))

    def _collect_messages(self) -> None:
        self._messages = per_symbol(self._metrics, "feedd_messages_total")
        for symbol, invalid in per_symbol(self._metrics, "feedd_invalid_messages_total").items():
            if invalid > self._invalid.get(symbol, 0.0):
                self._clean_at[symbol] = self._messages.get(symbol, 0.0) + WINDOW_MESSAGES
            self._invalid[symbol] = invalid


def _reasons(names: list[str]) -> tuple[Reason, ...]:
    return tuple(Reason(name) for name in names)
