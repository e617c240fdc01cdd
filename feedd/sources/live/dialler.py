"""When one feed may connect, and the attempt itself: budget, backoff, the exchange's pauses, and outages.

How soon a lost connection is dialled again depends on how long it had delivered good data, never on a
handshake that succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import aiohttp

from feedd.core.backoff import REFUSED_BY_RULE, Backoff
from feedd.core.budgets import ConnectBudget
from feedd.logs import fields
from feedd.sources.live.aiohttp_socket import Socket
from feedd.sources.live.connection import ConnectFailed, ConnectionTiming, connect, pause_for

log = logging.getLogger(__name__)

BUDGET_STEP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class DialCalls:
    """What a dialler asks of the feed that it dials for."""

    turn: Callable[[], float]
    """Returns a random number from 0 to 1: lower for a feed that somebody uses, which goes first."""
    show_backoff: Callable[[float], None]
    """Takes the seconds for which the next attempt is being put off."""


class Dialler:
    """Makes the attempts of one feed to connect."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        ws_urls: Collection[str],
        label: str,
        budget: ConnectBudget,
        timing: ConnectionTiming,
        calls: DialCalls,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to dial.

        Args:
            ws_urls: one address at least; each attempt after a failure takes the next.
            label: how the log and the budget call the feed.
        """
        self._http = http
        self._ws_urls = tuple(ws_urls)
        self._label = label
        self._budget = budget
        self._timing = timing
        self._calls = calls
        self._monotonic = monotonic
        self._backoff = Backoff()
        self._failures = 0
        self._is_refused_by_rule = False
        self._failing_since: float | None = None
        self._hurried = asyncio.Event()
        self.due_at = 0.0
        """When the next attempt may be made, in monotonic seconds."""

    @property
    def trouble_since(self) -> float | None:
        """Since when this feed has failed, or the exchange has been out for all; None while all is well."""
        return self._failing_since if self._failing_since is not None else self._budget.outage_since

    def next_url(self, used: Collection[str]) -> str:
        """Return the address to try next: one that no connection uses, if there is one."""
        candidates = [url for url in self._ws_urls if url not in used] or self._ws_urls
        return candidates[self._failures % len(candidates)]

    async def has_budget(self, is_wanted: Callable[[], bool], is_urgent: Callable[[], bool]) -> bool:
        """Wait for the budget's leave. False if no attempt is wanted any more."""
        while True:
            if not is_wanted():
                return False
            wait = self._budget.acquire(self._monotonic(), is_planned=not is_urgent())
            if wait == 0.0:
                return True
            # In steps, because what is wanted may change; and spread a little, so that those that wait for
            # the same moment don't all come at once.
            self._calls.show_backoff(wait)
            await self._wait_for_hurry(
                min(wait, BUDGET_STEP_SECONDS) + self._calls.turn() * self._budget.spread
            )
            self._calls.show_backoff(0.0)

    async def connect(self, url: str) -> Socket:
        """Make one attempt. Raises ConnectFailed."""
        socket = await connect(self._http, url, self._timing)
        self._failures = 0
        return socket

    def hurry(self, spread: float) -> bool:
        """Be due within so many seconds, whatever was waited for. False where the exchange forbids it."""
        if self._is_refused_by_rule:
            return False
        soon = self._calls.turn() * spread
        self.due_at = min(self.due_at, self._monotonic() + soon)
        asyncio.get_running_loop().call_later(soon, self._hurried.set)
        return True

    def attempt_failed(self, failed: ConnectFailed) -> float:
        """Note that an attempt failed. Returns after how many seconds the next one is due."""
        self._failures += 1
        self._is_refused_by_rule = failed.failure in REFUSED_BY_RULE
        self._honour_pause(failed)
        if not self._is_refused_by_rule:
            self.note_failing()
        return self._put_off(self._backoff.delay(self._calls.turn(), failed.failure, failed.retry_after))

    def connection_ended(self, good_for: float) -> None:
        """Note for how many seconds the connection that just ended had delivered good data."""
        self._backoff.connection_ended(good_for)

    def all_ended(self) -> None:
        """Note that no connection is left: the next attempt is put off."""
        self._calls.show_backoff(self._put_off(self._backoff.delay(self._calls.turn())))

    def delay_after_bug(self, chance: float) -> float:
        """Return for how many seconds to let go of the feed after a bug."""
        return self._backoff.delay(chance)

    def note_failing(self) -> None:
        """Note that this feed can't get data: with enough others, the exchange is out for all."""
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        was_out = self._budget.outage_since is not None
        self._budget.failed(self._label, now)
        if not was_out and self._budget.outage_since is not None:
            log.error("the exchange is out for all: one attempt a second until it delivers")

    def note_delivery(self) -> float | None:
        """Note that a new connection delivers. Returns the spread of everyone's return if an outage ends."""
        was_out, spread = self._budget.outage_since is not None, self._budget.spread
        self._failing_since = None
        self._budget.delivered()
        if not was_out:
            return None
        log.warning("the exchange delivers again: everyone connects", extra=fields(symbol=self._label))
        return spread

    def _put_off(self, delay: float) -> float:
        self.due_at = self._monotonic() + delay
        return delay

    def _honour_pause(self, failed: ConnectFailed) -> None:
        """Hold the whole process back when the exchange asks for it: it counts by address."""
        pause = pause_for(failed.failure, failed.retry_after)
        if pause is not None:
            self._budget.hold(pause, self._monotonic())
            log.error(
                "the exchange asks for a pause: nobody connects for now",
                extra=fields(reason=failed.failure, seconds=pause),
            )

    async def _wait_for_hurry(self, seconds: float) -> None:
        self._hurried.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            pass
