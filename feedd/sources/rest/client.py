"""Requests to the venue's REST side, and none while the exchange has asked to be left alone.

It counts by address, so that whoever is asked for a pause (`Retry-After`, 418 and 429) speaks for all: those
who connect, those who backfill, and those who ask for the time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from feedd.core.budgets import ConnectBudget
from feedd.errors import UnavailableError
from feedd.logs import fields
from feedd.sources.live.connection import by_status, pause_for, retry_after

log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


class RestClient:
    """Asks the venue over HTTP."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        connects: ConnectBudget,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._connects = connects
        self._monotonic = monotonic

    @asynccontextmanager
    async def get(self, url: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and yield the answer, whatever its status. Raises UnavailableError if there is none."""
        left = self._connects.hold_left(self._monotonic())
        if left > 0.0:
            raise UnavailableError(f"{url}: the exchange has asked for a pause; {left:.0f} s of it are left")
        try:
            async with self._http.get(url, timeout=_TIMEOUT, **options) as response:
                self._honour_pause(response)
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"{url}: {str(error) or type(error).__name__}") from error

    def _honour_pause(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 200:
            return
        reason = by_status(response.status)
        pause = pause_for(reason, retry_after(response.headers))
        if pause is not None:
            self._connects.hold(pause, self._monotonic())
            log.error(
                "the exchange asks for a pause: nobody connects or asks for now",
                extra=fields(reason=reason, seconds=pause, path=response.url.path),
            )
