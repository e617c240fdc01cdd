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
from feedd.core.daemon_state import Desk
from feedd.sources.live.live_feed import Feed, Upkeep
from feedd.sources.replay.static_feed import StaticFeed
from feedd.sources.rest.backfill import Backfill
from feedd.sources.rest.client import VenueHttp
from feedd.sources.rest.pollers import ClockKeeper, StatusKeeper, VenueStatus, VenueTime
from feedd.sources.symbol_pipeline import Announce, Deliver, Intake
from feedd.venues.binance.spot.endpoints import endpoints
from feedd.venues.binance.spot.streams import Stream, parse_stream

SAMPLES: Final = Path(__file__).parents[1] / "samples"
"""What static mode plays where no data of one's own is configured."""
LOOK_SECONDS: Final = 1.0
LOOKED_AT_ONCE: Final = 100
"""Symbols whose rhythm is looked at in one go, which takes a fraction of a millisecond."""


@dataclass(frozen=True, slots=True)
class Live:
    """A feed from the exchange."""

    ws_urls: tuple[str, ...]
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class Static:
    """A feed from a file."""

    path: Path | None
    is_only_symbol: bool
    """A single file may have any name if there is but one symbol that it can be about."""
    minutes: float
    speed: float


Plan = Live | Static
Group = tuple[str, ...]
"""The symbols of one feed."""


def plan_for(settings: Settings) -> Plan:
    """Return what each feed is made of. A feed whose plan stays the same is left alone."""
    if not settings.realtime:
        is_only_symbol = len(settings.symbols) == 1
        return Static(settings.csv_path or SAMPLES, is_only_symbol, settings.csv_minutes, settings.csv_speed)
    venue = endpoints(settings.venue, settings.ws_urls, settings.rest_url)
    return Live(venue.ws_urls, tuple(parse_stream(name) for name in settings.streams))


def upkeep_for(settings: Settings) -> Upkeep:
    """Return how a live feed keeps its connections; this may change while it runs."""
    return Upkeep(settings.redundancy, settings.rotate_after_hours * 3600.0, settings.rotate_window)


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
    feed: Feed | StaticFeed
    task: asyncio.Task[None]


class Feeds:
    """The feeds of one desk."""

    def __init__(
        self,
        desk: Desk,
        http: aiohttp.ClientSession,
        tasks: asyncio.TaskGroup,
        deliver: Deliver,
        announce: Announce,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        deliver_backfill: Deliver,
        in_use: Callable[[str], bool],
    ) -> None:
        self._desk = desk
        self._http = http
        self._tasks = tasks
        self._deliver = deliver
        self._announce = announce
        self._monotonic = monotonic
        self._deliver_backfill = deliver_backfill
        self._in_use = in_use
        self.backfill = Backfill(http, desk.connect_budget, monotonic)
        self._intakes: dict[str, Intake] = {}
        self._running: dict[Group, _Running] = {}
        self._clock_keeper: ClockKeeper | None = None
        self._venue_tasks: tuple[str, list[asyncio.Task[None]]] = ("", [])

    async def follow(self, settings: Settings) -> None:
        """Make what runs what the settings say."""
        plan = plan_for(settings)
        same = [group for group, running in self._running.items() if running.plan == plan]
        groups = groups_for(settings, same)
        await self._end([group for group in self._running if group not in same or group not in groups])
        self._desk.follow(settings, self._monotonic())
        for symbol in self._intakes.keys() - self._desk.sessions.keys():
            self._intakes.pop(symbol).stop()
        for intake in self._intakes.values():
            intake.rearm()
        for running in self._running.values():
            if isinstance(running.feed, Feed):
                running.feed.follow(upkeep_for(settings))
        for group in groups:
            if group not in self._running:
                self._begin(group, plan)
        venue = endpoints(settings.venue, settings.ws_urls, settings.rest_url)
        self._ask_venue(venue.rest_url if settings.realtime else "")
        self.backfill.follow(venue.rest_url if settings.realtime and settings.backfill else "", self._intakes)
        self.tell()

    def tell(self) -> None:
        """Announce what has changed at any gate."""
        for intake in self._intakes.values():
            intake.tell()

    def doubt_clock(self) -> None:
        """Have the venue's clock measured anew: latencies look as if a clock had been set."""
        if self._clock_keeper is not None:
            self._clock_keeper.doubt()

    async def keep_looking(self) -> None:
        """Look at every symbol's rhythm once a second, in portions that hold no message up."""
        while True:
            intakes = list(self._intakes.values())
            for start in range(0, len(intakes), LOOKED_AT_ONCE):
                for intake in intakes[start : start + LOOKED_AT_ONCE]:
                    intake.look()
                await asyncio.sleep(0.0)
            await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """End every feed, each socket with a close frame."""
        await self._end(list(self._running))
        self._ask_venue("")
        self.backfill.follow("", self._intakes)
        for intake in self._intakes.values():
            intake.stop()

    def _begin(self, group: Group, plan: Plan) -> None:
        intakes = [self._intake(symbol) for symbol in group]
        feed: Feed | StaticFeed
        match plan:
            case Live():
                for intake in intakes:
                    intake.begin(plan.streams, measures_latency=True)
                upkeep, budget = upkeep_for(self._desk.settings), self._desk.connect_budget
                feed = Feed(
                    self._http,
                    plan.ws_urls,
                    intakes,
                    plan.streams,
                    budget,
                    upkeep,
                    in_use=self._in_use,
                    outage_over=self._hurry,
                )
            case Static():
                (intake,) = intakes
                intake.begin((), measures_latency=False)
                feed = StaticFeed(
                    intake, plan.path, plan.minutes, plan.speed, is_only_symbol=plan.is_only_symbol
                )
        task = self._tasks.create_task(feed.run(), name=f"feed {' '.join(group)}")
        self._running[group] = _Running(plan, feed, task)

    def _hurry(self, spread: float) -> None:
        for running in self._running.values():
            if isinstance(running.feed, Feed):
                running.feed.hurry(spread)

    def _intake(self, symbol: str) -> Intake:
        if symbol not in self._intakes:
            self._intakes[symbol] = Intake(
                self._desk.sessions[symbol],
                self._deliver,
                self._announce,
                self._monotonic,
                note_missing=self.backfill.note,
                deliver_backfill=self._deliver_backfill,
            )
        return self._intakes[symbol]

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
        self._clock_keeper = None
        self._venue_tasks = (rest_url, self._keepers(rest_url) if rest_url else [])

    def _keepers(self, rest_url: str) -> list[asyncio.Task[None]]:
        http = VenueHttp(self._http, self._desk.connect_budget, self._monotonic)
        self._clock_keeper = ClockKeeper(VenueTime(http, rest_url), self._desk.clock)
        status = StatusKeeper(VenueStatus(http, rest_url), lambda: tuple(self._intakes), self._note_status)
        return [
            self._tasks.create_task(self._clock_keeper.run(), name="clock"),
            self._tasks.create_task(
                status.run(lambda: self._desk.settings.exchange_status_seconds), name="exchange status"
            ),
        ]

    def _note_status(self, symbol: str, status: str) -> None:
        if symbol in self._intakes:
            self._intakes[symbol].note_status(status)
