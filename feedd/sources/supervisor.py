"""Which feeds run: one per symbol, live or from a file. A change touches only what it is about."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from feedd.config.settings import Settings
from feedd.config.venue_choice import streams_for, venue_for
from feedd.core.daemon_state import DaemonState
from feedd.model import UNROUTED
from feedd.sources.live.live_feed import ConnectionPolicy, LiveFeed, Surroundings
from feedd.sources.options import SourceOptions
from feedd.sources.replay.static_feed import StaticFeed
from feedd.sources.rest.backfill import Backfill
from feedd.sources.rest.client import RestClient
from feedd.sources.rest.pollers import ClockPoller, StatusPoller, VenueStatus, VenueTime
from feedd.sources.symbol_pipeline import Announce, Deliver, DeliverEvent, SymbolPipeline
from feedd.venues.venue import Route, Venue

SAMPLES: Final = Path(__file__).parents[1] / "samples"
"""What static mode plays where no data of one's own is configured."""
MUTE_CHECK_SECONDS: Final = 1.0
CHECKED_AT_ONCE: Final = 100
"""Symbols whose rhythm is looked at in one go, which takes a fraction of a millisecond."""


@dataclass(frozen=True, slots=True)
class LivePlan:
    """A feed from the exchange, by one of the venue's routes."""

    venue_name: str
    route: Route
    venue: Venue = field(compare=False)
    """As it was when the feed began. Its REST side may be another one later, which is nothing to a feed."""


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


@dataclass(frozen=True, slots=True)
class FeedKey:
    """What tells one feed from another: its symbols, and the route that it connects by."""

    route: str
    group: Group


def plans_for(settings: Settings) -> dict[str, Plan]:
    """Return what the feeds of each route are made of. A feed whose plan stays the same is left alone."""
    if not settings.realtime:
        is_only_symbol = len(settings.symbols) == 1
        path = settings.csv_path or SAMPLES
        return {UNROUTED: StaticPlan(path, is_only_symbol, settings.csv_minutes, settings.csv_speed)}
    venue = venue_for(settings)
    return {route.name: LivePlan(venue.name, route, venue) for route in venue.routes(streams_for(settings))}


def policy_for(settings: Settings) -> ConnectionPolicy:
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
        deliver_event: DeliverEvent | None = None,
        in_use: Callable[[str], bool],
        options: SourceOptions | None = None,
    ) -> None:
        self._state = state
        self._tasks = tasks
        self._deliver = deliver
        self._announce = announce
        self._monotonic = monotonic
        self._deliver_backfill = deliver_backfill
        self._deliver_event = deliver_event
        self._options = SourceOptions() if options is None else options
        self._http = http
        self._surroundings = Surroundings(
            http, state.connect_budget, in_use=in_use, outage_over=self._hurry, monotonic=monotonic
        )
        self.backfill = Backfill(
            http,
            state.connect_budget,
            monotonic,
            timing=self._options.backfill,
            weights=self._options.weights,
        )
        self._pipelines: dict[str, SymbolPipeline] = {}
        self._running: dict[FeedKey, _Running] = {}
        self._clock_poller: ClockPoller | None = None
        self._asked: tuple[tuple[str, str] | None, list[asyncio.Task[None]]] = (None, [])
        """Which venue is asked for its time and the symbols' status, at which address, and who asks."""

    async def end_outdated(self, settings: Settings) -> None:
        """End every feed that these settings don't have, or have otherwise: the first half of a change.

        When it returns, nothing of a source that is left delivers any more: the daemon's state may change.
        """
        wanted = self._wanted(settings)
        await self._end([key for key, running in self._running.items() if wanted.get(key) != running.plan])

    def begin(self, settings: Settings) -> None:
        """Make what runs what the settings say, once the daemon's state knows them: the second half."""
        for symbol in self._pipelines.keys() - self._state.symbols.keys():
            self._pipelines.pop(symbol).stop()
        for pipeline in self._pipelines.values():
            pipeline.rearm()
        for running in self._running.values():
            if isinstance(running.feed, LiveFeed):
                running.feed.apply_policy(policy_for(settings))
        missing = {key: plan for key, plan in self._wanted(settings).items() if key not in self._running}
        self._begin_symbols(missing, settings)
        self._begin_rerouted(settings)
        for key, plan in missing.items():
            self._begin(key, plan)
        venue = venue_for(settings)
        self._ask_venue(venue if settings.realtime and venue.rest_url else None)
        is_fetching = settings.realtime and settings.backfill and venue.rest_url
        self.backfill.apply_settings(venue if is_fetching else None, self._pipelines)
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
        """Check every symbol's streams once a second, in portions that hold no message up."""
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
        self._ask_venue(None)
        self.backfill.apply_settings(None, self._pipelines)
        for pipeline in self._pipelines.values():
            pipeline.stop()

    def _wanted(self, settings: Settings) -> dict[FeedKey, Plan]:
        """Return every feed that the settings ask for, with what it is made of."""
        wanted = {}
        for route, plan in plans_for(settings).items():
            same = [
                key.group
                for key, running in self._running.items()
                if key.route == route and running.plan == plan
            ]
            for group in groups_for(settings, same):
                wanted[FeedKey(route, group)] = plan
        return wanted

    def _begin_symbols(self, beginning: Mapping[FeedKey, Plan], settings: Settings) -> None:
        """Have the symbols of these feeds begin anew, each once, whatever number of routes it has."""
        streams = streams_for(settings) if settings.realtime else ()
        for symbol in dict.fromkeys(symbol for key in beginning for symbol in key.group):
            self._pipeline(symbol).begin(streams, measures_latency=settings.realtime)

    def _begin_rerouted(self, settings: Settings) -> None:
        """Have symbols begin anew that have lost a route: nobody is to wait for it."""
        routes = plans_for(settings).keys()
        for pipeline in self._pipelines.values():
            if pipeline.symbol_state.routes.keys() != routes:
                pipeline.begin(streams_for(settings), measures_latency=settings.realtime)

    def _begin(self, key: FeedKey, plan: Plan) -> None:
        pipelines = [self._pipeline(symbol) for symbol in key.group]
        feed: LiveFeed | StaticFeed
        match plan:
            case LivePlan(route=route, venue=venue):
                policy, timing = policy_for(self._state.settings), self._options.connection
                feed = LiveFeed(venue, route, pipelines, policy, self._surroundings, timing)
            case StaticPlan(path, is_only_symbol, minutes, speed):
                (pipeline,) = pipelines
                feed = StaticFeed(pipeline, path, minutes, speed, is_only_symbol=is_only_symbol)
        task = self._tasks.create_task(feed.run(), name=f"feed {key.route} {' '.join(key.group)}")
        self._running[key] = _Running(plan, feed, task)

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
                deliver_event=self._deliver_event,
            )
        return self._pipelines[symbol]

    async def _end(self, keys: list[FeedKey]) -> None:
        ending = [self._running.pop(key).task for key in keys]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _ask_venue(self, venue: Venue | None) -> None:
        """Ask that venue for its time and status; nobody where it is None."""
        address = None if venue is None else (venue.name, venue.rest_url)
        asked, tasks = self._asked
        if address == asked:
            return
        for task in tasks:
            task.cancel()
        self._clock_poller = None
        self._asked = (address, [] if venue is None else self._pollers(venue))

    def _pollers(self, venue: Venue) -> list[asyncio.Task[None]]:
        http = RestClient(self._http, self._state.connect_budget, self._monotonic)
        venue_time = VenueTime(http, venue.rest_url + venue.rest.time)
        self._clock_poller = ClockPoller(venue_time, self._state.clock, timing=self._options.clock)
        venue_status = VenueStatus(http, venue.rest_url + venue.rest.exchange_info)
        status = StatusPoller(venue_status, lambda: tuple(self._pipelines), self._note_status)
        return [
            self._tasks.create_task(self._clock_poller.run(), name="clock"),
            self._tasks.create_task(
                status.run(lambda: self._state.settings.exchange_status_seconds), name="exchange status"
            ),
        ]

    def _note_status(self, symbol: str, status: str) -> None:
        if symbol in self._pipelines:
            self._pipelines[symbol].note_status(status)
