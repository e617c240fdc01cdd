"""What a running daemon shows: each change of its gates as it happens, and its numbers again and again.

Only public endpoints are asked, and times are taken where the news is heard, as a consumer would.
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

from feedd.drill.gate_change import Change
from feedd.drill.metrics_snapshot import Numbers, per_symbol, read_numbers
from feedd.errors import UnavailableError
from feedd.model import Reason

LOOK_SECONDS: Final = 0.2
"""How often the numbers are looked at; more rarely where looking takes long."""
WINDOW_MESSAGES: Final = 100
"""Among so many messages the daemon tolerates a few bad ones."""

PULSE_SECONDS: Final = 0.05
"""How often is looked whether this machine gets on at all."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)
_SILENCE: Final = aiohttp.ClientWSTimeout(ws_receive=10.0)
"""The daemon's heartbeat comes every second."""


class Observer:
    """Looks at one daemon for as long as it runs."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self.heard: Callable[[Change], object] = lambda change: None
        """Called with each change of a gate."""
        self.looked_at = -1.0
        """When the numbers that are known were asked for (monotonic seconds)."""
        self._http = http
        self._news = asyncio.Event()
        self._metrics = ""
        self._status: Mapping[str, Any] = {}
        self._reasons: dict[str, tuple[Reason, ...]] = {}
        self._backoffs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._stops: list[tuple[float, float]] = []
        self._invalid: dict[str, float] = {}
        self._messages: dict[str, float] = {}
        self._clean_at: dict[str, float] = {}

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            UnavailableError: the daemon is gone.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._look_on())
                tasks.create_task(self._feel_pulse())
        except* (aiohttp.ClientError, OSError) as errors:
            error = errors.exceptions[0]
            raise UnavailableError(f"the daemon at {self.url} is gone: {error!r}") from error

    async def status(self) -> dict[str, Any]:
        """Ask for the status now.

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
        """Whether a symbol's gate is open, as last heard."""
        return self._reasons.get(symbol) == ()

    def reasons(self, symbol: str) -> tuple[Reason, ...]:
        """Return why a symbol's gate is halted, as last heard."""
        return self._reasons.get(symbol, ())

    def is_clean(self, symbol: str) -> bool:
        """Whether the last bad message of a symbol is out of the window in which such are counted."""
        return self._messages.get(symbol, 0.0) >= self._clean_at.get(symbol, 0.0)

    def messages(self, symbol: str) -> float:
        """Return how many messages of a symbol were handed on, as last seen."""
        return self._messages.get(symbol, 0.0)

    def backoff(self, symbol: str, since: float) -> float:
        """Return the longest pause between attempts to connect that was seen since then, in seconds."""
        return max((pause for at, pause in self._backoffs[symbol] if at >= since), default=0.0)

    def stood_still(self, since: float, until: float) -> float:
        """Return for how long at most this process did not get on between these times, in seconds."""
        return max((late for at, late in self._stops if since <= at <= until), default=0.0)

    def numbers(self, symbol: str | None) -> Numbers:
        """Return a symbol's numbers, or those of all, as last seen."""
        return read_numbers(symbol, self._metrics, self._status)

    def connections(self, symbol: str) -> int:
        """Return how many connections a symbol had when last looked at."""
        connections: int = self._status["symbols"][symbol]["connections"]
        return connections

    async def look_anew(self) -> None:
        """Wait until the numbers have been asked for after this moment."""
        now = time.monotonic()
        await self.wait(lambda: self.looked_at > now)

    async def wait(
        self, condition: Callable[[], bool], deadline: Callable[[], float] = lambda: float("inf")
    ) -> bool:
        """Wait until something that is heard or seen makes a condition true; False if it didn't in time.

        `deadline` (monotonic seconds) is asked again and again, as it may move.
        """
        while not condition():
            left = deadline() - time.monotonic()
            if left <= 0.0:
                return False
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left == float("inf") else left):
                    await self._news.wait()
        return True

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _get(self, path: str) -> bytes:
        async with self._http.get(self.url + path, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            return await response.read()

    async def _listen(self) -> None:
        async with self._http.ws_connect(f"{self.url}/gate/events", timeout=_SILENCE) as socket:
            async for message in socket:
                self._hear(orjson.loads(message.data))
        raise aiohttp.ClientConnectionError("it has closed /gate/events")

    def _hear(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "state":
                for symbol, gate in event["symbols"].items():
                    self._reasons[symbol] = _reasons(gate["reasons"])
            case "gate":
                change = Change(
                    at=time.monotonic(),
                    told=datetime.fromisoformat(event["at"]).timestamp(),
                    symbol=event["symbol"],
                    added=_reasons(event["added"]),
                    reasons=_reasons(event["reasons"]),
                )
                self._reasons[change.symbol] = change.reasons
                self.heard(change)
            case _:
                return
        self._tell()

    async def _look_on(self) -> None:
        while True:
            asked_at = time.monotonic()
            self._metrics = (await self._get("/metrics")).decode()
            self._status = orjson.loads(await self._get("/status"))
            self._note_backoffs(asked_at)
            self._note_messages()
            self.looked_at = asked_at
            self._tell()
            await asyncio.sleep(max(LOOK_SECONDS, 4 * (time.monotonic() - asked_at)))

    async def _feel_pulse(self) -> None:
        while True:
            due = time.monotonic() + PULSE_SECONDS
            await asyncio.sleep(PULSE_SECONDS)
            late = time.monotonic() - due
            if late > PULSE_SECONDS:
                self._stops.append((time.monotonic(), late))

    def _note_backoffs(self, at: float) -> None:
        for symbol, pause in per_symbol(self._metrics, "feedd_connect_backoff_seconds").items():
            if pause:
                self._backoffs[symbol].append((at, pause))

    def _note_messages(self) -> None:
        self._messages = per_symbol(self._metrics, "feedd_messages_total")
        for symbol, invalid in per_symbol(self._metrics, "feedd_invalid_messages_total").items():
            if invalid > self._invalid.get(symbol, 0.0):
                self._clean_at[symbol] = self._messages.get(symbol, 0.0) + WINDOW_MESSAGES
            self._invalid[symbol] = invalid


def _reasons(names: list[str]) -> tuple[Reason, ...]:
    return tuple(Reason(name) for name in names)
