"""The daemon: wires source, core and outputs together, and starts and stops them in a written order.

Start: HTTP first, so that an operator can look from the first moment; then the clock and the feeds.
Stop: feeds first, each with a close frame; then consumers and HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from feedd import __version__
from feedd.binance.endpoints import endpoints
from feedd.core.desk import Desk
from feedd.core.gate import GateChange
from feedd.core.session import Lane, Session
from feedd.logs import fields
from feedd.model import Reason
from feedd.outputs.gate_events import GateEvents
from feedd.outputs.web import Web
from feedd.settings import Listen, Settings
from feedd.sources.intake import Deliver, Intake
from feedd.sources.realtime import Feed
from feedd.sources.rest import ClockKeeper, VenueTime

log = logging.getLogger(__name__)

SUPERVISE_SECONDS = 1.0
LOOP_LAG_SECONDS = 0.25
"""How often the event loop's lag is taken."""


class Daemon:
    """One feedd."""

    def __init__(self, settings: Settings, deliver: Deliver | None = None) -> None:
        """Prepare a daemon; `deliver` is called for every message that is handed on."""
        self.desk = Desk(settings, time.monotonic(), time.time())
        self._settings = settings
        self._endpoints = endpoints(settings.venue, settings.ws_url, settings.rest_url)
        self._gate_events = GateEvents(self.desk)
        self._web = Web(self.desk, self._gate_events)
        self._deliver = deliver or _to_nobody
        self._intakes = {
            symbol: Intake(session, self._deliver, self._announce)
            for symbol, session in self.desk.sessions.items()
        }
        self._clock_keeper: ClockKeeper | None = None
        self._listening: asyncio.Future[Listen] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises OSError where the address can't be listened on."""
        async with self._listen():
            self._log_start()
            async with _http_client() as http, asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work, name=name) for name, work in self._work(http)]
                await stop.wait()
                log.info("stopping")
                for task in running:
                    task.cancel()

    async def listening(self) -> Listen:
        """Wait until the HTTP side answers; returns its address."""
        return await asyncio.shield(self._address())

    def _address(self) -> asyncio.Future[Listen]:
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_future()
        return self._listening

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        address = await self._web.start(self._settings.listen)
        self._address().set_result(address)
        log.info("listening", extra=fields(url=f"http://{address}"))
        try:
            yield
        finally:
            for intake in self._intakes.values():
                intake.stop()
            await self._web.stop()
            log.info("stopped")

    def _work(self, http: aiohttp.ClientSession) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what the daemon does all the time, each with a name."""
        work = [
            ("supervisor", self._supervise()),
            ("loop lag", self._measure_loop_lag()),
            ("gate heartbeat", self._gate_events.run()),
        ]
        for intake in self._intakes.values():
            intake.start()
            intake.tell()
        if self._settings.realtime:
            self._clock_keeper = ClockKeeper(VenueTime(http, self._endpoints.rest_url), self.desk.clock)
            work.append(("clock", self._clock_keeper.run()))
            work += [
                (f"feed {symbol}", Feed(http, self._endpoints.ws_urls[0], intake, self.desk.streams()).run())
                for symbol, intake in self._intakes.items()
            ]
        return work

    async def _supervise(self) -> None:
        while True:
            self.desk.progress_at = time.monotonic()
            await asyncio.sleep(SUPERVISE_SECONDS)

    async def _measure_loop_lag(self) -> None:
        while True:
            due = time.monotonic() + LOOP_LAG_SECONDS
            await asyncio.sleep(LOOP_LAG_SECONDS)
            self.desk.event_loop_lag.observe(time.monotonic() - due)

    def _announce(self, session: Session, change: GateChange) -> None:
        """Tell of a change at a gate: the log, the listeners, and the clock if latency is in doubt."""
        closed = bool(change.added)
        log.log(
            logging.WARNING if closed else logging.INFO,
            "trading halted" if change.halted else "trading open",
            extra=fields(
                symbol=session.symbol,
                reasons=change.reasons or "none",
                added=change.added or "none",
                removed=change.removed or "none",
            ),
        )
        self._gate_events.gate_changed(session, change)
        if Reason.LATENCY in change.added and self._clock_keeper is not None:
            self._clock_keeper.doubt()

    def _log_start(self) -> None:
        settings = self._settings
        log.info(
            "started",
            extra=fields(
                version=__version__,
                source=self.desk.source,
                venue=settings.venue,
                symbols=settings.symbols,
                streams=settings.streams,
                ws_url=self._endpoints.ws_urls[0],
            ),
        )
        if self.desk.kill_switch:
            log.warning("the kill switch is on: trading is halted in every symbol")


def _to_nobody(lane: Lane, raw: bytes) -> None:
    """Hand a message to no output at all."""


@asynccontextmanager
async def _http_client() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)  # a connection per symbol, and as many as the machine carries
    async with aiohttp.ClientSession(
        connector=connector, headers={"User-Agent": f"feedd/{__version__}"}, skip_auto_headers=("Accept",)
    ) as http:
        yield http
