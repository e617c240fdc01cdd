"""The daemon: wires source, core and outputs together, and starts and stops them in a written order.

Start: HTTP first, so that an operator can look from the first moment; then the clock and the feeds; then
systemd is told. Stop: systemd is told; the feeds end, each with a close frame; then consumers and HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from feedd import logs
from feedd._version import __version__
from feedd.config.change_rule import Verdict
from feedd.config.env_file import kill_switch_in
from feedd.config.settings import Listen, Resolved, Settings, differences
from feedd.config.watcher import Configuration, EnvFileWatch
from feedd.core.daemon_state import Desk
from feedd.core.gate import GateChange
from feedd.core.latency import WallWatch
from feedd.core.symbol_state import Lane, Session
from feedd.errors import SettingsError
from feedd.logs import fields
from feedd.model import Reason, Source
from feedd.native import is_native
from feedd.outputs.alertmanager import Pager
from feedd.outputs.http.server import Web
from feedd.outputs.systemd import Notifier, keep_alive, status_line
from feedd.outputs.ws.consumer import Attendance
from feedd.outputs.ws.gate_events import GateEvents
from feedd.outputs.ws.relay import Relay
from feedd.sources.live.aiohttp_socket import socket_class
from feedd.sources.supervisor import Feeds
from feedd.sources.symbol_pipeline import Deliver

log = logging.getLogger(__name__)

SUPERVISE_SECONDS = 1.0
LOOP_LAG_SECONDS = 0.25
"""How often the event loop's lag is taken."""
SETTLED_SECONDS = 60.0
"""A symbol that has not begun by then may never do."""


class Daemon:
    """One feedd."""

    def __init__(
        self,
        settings: Settings,
        deliver: Deliver | None = None,
        configuration: Configuration | None = None,
        env_file: bytes = b"",
        *,
        deliver_backfill: Deliver | None = None,
        settled: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepare a daemon.

        Args:
            settings: what it starts with.
            deliver: called for every message that is handed on, besides the relay.
            configuration: where the settings come from; without an env-file they never change.
            env_file: the env-file's content that `settings` was resolved from.
            deliver_backfill: called for every message that was missed and fetched later.
            settled: called once, when all that stays for long is there.
        """
        self.desk = Desk(settings, time.monotonic(), time.time())
        attendance = Attendance(self.desk)
        self._gate_events = GateEvents(self.desk, attendance)
        self._relay = Relay(self.desk, attendance)
        self._web = Web(self.desk, attendance, self._gate_events, self._relay)
        self._deliver = self._relay.deliver if deliver is None else _to_both(self._relay.deliver, deliver)
        relayed = self._relay.deliver_backfill
        self._deliver_backfill = relayed if deliver_backfill is None else _to_both(relayed, deliver_backfill)
        self._settled: Callable[[], object] | None = settled
        self._watch: EnvFileWatch | None = None
        if configuration is not None and configuration.path is not None:
            self._watch = EnvFileWatch(configuration, configuration.path, env_file)
        self._notifier = Notifier.from_environ(os.environ)
        self._feeds: Feeds | None = None
        self._pager: Pager | None = None
        self._listening: asyncio.Future[Listen] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises OSError where the address can't be listened on."""
        async with self._listen(), _http_client() as http, asyncio.TaskGroup() as tasks:
            self._log_start()
            self._pager = Pager(http, self.desk, self.desk.pager)
            self._feeds = Feeds(
                self.desk,
                http,
                tasks,
                self._deliver,
                self._announce,
                deliver_backfill=self._deliver_backfill,
                in_use=self._relay.is_heard,
            )
            await self._feeds.follow(self.desk.settings)
            running = [
                tasks.create_task(work, name=name) for name, work in self._work(self._feeds, self._pager)
            ]
            self._notifier.ready(status_line(self.desk))
            await stop.wait()
            log.info("stopping")
            self._notifier.stopping()
            self._pager = None  # what ends now was asked for: nobody is to be woken for it
            await self._feeds.stop()
            for task in running:
                task.cancel()

    def reload(self) -> None:
        """Have the env-file read now, and latched halts let go: what an operator asks for by SIGHUP."""
        self._notifier.reloading()
        if self._watch is not None:
            self._watch.ask()
        else:
            log.warning("there is no env-file to read; it was not given at the start")
            self.desk.last_reload_successful = self._web.reload()
            self._rearm()
            if self._feeds is not None:
                self._feeds.tell()
            self._notifier.ready(status_line(self.desk))

    async def listening(self) -> Listen:
        """Wait until the HTTP side answers; returns its address."""
        return await asyncio.shield(self._address())

    def _address(self) -> asyncio.Future[Listen]:
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_future()
        return self._listening

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        address = await self._web.start(self.desk.settings.listen)
        self._address().set_result(address)
        log.info("listening", extra=fields(url=f"{self._web.scheme}://{address}"))
        try:
            yield
        finally:
            await self._web.stop()
            log.info("stopped")

    def _work(self, feeds: Feeds, pager: Pager) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what the daemon does all the time, each with a name."""
        work = [
            ("supervisor", self._supervise(feeds)),
            ("loop lag", self._measure_loop_lag()),
            ("gate heartbeat", self._gate_events.run()),
            ("rhythm", feeds.keep_looking()),
            ("pager", pager.run()),
            ("backfill", feeds.backfill.run()),
            (
                "systemd",
                keep_alive(self._notifier, lambda: self.desk.progress_at, lambda: status_line(self.desk)),
            ),
        ]
        if self._watch is not None:
            work.append(("env-file", self._follow_env_file(self._watch, feeds)))
        return work

    async def _supervise(self, feeds: Feeds) -> None:
        wall_watch = WallWatch(time.monotonic(), time.time())
        while True:
            self.desk.progress_at = time.monotonic()
            step = wall_watch.step(time.monotonic(), time.time())
            if step:
                log.warning(
                    "the host's clock was set; times told to others move with it, no gate does",
                    extra=fields(by_seconds=f"{step:+.3f}"),
                )
                feeds.doubt_clock()
            if self._settled is not None and self._has_begun():
                self._settled()
                self._settled = None
            await asyncio.sleep(SUPERVISE_SECONDS)

    def _has_begun(self) -> bool:
        """Tell whether every symbol has had a message, or has been waited for long enough."""
        if time.monotonic() - self.desk.started_at >= SETTLED_SECONDS:
            return True
        return not any(Reason.STARTING in session.gate.active for session in self.desk.sessions.values())

    async def _measure_loop_lag(self) -> None:
        while True:
            due = time.monotonic() + LOOP_LAG_SECONDS
            await asyncio.sleep(LOOP_LAG_SECONDS)
            self.desk.event_loop_lag.observe(time.monotonic() - due)

    async def _follow_env_file(self, watch: EnvFileWatch, feeds: Feeds) -> None:
        async for verdict, was_asked in watch.verdicts():
            self._act_on_flags(verdict, watch, feeds)
            web_config = self.desk.settings.web_config
            if verdict.apply is not None:
                await self._reload(verdict.apply, watch, feeds)
            # Certificates are renewed under the same name, so that a reload reads them in any case.
            if (was_asked or web_config != self.desk.settings.web_config) and not self._web.reload():
                self.desk.last_reload_successful = False
            if was_asked:
                self._rearm()
                feeds.tell()
                self._notifier.ready(status_line(self.desk))

    def _act_on_flags(self, verdict: Verdict, watch: EnvFileWatch, feeds: Feeds) -> None:
        now = time.monotonic()
        if verdict.halt and not self.desk.kill_switch:
            log.warning("the kill switch stands in the env-file: trading is halted in every symbol")
            self.desk.set_kill_switch(True, now)
        if verdict.unreadable != self.desk.flags_unreadable:
            if verdict.unreadable:
                log.error(
                    "the env-file can't be read: trading is halted in every symbol",
                    extra=fields(path=watch.path),
                )
            else:
                log.info("the env-file can be read again", extra=fields(path=watch.path))
            self.desk.set_flags_unreadable(verdict.unreadable, now)
        feeds.tell()

    async def _reload(self, raw: bytes, watch: EnvFileWatch, feeds: Feeds) -> None:
        """Use a content of the env-file; of one with mistakes only a kill switch counts."""
        try:
            resolved = watch.resolve(raw)
        except SettingsError as error:
            self.desk.last_reload_successful = False
            for problem in error.problems:
                log.error("the env-file is wrong; the last good settings stay", extra=fields(problem=problem))
            self._act_on_flags(Verdict(halt=kill_switch_in(raw)), watch, feeds)
            return
        await self._use(resolved, feeds)
        self.desk.last_reload_successful = True
        self.desk.last_reload_success_at = time.monotonic()

    async def _use(self, resolved: Resolved, feeds: Feeds) -> None:
        old, new = self.desk.settings, resolved.settings
        changes = differences(old, new)
        for change in changes:
            if change.is_live:
                log.info("setting changed", extra=fields(key=change.key, old=change.old, new=change.new))
            else:
                log.warning(
                    "setting needs a restart to change",
                    extra=fields(key=change.key, old=change.old, new=change.new),
                )
        log_findings(resolved)
        if (old.log_level, old.log_format) != (new.log_level, new.log_format):
            logs.set_up(new.log_level, new.log_format)
        await feeds.follow(new)
        if old.realtime != new.realtime:
            self._log_source()
        self._relay.settings_changed()
        if (old.realtime, old.symbols) != (new.realtime, new.symbols):
            self._gate_events.state_changed()
        log.info("env-file read", extra=fields(changes=len(changes)))

    def _rearm(self) -> None:
        for symbol, reasons in self.desk.rearm(time.monotonic()).items():
            log.warning(
                "a latched halt can't be lifted while its causes last",
                extra=fields(symbol=symbol, reasons=reasons),
            )

    def _announce(self, session: Session, change: GateChange) -> None:
        """Tell of a change at a gate: the log, the listeners, and the clock if latency is in doubt."""
        log.log(
            logging.WARNING if change.added else logging.INFO,
            "trading halted" if change.halted else "trading open",
            extra=fields(
                symbol=session.symbol,
                reasons=change.reasons or "none",
                added=change.added or "none",
                removed=change.removed or "none",
            ),
        )
        self._gate_events.gate_changed(session, change)
        self._relay.gate_changed(session, change)
        if self._pager is not None:
            self._pager.gate_changed(session, change)
        if Reason.LATENCY in change.added and self._feeds is not None:
            self._feeds.doubt_clock()

    def _log_start(self) -> None:
        settings = self.desk.settings
        log.info(
            "started",
            extra=fields(
                version=__version__,
                source=self.desk.source,
                venue=settings.venue,
                symbols=settings.symbols,
                streams=settings.streams,
                native=is_native(),
            ),
        )
        self._log_source()

    def _log_source(self) -> None:
        if self.desk.source is Source.REALTIME:
            log.info("source is REALTIME: live market data")
        else:
            log.warning(
                "source is STATIC: recorded data, not production; only who asks for it may trade on it"
            )


def log_findings(resolved: Resolved) -> None:
    """Log what an operator must see of how the settings came about."""
    for finding in (*resolved.warnings, *resolved.conflicts):
        log.warning("%s", finding)


def _to_both(one: Deliver, other: Deliver) -> Deliver:
    def deliver(lane: Lane, raw: bytes) -> None:
        one(lane, raw)
        other(lane, raw)

    return deliver


@asynccontextmanager
async def _http_client() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)  # a connection per symbol, and as many as the machine carries
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": f"feedd/{__version__}"},
        skip_auto_headers=("Accept",),
        ws_response_class=socket_class(),
    ) as http:
        yield http
