"""Which feeds run: one per symbol, live or from a file. A change touches only what it is about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.sources.live.live_feed import ConnectionPolicy, LiveFeed
from feedd.sources.replay.static_feed import StaticFeed
from feedd.sources.rest.backfill import Backfill
from feedd.sources.rest.client import RestClient
from feedd.sources.rest.pollers import ClockPoller, StatusPoller, VenueStatus, VenueTime
from feedd.sources.symbol_pipeline import Announce, Deliver, SymbolPipeline
from feedd.venues.binance.spot.endpoints import endpoints
from feedd.venues.binance.spot.streams import Stream, parse_stream

SAMPLES: Final = Path(__file__).parents[1] / "samples"
"""What static mode plays where no data of one's own is configured."""
MUTE_CHECK_SECONDS: Final = 1.0
CHECKED_AT_ONCE: Final = 100
"""Symbols whose rhythm is looked at in one go, which takes a fraction of a millisecond."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """A feed from the exchange."""

    ws_urls: tuple[str, ...]
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class StaticPlan:
    """A feed from a file."""

    path: Path | None
    is_only_symbol: bool
    """A single file may have any name if there is but one symbol that it can be about."""
    minutes: float
    speed: float


Plan = LivePlan | StaticPlan
Group = tuple[str, ...]
"""The symbols of one feed."""


def plan_for(settings: Settings) -> Plan:
    """Return what each feed is made of. A feed whose plan stays the same is left alone."""
    if not settings.realtime:
        is_only_symbol = len(settings.symbols) == 1
        return StaticPlan(
            settings.csv_path or SAMPLES, is_only_symbol, settings.csv_minutes, settings.csv_speed
        )
    venue = endpoints(settings.venue, settings.ws_urls, settings.rest_url)
    return LivePlan(venue.ws_urls, tuple(parse_stream(name) for name in settings.streams))


def upkeep_for(settings: Settings) -> ConnectionPolicy:
    """Return how a live feed keeps its connections; this may change while it runs."""
    return ConnectionPolicy(settings.redundancy, settings.rotate_after_hours * 3600.0, settings.rotate_window)


def groups_for(settings: Settings, running: Iterable[Group]) -> list[Group]:
    """Return which symbols share a feed. What runs and can stay as it is does so."""
    size = settings.symbols_per_connection if settings.realtime else 1
    kept = [group for group in running if len(group) <= size and set(group) <= set(settings.symbols)]
    taken = {symbol for group in kept for symbol in group}
    rest = [symbol for symbol in settings.symbols if symbol not in taken]
    return kept + [tuple(rest[start : start + size]) for start in range(0, len(rest), size)]


@dataclass(frozen=True, slots=True)
class _Running:
    plan: Plan
    feed: LiveFeed | StaticFeed
    task: asyncio.Task[None]


class FeedSupervisor:
    """The feeds of one daemon."""

    def __init__(
        self,
        state: DaemonState,
        http: aiohttp.ClientSession,
        tasks: asyncio.TaskGroup,
        deliver: Deliver,
        announce: Announce,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        deliver_backfill: Deliver,
        in_use: Callable[[str], bool],
    ) -> None:
        self._state = state
        self._http = http
        self._tasks = tasks
        self._deliver = deliver
        self._announce = announce
        self._monotonic = monotonic
        self._deliver_backfill = deliver_backfill
        self._in_use = in_use
        self.backfill = Backfill(http, state.connect_budget, monotonic)
        self._pipelines: dict[str, SymbolPipeline] = {}
        self._running: dict[Group, _Running] = {}
        self._clock_poller: ClockPoller | None = None
        self._venue_tasks: tuple[str, list[asyncio.Task[None]]] = ("", [])

    async def apply_settings(self, settings: Settings) -> None:
        """Make what runs what the settings say."""
        plan = plan_for(settings)
        same = [group for group, running in self._running.items() if running.plan == plan]
        groups = groups_for(settings, same)
        await self._end([group for group in self._running if group not in same or group not in groups])
        self._state.apply_settings(settings, self._monotonic())
        for symbol in self._pipelines.keys() - self._state.symbols.keys():
            self._pipelines.pop(symbol).stop()
        for pipeline in self._pipelines.values():
            pipeline.rearm()
        for running in self._running.values():
            if isinstance(running.feed, LiveFeed):
                running.feed.apply_policy(upkeep_for(settings))
        for group in groups:
            if group not in self._running:
                self._begin(group, plan)
        venue = endpoints(settings.venue, settings.ws_urls, settings.rest_url)
        self._ask_venue(venue.rest_url if settings.realtime else "")
        self.backfill.apply_settings(
            venue.rest_url if settings.realtime and settings.backfill else "", self._pipelines
        )
        self.emit_changes()

    def emit_changes(self) -> None:
        """Announce what has changed at any gate."""
        for pipeline in self._pipelines.values():
            pipeline.emit_changes()

    def doubt_clock(self) -> None:
        """Have the venue's clock measured anew: latencies look as if a clock had been set."""
        if self._clock_poller is not None:
            self._clock_poller.doubt()

    async def watch_for_mute_streams(self) -> None:
        """Look at every symbol's rhythm once a second, in portions that hold no message up."""
        while True:
            pipelines = list(self._pipelines.values())
            for start in range(0, len(pipelines), CHECKED_AT_ONCE):
                for pipeline in pipelines[start : start + CHECKED_AT_ONCE]:
                    pipeline.check_mute_streams()
                await asyncio.sleep(0.0)
            await asyncio.sleep(MUTE_CHECK_SECONDS)

    async def stop(self) -> None:
        """End every feed, each socket with a close frame."""
        await self._end(list(self._running))
        self._ask_venue("")
        self.backfill.apply_settings("", self._pipelines)
        for pipeline in self._pipelines.values():
            pipeline.stop()

    def _begin(self, group: Group, plan: Plan) -> None:
        pipelines = [self._pipeline(symbol) for symbol in group]
        feed: LiveFeed | StaticFeed
        match plan:
            case LivePlan():
                for pipeline in pipelines:
                    pipeline.begin(plan.streams, measures_latency=True)
                upkeep, budget = upkeep_for(self._state.settings), self._state.connect_budget
                feed = LiveFeed(
                    self._http,
                    plan.ws_urls,
                    pipelines,
                    plan.streams,
                    budget,
                    upkeep,
                    in_use=self._in_use,
                    outage_over=self._hurry,
                )
            case StaticPlan():
                (pipeline,) = pipelines
                pipeline.begin((), measures_latency=False)
                feed = StaticFeed(
                    pipeline, plan.path, plan.minutes, plan.speed, is_only_symbol=plan.is_only_symbol
                )
        task = self._tasks.create_task(feed.run(), name=f"feed {' '.join(group)}")
        self._running[group] = _Running(plan, feed, task)

    def _hurry(self, spread: float) -> None:
        for running in self._running.values():
            if isinstance(running.feed, LiveFeed):
                running.feed.hurry(spread)

    def _pipeline(self, symbol: str) -> SymbolPipeline:
        if symbol not in self._pipelines:
            self._pipelines[symbol] = SymbolPipeline(
                self._state.symbols[symbol],
                self._deliver,
                self._announce,
                self._monotonic,
                note_missing=self.backfill.note,
                deliver_backfill=self._deliver_backfill,
            )
        return self._pipelines[symbol]

    async def _end(self, groups: list[Group]) -> None:
        ending = [self._running.pop(group).task for group in groups]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _ask_venue(self, rest_url: str) -> None:
        """Ask that address for the venue's time and status; nobody if it is empty."""
        asked, tasks = self._venue_tasks
        if rest_url == asked:
            return
        for task in tasks:
            task.cancel()
        self._clock_poller = None
        self._venue_tasks = (rest_url, self._pollers(rest_url) if rest_url else [])

    def _pollers(self, rest_url: str) -> list[asyncio.Task[None]]:
        http = RestClient(self._http, self._state.connect_budget, self._monotonic)
        self._clock_poller = ClockPoller(VenueTime(http, rest_url), self._state.clock)
        status = StatusPoller(VenueStatus(http, rest_url), lambda: tuple(self._pipelines), self._note_status)
        return [
            self._tasks.create_task(self._clock_poller.run(), name="clock"),
            self._tasks.create_task(
                status.run(lambda: self._state.settings.exchange_status_seconds), name="exchange status"
            ),
        ]

    def _note_status(self, symbol: str, status: str) -> None:
        if symbol in self._pipelines:
            self._pipelines[symbol].note_status(status)
