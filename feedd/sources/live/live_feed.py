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

from feedd.core.backoff import REFUSED_BY_RULE, Backoff
from feedd.core.budgets import ConnectBudget
from feedd.core.connection_set import RECHECK_SECONDS, ConnectionRecord, ConnectionSet, Need
from feedd.core.renewal import renewal_age
from feedd.logs import fields
from feedd.model import DisconnectReason, RotateWindow
from feedd.sources.live.connection import ConnectFailed, Connection, connect, pause_for
from feedd.sources.live.demux import Demultiplexer
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.spot.endpoints import stream_url, subscribe_requests
from feedd.venues.binance.spot.streams import Stream

log = logging.getLogger(__name__)

BUDGET_STEP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """How a feed keeps its connections."""

    redundancy: int = 1
    """How many it holds for good: 1 or 2."""
    rotate_after: float = 23.0 * 3600.0
    """Seconds after which a connection is renewed where no window is set."""
    rotate_window: RotateWindow | None = None


class LiveFeed:
    """The client of one symbol, or of a few that share a connection. Runs until cancelled."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        ws_urls: Sequence[str],
        pipelines: Sequence[SymbolPipeline],
        streams: Iterable[Stream],
        budget: ConnectBudget,
        upkeep: ConnectionPolicy,
        *,
        in_use: Callable[[str], bool] = lambda _: False,
        outage_over: Callable[[float], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._http = http
        self._ws_urls = ws_urls
        self._pipelines = pipelines
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

    def apply_policy(self, upkeep: ConnectionPolicy) -> None:
        """Keep the connections another way from now on."""
        self._upkeep = upkeep
        self._news.set()

    def hurry(self, spread: float) -> None:
        """Try again within so many seconds, whatever was waited for: the exchange is back."""
        if not len(self._connection_set) and not self._is_refused_by_rule:
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
                for pipeline in self._pipelines:
                    pipeline.failed()
            finally:
                self._demultiplexer.stop()
            await self._pause(self._backoff.delay(self._chance()))
            self._begin()
            for pipeline in self._pipelines:
                pipeline.rebuilt()

    def _begin(self) -> None:
        self._connection_set = ConnectionSet(self._upkeep.redundancy, self._stale_after)
        self._demultiplexer = Demultiplexer(self._pipelines, self._streams, self._is_leaving, self._monotonic)
        self._sockets: dict[ConnectionRecord, Connection] = {}

    def _is_leaving(self, record: ConnectionRecord) -> None:
        record.leaving = DisconnectReason.SERVER_SHUTDOWN
        self._news.set()

    @property
    def _stale_after(self) -> float:
        return min(pipeline.symbol_state.staleness.limit for pipeline in self._pipelines)

    @property
    def _label(self) -> str:
        first, *more = (pipeline.symbol_state.symbol for pipeline in self._pipelines)
        return f"{first} and {len(more)} more" if more else first

    async def _keep_up(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                now = self._monotonic()
                self._review(now)
                need = self._connection_set.need(now)
                if need is not None and now >= self._dial_at:
                    self._connection_set.dialling = True
                    tasks.create_task(self._dial(need))
                await self._wait_for_news(self._next_review_at(now), now)

    def _review(self, now: float) -> None:
        connection_set = self._connection_set
        connection_set.wanted, connection_set.stale_after = self._upkeep.redundancy, self._stale_after
        if len(connection_set) > 1 or not self._demultiplexer.is_caught_up:
            self._demultiplexer.release_held()
        if self._is_back():
            self._note_delivery()
        to_retire = connection_set.to_retire(now, self._demultiplexer.is_caught_up)
        if to_retire is not None:
            record, reason = to_retire
            self._sockets[record].end(reason)

    def _is_back(self) -> bool:
        """Tell whether, after failures, a new connection delivers."""
        since = self._failing_since if self._failing_since is not None else self._budget.outage_since
        if since is None:
            return False
        return any(
            record.last_at is not None and record.opened_at >= since for record in self._connection_set
        )

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

    def _next_review_at(self, now: float) -> float | None:
        """Return when to look again; None: when there is news."""
        is_back_soon = self._failing_since is not None or self._budget.outage_since is not None
        if len(self._connection_set) and (is_back_soon or not self._demultiplexer.is_caught_up):
            return now + RECHECK_SECONDS
        if self._connection_set.dialling:
            return self._connection_set.next_decision_at(now) if len(self._connection_set) > 1 else None
        return (
            self._connection_set.next_decision_at(now)
            if self._connection_set.need(now) is None
            else self._dial_at
        )

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
        for pipeline in self._pipelines:
            pipeline.symbol_state.backoff_seconds = 0.0 if pipeline.symbol_state.is_connected else seconds

    async def _dial(self, need: Need) -> None:
        """Make one attempt, and use the connection that comes of it until it ends."""
        base = self._next_base()
        url = stream_url(base, self._demultiplexer.names)
        try:
            if not await self._has_budget(need):
                return
            if need is Need.PROBE:
                self._connection_set.probing(self._monotonic())
            socket = await connect(self._http, url)
        except ConnectFailed as failed:
            self._note_failure(failed)
            return
        finally:
            self._connection_set.dialling = False
            self._news.set()
        self._failures = 0
        record = self._connection_set.opened(base, self._monotonic(), self._renew_at())
        connection = Connection(
            socket, partial(self._demultiplexer.accept, record), self._demultiplexer.refuse, self._monotonic
        )
        await self._run_connection(record, connection, subscribe_requests(url, self._demultiplexer.names))

    async def _has_budget(self, need: Need) -> bool:
        """Wait for the budget's leave. False if there is no need any more."""
        while True:
            now = self._monotonic()
            if need is Need.PROBE and not self._connection_set.is_suspect(now):
                return False
            urgent = need in (Need.FIRST, Need.SUCCESSOR) or not len(self._connection_set)
            wait = self._budget.acquire(now, is_planned=not urgent)
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
        used = any(self._in_use(pipeline.symbol_state.symbol) for pipeline in self._pipelines)
        return self._chance() / 2.0 + (0.0 if used else 0.5)

    def _next_base(self) -> str:
        used = {record.url for record in self._connection_set}
        candidates = [url for url in self._ws_urls if url not in used] or self._ws_urls
        return candidates[self._failures % len(candidates)]

    def _renew_at(self) -> float:
        upkeep = self._upkeep
        age = renewal_age(self._wall(), upkeep.rotate_after, upkeep.rotate_window, self._chance())
        return self._monotonic() + age

    def _note_failure(self, failed: ConnectFailed) -> None:
        self._failures += 1
        self._is_refused_by_rule = failed.failure in REFUSED_BY_RULE
        self._honour_pause(failed)
        if not self._is_refused_by_rule:
            self._note_failing()
        delay = self._backoff.delay(self._turn(), failed.failure, failed.retry_after)
        self._dial_at = self._monotonic() + delay
        for pipeline in self._pipelines:
            pipeline.connect_failed(failed.failure)
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

    def _honour_pause(self, failed: ConnectFailed) -> None:
        """Hold the whole process back when the exchange asks for it: it counts by address."""
        pause = pause_for(failed.failure, failed.retry_after)
        if pause is not None:
            self._budget.hold(pause, self._monotonic())
            log.error(
                "the exchange asks for a pause: nobody connects for now",
                extra=fields(reason=failed.failure, seconds=pause),
            )

    async def _run_connection(
        self, record: ConnectionRecord, connection: Connection, requests: Iterable[str]
    ) -> None:
        self._sockets[record] = connection
        self._demultiplexer.opened(record)
        for pipeline in self._pipelines:
            pipeline.connected()
        log.info(
            "connected",
            extra=fields(symbol=self._label, url=record.url, connections=len(self._connection_set)),
        )
        reason = DisconnectReason.SHUTDOWN
        try:
            reason = await connection.read(requests)
        except Exception:
            reason = DisconnectReason.PROTOCOL_ERROR
            raise
        finally:
            try:
                self._ended(record, reason)
            finally:
                await connection.close()
        self._log_end(record, connection, reason)

    def _ended(self, record: ConnectionRecord, reason: DisconnectReason) -> None:
        del self._sockets[record]
        self._connection_set.closed(record)
        self._demultiplexer.closed(record)
        good_for = max([pipeline.disconnected(reason) for pipeline in self._pipelines])
        self._backoff.connection_ended(min(good_for, record.heard_at - record.opened_at))
        if record.last_at is None and reason is not DisconnectReason.SHUTDOWN:
            self._note_failing()
        if not len(self._connection_set):
            delay = self._backoff.delay(self._turn())
            self._dial_at = self._monotonic() + delay
            self._show_backoff(delay)
        self._news.set()

    def _log_end(self, record: ConnectionRecord, connection: Connection, reason: DisconnectReason) -> None:
        is_covered = len(self._connection_set) > 0
        log.log(
            logging.INFO if is_covered else logging.WARNING,
            "a connection ended; another one delivers" if is_covered else "disconnected",
            extra=fields(
                symbol=self._label,
                reason=reason,
                close_code=connection.close_code,
                age_seconds=f"{self._monotonic() - record.opened_at:.1f}",
                retry_in_seconds=f"{max(0.0, self._dial_at - self._monotonic()):.1f}",
            ),
        )
