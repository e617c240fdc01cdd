"""The live feed: reconnecting WebSocket clients, one for each symbol and route unless more are packed.

A second connection is made before the first is broken, and the messages of both are brought into one order.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import aiohttp

from feedd.core.budgets import ConnectBudget
from feedd.core.connection_set import RECHECK_SECONDS, ConnectionRecord, ConnectionSet, Need
from feedd.core.renewal import renewal_age
from feedd.logs import fields
from feedd.model import DisconnectReason, RotateWindow
from feedd.sources.live.connection import ConnectFailed, Connection, ConnectionTiming
from feedd.sources.live.demux import Demultiplexer
from feedd.sources.live.dialler import DialCalls, Dialler
from feedd.sources.symbol_pipeline import SymbolPipeline
from feedd.venues.binance.common.stream_urls import stream_url, subscribe_requests
from feedd.venues.venue import Route, Venue

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionPolicy:
    """How a feed keeps its connections."""

    redundancy: int = 1
    """How many it holds for good: 1 or 2."""
    rotate_after: float = 23.0 * 3600.0
    """Seconds after which a connection is renewed where no window is set."""
    rotate_window: RotateWindow | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a feed needs of the process it runs in."""

    http: aiohttp.ClientSession
    budget: ConnectBudget
    in_use: Callable[[str], bool] = lambda _: False
    """Tells whether anybody uses a symbol: then it goes first."""
    outage_over: Callable[[float], None] = lambda _: None
    """Told when the exchange delivers again, and over how many seconds everyone's return is to be spread."""
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    """Returns a random number from 0 to 1."""


class LiveFeed:
    """The client of one route of one symbol, or of a few that share a connection. Runs until cancelled."""

    def __init__(
        self,
        venue: Venue,
        route: Route,
        pipelines: Sequence[SymbolPipeline],
        policy: ConnectionPolicy,
        surroundings: Surroundings,
        timing: ConnectionTiming | None = None,
    ) -> None:
        self._venue = venue
        self._route = route
        self._pipelines = pipelines
        self._policy = policy
        self._timing = ConnectionTiming.under(venue.rules) if timing is None else timing
        self._in_use = surroundings.in_use
        self._outage_over = surroundings.outage_over
        self._monotonic = surroundings.monotonic
        self._wall = surroundings.wall
        self._chance = surroundings.chance
        self._news = asyncio.Event()
        calls = DialCalls(self._turn, self._show_backoff)
        self._dialler = Dialler(
            surroundings.http,
            route.ws_urls,
            self._label,
            surroundings.budget,
            self._timing,
            calls,
            surroundings.monotonic,
        )
        self._begin()

    def apply_policy(self, policy: ConnectionPolicy) -> None:
        """Keep the connections another way from now on."""
        self._policy = policy
        self._news.set()

    def hurry(self, spread: float) -> None:
        """Try again within so many seconds, whatever was waited for: the exchange is back."""
        if not len(self._connection_set) and self._dialler.hurry(spread):
            self._news.set()

    async def run(self) -> None:
        """Keep the feed up until cancelled; then close each socket with a close frame."""
        while True:
            try:
                await self._keep_up()
            except Exception:
                # A bug in handling these symbols must not take the others down, nor hide.
                for pipeline in self._pipelines:
                    pipeline.failed(self._route.name)
            finally:
                self._demultiplexer.stop()
            await self._pause(self._dialler.delay_after_bug(self._chance()))
            self._begin()
            for pipeline in self._pipelines:
                pipeline.rebuilt(self._route.name)

    def _begin(self) -> None:
        self._connection_set = ConnectionSet(self._policy.redundancy, self._stale_after)
        self._demultiplexer = Demultiplexer(
            self._venue.decoder,
            self._pipelines,
            self._route.streams,
            self._is_leaving,
            self._monotonic,
            part=self._route.name,
        )
        self._sockets: dict[ConnectionRecord, Connection] = {}

    def _is_leaving(self, record: ConnectionRecord) -> None:
        record.leave(DisconnectReason.SERVER_SHUTDOWN)
        self._news.set()

    @property
    def _stale_after(self) -> float:
        return min(pipeline.symbol_state.stale_after for pipeline in self._pipelines)

    @property
    def _label(self) -> str:
        first, *more = (pipeline.symbol_state.symbol for pipeline in self._pipelines)
        name = f"{first} and {len(more)} more" if more else first
        return f"{name} {self._route.name}" if self._route.name else name

    async def _keep_up(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                now = self._monotonic()
                self._review(now)
                need = self._connection_set.wants_connection(now)
                if need is not None and now >= self._dialler.due_at:
                    self._connection_set.dialling(True)
                    tasks.create_task(self._dial(need))
                await self._wait_for_news(self._next_review_at(now), now)

    def _review(self, now: float) -> None:
        connections = self._connection_set
        connections.apply_policy(self._policy.redundancy, self._stale_after)
        if len(connections) > 1 or not self._demultiplexer.is_caught_up:
            self._demultiplexer.release_held()
        if self._is_back():
            spread = self._dialler.note_delivery()
            if spread is not None:
                self._outage_over(spread)
        to_retire = connections.to_retire(now, self._demultiplexer.is_caught_up)
        if to_retire is not None:
            record, reason = to_retire
            self._sockets[record].end(reason)

    def _is_back(self) -> bool:
        """Tell whether, after failures, a new connection delivers."""
        since = self._dialler.trouble_since
        if since is None:
            return False
        return any(
            record.last_at is not None and record.opened_at >= since for record in self._connection_set
        )

    def _next_review_at(self, now: float) -> float | None:
        """Return when to review again; None: when there is news."""
        connections = self._connection_set
        is_back_soon = self._dialler.trouble_since is not None
        if len(connections) and (is_back_soon or not self._demultiplexer.is_caught_up):
            return now + RECHECK_SECONDS
        if connections.is_dialling:
            return connections.next_decision_at(now) if len(connections) > 1 else None
        if connections.wants_connection(now) is None:
            return connections.next_decision_at(now)
        return self._dialler.due_at

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
            pipeline.delay_reconnect(seconds, self._route.name)

    async def _dial(self, need: Need) -> None:
        """Make one attempt, and use the connection that comes of it until it ends."""
        base = self._dialler.next_url({record.url for record in self._connection_set})
        url = stream_url(base, self._demultiplexer.names)
        try:
            if not await self._dialler.has_budget(
                partial(self._is_wanted, need), partial(self._is_urgent, need)
            ):
                return
            if need is Need.PROBE:
                self._connection_set.probing(self._monotonic())
            socket = await self._dialler.connect(url)
        except ConnectFailed as failed:
            self._note_failure(failed)
            return
        finally:
            self._connection_set.dialling(False)
            self._news.set()
        record = self._connection_set.opened(base, self._monotonic(), self._renew_at())
        take = partial(self._demultiplexer.accept, record)
        connection = Connection(socket, take, self._demultiplexer.refuse, self._timing, self._monotonic)
        await self._run_connection(record, connection, subscribe_requests(url, self._demultiplexer.names))

    def _is_wanted(self, need: Need) -> bool:
        return need is not Need.PROBE or self._connection_set.is_suspect(self._monotonic())

    def _is_urgent(self, need: Need) -> bool:
        return need in (Need.FIRST, Need.SUCCESSOR) or not len(self._connection_set)

    def _turn(self) -> float:
        """Return a random number from 0 to 1 that is in the first half for symbols that somebody uses."""
        used = any(self._in_use(pipeline.symbol_state.symbol) for pipeline in self._pipelines)
        return self._chance() / 2.0 + (0.0 if used else 0.5)

    def _renew_at(self) -> float:
        policy = self._policy
        age = renewal_age(self._wall(), policy.rotate_after, policy.rotate_window, self._chance())
        return self._monotonic() + age

    def _note_failure(self, failed: ConnectFailed) -> None:
        delay = self._dialler.attempt_failed(failed)
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

    async def _run_connection(
        self, record: ConnectionRecord, connection: Connection, requests: Iterable[str]
    ) -> None:
        self._sockets[record] = connection
        self._demultiplexer.opened(record)
        for pipeline in self._pipelines:
            pipeline.connected(self._route.name)
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
        good_for = max([pipeline.disconnected(reason, self._route.name) for pipeline in self._pipelines])
        self._dialler.connection_ended(min(good_for, record.heard_at - record.opened_at))
        if record.last_at is None and reason is not DisconnectReason.SHUTDOWN:
            self._dialler.note_failing()
        if not len(self._connection_set):
            self._dialler.all_ended()
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
                retry_in_seconds=f"{max(0.0, self._dialler.due_at - self._monotonic()):.1f}",
            ),
        )
