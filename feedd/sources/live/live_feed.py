"""The live feed: reconnecting WebSocket clients, one for each symbol unless more are packed together.

A second connection is made before the first is broken, and the messages of both are brought into one order.
How soon a lost connection is dialled again depends on how long it had delivered good data, never on a
handshake that succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp

from feedd.config.keys import RotateWindow
from feedd.core.backoff import REFUSED_BY_RULE, Backoff
from feedd.core.budgets import ConnectBudget
from feedd.core.connection_set import LOOK_SECONDS, Link, Links, Need
from feedd.core.renewal import renewal_age
from feedd.logs import fields
from feedd.model import DisconnectReason
from feedd.sources.live.connection import ConnectFailed, Connection, connect, pause_for
from feedd.sources.live.demux import Reception
from feedd.sources.symbol_pipeline import Intake
from feedd.venues.binance.spot.endpoints import stream_url, subscribe_requests
from feedd.venues.binance.spot.streams import Stream

log = logging.getLogger(__name__)

BUDGET_STEP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How a feed keeps its connections."""

    redundancy: int = 1
    """How many it holds for good: 1 or 2."""
    rotate_after: float = 23.0 * 3600.0
    """Seconds after which a connection is renewed where no window is set."""
    rotate_window: RotateWindow | None = None


class Feed:
    """The client of one symbol, or of a few that share a connection. Runs until cancelled."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        ws_urls: Sequence[str],
        intakes: Sequence[Intake],
        streams: Iterable[Stream],
        budget: ConnectBudget,
        upkeep: Upkeep,
        *,
        in_use: Callable[[str], bool] = lambda _: False,
        outage_over: Callable[[float], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._http = http
        self._ws_urls = ws_urls
        self._intakes = intakes
        self._streams = tuple(streams)
        self._budget = budget
        self._upkeep = upkeep
        self._in_use = in_use
        self._outage_over = outage_over
        self._monotonic = monotonic
        self._wall = wall
        self._chance = chance
        self._backoff = Backoff()
        self._failures = 0
        self._is_refused_by_rule = False
        self._failing_since: float | None = None
        self._dial_at = 0.0
        self._news = asyncio.Event()
        self._hurried = asyncio.Event()
        self._begin()

    def follow(self, upkeep: Upkeep) -> None:
        """Keep the connections another way from now on."""
        self._upkeep = upkeep
        self._news.set()

    def hurry(self, spread: float) -> None:
        """Try again within so many seconds, whatever was waited for: the exchange is back."""
        if not len(self._links) and not self._is_refused_by_rule:
            soon = self._turn() * spread
            self._dial_at = min(self._dial_at, self._monotonic() + soon)
            self._news.set()
            asyncio.get_running_loop().call_later(soon, self._hurried.set)

    async def run(self) -> None:
        """Keep the feed up until cancelled; then close each socket with a close frame."""
        while True:
            try:
                await self._keep_up()
            except Exception:
                # A bug in handling these symbols must not take the others down, nor hide.
                for intake in self._intakes:
                    intake.failed()
            finally:
                self._reception.stop()
            await self._pause(self._backoff.delay(self._chance()))
            self._begin()
            for intake in self._intakes:
                intake.rebuilt()

    def _begin(self) -> None:
        self._links = Links(self._upkeep.redundancy, self._stale_after)
        self._reception = Reception(self._intakes, self._streams, self._is_leaving, self._monotonic)
        self._connections: dict[Link, Connection] = {}

    def _is_leaving(self, link: Link) -> None:
        link.leaving = DisconnectReason.SERVER_SHUTDOWN
        self._news.set()

    @property
    def _stale_after(self) -> float:
        return min(intake.session.freshness.limit for intake in self._intakes)

    @property
    def _label(self) -> str:
        first, *more = (intake.session.symbol for intake in self._intakes)
        return f"{first} and {len(more)} more" if more else first

    async def _keep_up(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                now = self._monotonic()
                self._look(now)
                need = self._links.need(now)
                if need is not None and now >= self._dial_at:
                    self._links.dialling = True
                    tasks.create_task(self._dial(need))
                await self._wait_for_news(self._next_look(now), now)

    def _look(self, now: float) -> None:
        links = self._links
        links.wanted, links.stale_after = self._upkeep.redundancy, self._stale_after
        if len(links) > 1 or not self._reception.is_caught_up:
            self._reception.look()
        if self._is_back():
            self._note_delivery()
        outgrown = links.outgrown(now, self._reception.is_caught_up)
        if outgrown is not None:
            link, reason = outgrown
            self._connections[link].end(reason)

    def _is_back(self) -> bool:
        """Tell whether, after failures, a new connection delivers."""
        since = self._failing_since if self._failing_since is not None else self._budget.outage_since
        if since is None:
            return False
        return any(link.last_at is not None and link.opened_at >= since for link in self._links)

    def _note_delivery(self) -> None:
        was_out, spread = self._budget.outage_since is not None, self._budget.spread
        self._failing_since = None
        self._budget.delivered()
        if was_out:
            log.warning("the exchange delivers again: everyone connects", extra=fields(symbol=self._label))
            self._outage_over(spread)

    def _note_failing(self) -> None:
        now = self._monotonic()
        if self._failing_since is None:
            self._failing_since = now
        was_out = self._budget.outage_since is not None
        self._budget.failed(self._label, now)
        if not was_out and self._budget.outage_since is not None:
            log.error("the exchange is out for all: one attempt a second until it delivers")

    def _next_look(self, now: float) -> float | None:
        """Return when to look again; None: when there is news."""
        is_back_soon = self._failing_since is not None or self._budget.outage_since is not None
        if len(self._links) and (is_back_soon or not self._reception.is_caught_up):
            return now + LOOK_SECONDS
        if self._links.dialling:
            return self._links.next_look(now) if len(self._links) > 1 else None
        return self._links.next_look(now) if self._links.need(now) is None else self._dial_at

    async def _wait_for_news(self, until: float | None, now: float) -> None:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - now)):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _pause(self, seconds: float) -> None:
        self._show_backoff(seconds)
        await asyncio.sleep(seconds)
        self._show_backoff(0.0)

    def _show_backoff(self, seconds: float) -> None:
        for intake in self._intakes:
            intake.session.backoff_seconds = 0.0 if intake.session.is_connected else seconds

    async def _dial(self, need: Need) -> None:
        """Make one attempt, and use the connection that comes of it until it ends."""
        base = self._next_base()
        url = stream_url(base, self._reception.names)
        try:
            if not await self._has_budget(need):
                return
            if need is Need.PROBE:
                self._links.probing(self._monotonic())
            socket = await connect(self._http, url)
        except ConnectFailed as failed:
            self._note_failure(failed)
            return
        finally:
            self._links.dialling = False
            self._news.set()
        self._failures = 0
        link = self._links.opened(base, self._monotonic(), self._renew_at())
        connection = Connection(
            socket, partial(self._reception.take, link), self._reception.refuse, self._monotonic
        )
        await self._use(link, connection, subscribe_requests(url, self._reception.names))

    async def _has_budget(self, need: Need) -> bool:
        """Wait for the budget's leave. False if there is no need any more."""
        while True:
            now = self._monotonic()
            if need is Need.PROBE and not self._links.is_suspect(now):
                return False
            urgent = need in (Need.FIRST, Need.SUCCESSOR) or not len(self._links)
            wait = self._budget.take(now, is_planned=not urgent)
            if wait == 0.0:
                return True
            # In steps, because what is needed may change; and spread a little, so that those that wait for
            # the same moment don't all come at once.
            self._show_backoff(wait)
            await self._wait_for_hurry(min(wait, BUDGET_STEP_SECONDS) + self._turn() * self._budget.spread)
            self._show_backoff(0.0)

    async def _wait_for_hurry(self, seconds: float) -> None:
        self._hurried.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        except TimeoutError:
            pass

    def _turn(self) -> float:
        """Return a random number from 0 to 1 that is in the first half for symbols that somebody uses."""
        used = any(self._in_use(intake.session.symbol) for intake in self._intakes)
        return self._chance() / 2.0 + (0.0 if used else 0.5)

    def _next_base(self) -> str:
        used = {link.url for link in self._links}
        candidates = [url for url in self._ws_urls if url not in used] or self._ws_urls
        return candidates[self._failures % len(candidates)]

    def _renew_at(self) -> float:
        upkeep = self._upkeep
        age = renewal_age(self._wall(), upkeep.rotate_after, upkeep.rotate_window, self._chance())
        return self._monotonic() + age

    def _note_failure(self, failed: ConnectFailed) -> None:
        self._failures += 1
        self._is_refused_by_rule = failed.failure in REFUSED_BY_RULE
        self._heed(failed)
        if not self._is_refused_by_rule:
            self._note_failing()
        delay = self._backoff.delay(self._turn(), failed.failure, failed.retry_after)
        self._dial_at = self._monotonic() + delay
        for intake in self._intakes:
            intake.connect_failed(failed.failure)
        self._show_backoff(delay)
        log.warning(
            "connecting failed",
            extra=fields(
                symbol=self._label,
                reason=failed.failure,
                detail=failed.detail,
                retry_in_seconds=f"{delay:.1f}",
            ),
        )

    def _heed(self, failed: ConnectFailed) -> None:
        """Hold the whole process back when the exchange asks for it: it counts by address."""
        pause = pause_for(failed.failure, failed.retry_after)
        if pause is not None:
            self._budget.hold(pause, self._monotonic())
            log.error(
                "the exchange asks for a pause: nobody connects for now",
                extra=fields(reason=failed.failure, seconds=pause),
            )

    async def _use(self, link: Link, connection: Connection, requests: Iterable[str]) -> None:
        self._connections[link] = connection
        self._reception.opened(link)
        for intake in self._intakes:
            intake.connected()
        log.info("connected", extra=fields(symbol=self._label, url=link.url, connections=len(self._links)))
        reason = DisconnectReason.SHUTDOWN
        try:
            reason = await connection.read(requests)
        except Exception:
            reason = DisconnectReason.PROTOCOL_ERROR
            raise
        finally:
            try:
                self._ended(link, reason)
            finally:
                await connection.close()
        self._log_end(link, connection, reason)

    def _ended(self, link: Link, reason: DisconnectReason) -> None:
        del self._connections[link]
        self._links.closed(link)
        self._reception.closed(link)
        good_for = max([intake.disconnected(reason) for intake in self._intakes])
        self._backoff.connection_ended(min(good_for, link.heard_at - link.opened_at))
        if link.last_at is None and reason is not DisconnectReason.SHUTDOWN:
            self._note_failing()
        if not len(self._links):
            delay = self._backoff.delay(self._turn())
            self._dial_at = self._monotonic() + delay
            self._show_backoff(delay)
        self._news.set()

    def _log_end(self, link: Link, connection: Connection, reason: DisconnectReason) -> None:
        is_covered = len(self._links) > 0
        log.log(
            logging.INFO if is_covered else logging.WARNING,
            "a connection ended; another one delivers" if is_covered else "disconnected",
            extra=fields(
                symbol=self._label,
                reason=reason,
                close_code=connection.close_code,
                age_seconds=f"{self._monotonic() - link.opened_at:.1f}",
                retry_in_seconds=f"{max(0.0, self._dial_at - self._monotonic()):.1f}",
            ),
        )
