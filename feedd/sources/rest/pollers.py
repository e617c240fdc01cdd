"""What the venue's REST side is asked: its clock, and which symbols it trades."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from feedd.core.venue_clock import ClockSample, VenueClock
from feedd.errors import FeeddError, UnavailableError
from feedd.logs import fields
from feedd.sources.rest.client import RestClient

log = logging.getLogger(__name__)

SAMPLES = 5
"""The shortest round trip of a handful comes close to the real one; a request weighs 1 of 6000 a minute."""
SYMBOLS_IN_A_QUESTION = 100
"""They stand in the URL, of which servers read 8 kB; a question weighs 20 of 6000 a minute."""
UNKNOWN = "UNKNOWN"
"""What stands for the status of a symbol that the venue doesn't have."""
OnStatus = Callable[[str, str], None]
"""Takes a symbol and its status."""

_RETRY = wait_random_exponential(multiplier=1.0, max=30.0)


_MICROSECONDS_PLEASE = {"X-MBX-TIME-UNIT": "MICROSECOND"}
"""Binance spot docs, rest-api.md, General: without it the answer is cut to the millisecond."""
_MILLISECONDS = range(10**12, 10**13)
"""The years 2001 to 2286, as in every message."""


@dataclass(frozen=True, slots=True)
class ClockTiming:
    """How often the venue's clock is measured, in seconds."""

    every: float = 15.0
    """Two clocks part by 0.1 ms a second at worst: 1.5 ms in this time, far below any latency limit."""
    at_most_every: float = 5.0
    """How soon a doubt may cause the next measurement."""


class _ServerTime(msgspec.Struct):
    time: int = msgspec.field(name="serverTime")

    def unit(self) -> float:
        """Return the seconds in one of what it counts. Raises ValueError if it is no time at all."""
        if self.time in _MILLISECONDS:
            return 1e-3
        if self.time // 1000 in _MILLISECONDS:
            return 1e-6
        raise ValueError(f"expected a time from 2001 to 2286 in milliseconds, found {self.time}")


class VenueTime:
    """Asks the venue what time it is."""

    def __init__(
        self,
        http: RestClient,
        url: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._url = url
        self._monotonic = monotonic

    async def sample(self) -> ClockSample:
        """Ask once. Raises UnavailableError."""
        sent_at = self._monotonic()
        try:
            async with self._http.get(self._url, headers=_MICROSECONDS_PLEASE) as response:
                body = await response.read()
                received_at = self._monotonic()
                response.raise_for_status()
                answer = msgspec.json.decode(body, type=_ServerTime)
                unit = answer.unit()
        except (msgspec.MsgspecError, ValueError) as error:
            raise UnavailableError(f"{self._url}: {str(error) or type(error).__name__}") from error
        # Cut off at the unit: the middle of what was cut off is nearest.
        return ClockSample(sent_at, received_at, (answer.time + 0.5) * unit, unit / 2.0)


class ClockPoller:
    """Keeps the estimate of the venue's clock: at start, every 15 s, and when something looks wrong."""

    def __init__(
        self,
        venue_time: VenueTime,
        clock: VenueClock,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        timing: ClockTiming | None = None,
    ) -> None:
        self._timing = ClockTiming() if timing is None else timing
        self._venue_time = venue_time
        self._clock = clock
        self._monotonic = monotonic
        self._doubt = asyncio.Event()

    def doubt(self) -> None:
        """Ask for a new measurement soon: a clock was set, or latencies look as if one had been."""
        self._doubt.set()

    async def run(self) -> None:
        """Measure for ever, more slowly while the venue doesn't answer."""
        while True:
            async for attempt in AsyncRetrying(
                wait=_RETRY, retry=retry_if_exception_type(UnavailableError), before_sleep=self._log_failure
            ):
                with attempt:
                    await self.sync()
            await asyncio.sleep(self._timing.at_most_every)
            await self._wait_for_doubt()

    async def sync(self) -> None:
        """Measure once, and again where that contradicts the estimate. Raises UnavailableError."""
        was_synced = self._clock.synced_at is not None
        if not (self._clock.update(await self._samples()) or self._clock.update(await self._samples())):
            log.warning("the venue's time contradicts itself; latency is taken against the last estimate")
            self._doubt.set()
            return
        log.log(
            logging.DEBUG if was_synced else logging.INFO,
            "the venue's clock is known",
            extra=fields(within_seconds=f"{self._clock.error_at(self._monotonic()):.6f}"),
        )

    async def _samples(self) -> list[ClockSample]:
        # The first answer pays for connecting and TLS; the shortest of several doesn't.
        samples = [await self._venue_time.sample()]
        with suppress(UnavailableError):  # what has come is enough
            while len(samples) < SAMPLES:
                samples.append(await self._venue_time.sample())
        return samples

    async def _wait_for_doubt(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._timing.every - self._timing.at_most_every)):
                await self._doubt.wait()
        except TimeoutError:
            pass
        self._doubt.clear()

    def _log_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "the venue's clock can't be asked; latency is taken against the last estimate",
            extra=fields(error=error, attempt=state.attempt_number),
        )


class _Symbol(msgspec.Struct):
    symbol: str
    status: str


class _ExchangeInfo(msgspec.Struct):
    symbols: list[_Symbol]


class UnknownSymbolError(FeeddError):
    """The venue has no such symbol, or not every one of those that it was asked for."""


class VenueStatus:
    """Asks the venue which symbols are trading."""

    def __init__(self, http: RestClient, url: str) -> None:
        self._http = http
        self._url = url

    async def statuses(self, symbols: Sequence[str]) -> dict[str, str]:
        """Return each symbol's status, such as TRADING. Raises UnknownSymbolError, UnavailableError."""
        query = {"symbols": orjson.dumps(list(symbols)).decode(), "showPermissionSets": "false"}
        try:
            async with self._http.get(self._url, params=query) as response:
                body = await response.read()
                if response.status == 400:  # -1121, whatever else is asked for with it
                    raise UnknownSymbolError(f"{self._url}: {body[:200].decode(errors='replace')}")
                response.raise_for_status()
                answer = msgspec.json.decode(body, type=_ExchangeInfo)
        except (msgspec.MsgspecError, ValueError) as error:
            raise UnavailableError(f"{self._url}: {str(error) or type(error).__name__}") from error
        return {entry.symbol: entry.status for entry in answer.symbols}


class StatusPoller:
    """One poller for all symbols: asks how the venue sees them, and tells. No answer changes nothing."""

    def __init__(
        self, venue_status: VenueStatus, symbols: Callable[[], Sequence[str]], on_status: OnStatus
    ) -> None:
        self._venue_status = venue_status
        self._symbols = symbols
        self._on_status = on_status
        self._is_reachable = True

    async def run(self, every: Callable[[], float]) -> None:
        """Ask for ever, every so many seconds."""
        while True:
            await self.ask()
            await asyncio.sleep(every())

    async def ask(self) -> None:
        """Ask once, and tell what was answered."""
        symbols = self._symbols()
        try:
            for start in range(0, len(symbols), SYMBOLS_IN_A_QUESTION):
                statuses = await self._ask_for(symbols[start : start + SYMBOLS_IN_A_QUESTION])
                for symbol, status in statuses.items():
                    self._on_status(symbol, status)
        except UnavailableError as error:
            if self._is_reachable:
                log.warning(
                    "the exchange's status can't be asked; the last one stays", extra=fields(error=error)
                )
            self._is_reachable = False
            return
        self._is_reachable = True

    async def _ask_for(self, symbols: Sequence[str]) -> dict[str, str]:
        """Return the statuses of these symbols, UNKNOWN for each that the venue doesn't have."""
        try:
            return await self._venue_status.statuses(symbols)
        except UnknownSymbolError:
            # One unknown symbol spoils the answer for all: halve until it stands alone.
            if len(symbols) == 1:
                return {symbols[0]: UNKNOWN}
            middle = len(symbols) // 2
            return await self._ask_for(symbols[:middle]) | await self._ask_for(symbols[middle:])
