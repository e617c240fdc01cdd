"""What the venue's REST side is asked: its clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import aiohttp
import msgspec
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from feedd.binance.endpoints import TIME_PATH
from feedd.core.latency import ClockSample, VenueClock
from feedd.errors import UnavailableError
from feedd.logs import fields

log = logging.getLogger(__name__)

SAMPLES = 5
"""The shortest round trip of a handful comes close to the real one; a request weighs 1 of 6000 a minute."""
SYNC_EVERY_SECONDS = 60.0
"""Quartz drifts by some 50 microseconds a second at worst: 3 ms in this time, far below the latency limit."""
ASK_AGAIN_AFTER_SECONDS = 5.0
"""How soon a doubt may cause the next measurement."""
_TIMEOUT = aiohttp.ClientTimeout(total=5.0)
_RETRY = wait_random_exponential(multiplier=1.0, max=30.0)


_MICROSECONDS_PLEASE = {"X-MBX-TIME-UNIT": "MICROSECOND"}
"""Binance spot docs, rest-api.md, General: without it the answer is cut to the millisecond."""
_LEAST_MICROSECONDS = 10**14
"""A larger number is no time in milliseconds before the year 5138."""


class _ServerTime(msgspec.Struct):
    time: int = msgspec.field(name="serverTime")

    @property
    def seconds(self) -> float:
        if self.time >= _LEAST_MICROSECONDS:
            return self.time * 1e-6
        return (self.time + 0.5) * 1e-3  # cut off at the millisecond: the middle is nearest


class VenueTime:
    """Asks the venue what time it is."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        rest_url: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._url = rest_url + TIME_PATH
        self._monotonic = monotonic

    async def sample(self) -> ClockSample:
        """Ask once. Raises UnavailableError."""
        sent_at = self._monotonic()
        try:
            async with self._http.get(self._url, timeout=_TIMEOUT, headers=_MICROSECONDS_PLEASE) as response:
                body = await response.read()
                received_at = self._monotonic()
                response.raise_for_status()
                answer = msgspec.json.decode(body, type=_ServerTime)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, ValueError) as error:
            raise UnavailableError(f"{self._url}: {str(error) or type(error).__name__}") from error
        return ClockSample(sent_at, received_at, answer.seconds)


class ClockKeeper:
    """Keeps the estimate of the venue's clock: at start, every minute, and when something looks wrong."""

    def __init__(self, venue_time: VenueTime, clock: VenueClock) -> None:
        self._venue_time = venue_time
        self._clock = clock
        self._doubt = asyncio.Event()

    def doubt(self) -> None:
        """Ask for a new measurement soon: latencies look as if one of the clocks had been set."""
        self._doubt.set()

    async def run(self) -> None:
        """Measure for ever, more slowly while the venue doesn't answer."""
        while True:
            async for attempt in AsyncRetrying(
                wait=_RETRY, retry=retry_if_exception_type(UnavailableError), before_sleep=self._log_failure
            ):
                with attempt:
                    await self.sync()
            await asyncio.sleep(ASK_AGAIN_AFTER_SECONDS)
            await self._wait_for_doubt()

    async def sync(self) -> None:
        """Measure once. Raises UnavailableError."""
        # The first answer pays for connecting and TLS; the shortest of several doesn't.
        samples = [await self._venue_time.sample() for _ in range(SAMPLES)]
        was_synced = self._clock.synced_at is not None
        self._clock.update(samples)
        log.log(
            logging.DEBUG if was_synced else logging.INFO,
            "the venue's clock is known",
            extra=fields(within_seconds=f"{self._clock.error:.6f}"),
        )

    async def _wait_for_doubt(self) -> None:
        try:
            async with asyncio.timeout(SYNC_EVERY_SECONDS - ASK_AGAIN_AFTER_SECONDS):
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
