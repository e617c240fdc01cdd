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
from feedd.config.change_rule import Decision
from feedd.config.describe import differences
from feedd.config.env_file import kill_switch_in
from feedd.config.resolve import Resolved
from feedd.config.settings import Settings
from feedd.config.watcher import Configuration, EnvFileWatch
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.core.venue_clock import WallWatch
from feedd.errors import SettingsError
from feedd.logs import fields
from feedd.model import Listen, Reason, Source
from feedd.native import is_native
from feedd.outputs.alertmanager import Pager
from feedd.outputs.http.server import HttpServer
from feedd.outputs.systemd import Notifier, keep_alive, status_line
from feedd.outputs.ws.consumer import ConsumerRegistry
from feedd.outputs.ws.gate_events import GateEvents
from feedd.outputs.ws.relay import Relay
from feedd.sources.live.aiohttp_socket import socket_class
from feedd.sources.options import SourceOptions
from feedd.sources.supervisor import FeedSupervisor
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
        sources: SourceOptions | None = None,
    ) -> None:
        """Prepare a daemon.

        Args:
            settings: what it starts with.
            deliver: called for every message that is handed on, besides the relay.
            configuration: where the settings come from; without an env-file they never change.
            env_file: the env-file's content that `settings` was resolved from.
            deliver_backfill: called for every message that was missed and fetched later.
            settled: called once, when all that stays for long is there.
            sources: how data is fetched where no setting says it.
        """
        self.state = DaemonState(settings, time.monotonic(), time.time())
        registry = ConsumerRegistry(self.state)
        self._gate_events = GateEvents(self.state, registry)
        self._relay = Relay(self.state, registry)
        self._web = HttpServer(self.state, registry, self._gate_events, self._relay)
        self._deliver = self._relay.deliver if deliver is None else _to_both(self._relay.deliver, deliver)
        relayed = self._relay.deliver_backfill
        self._deliver_backfill = relayed if deliver_backfill is None else _to_both(relayed, deliver_backfill)
        self._sources = SourceOptions() if sources is None else sources
        self._settled: Callable[[], object] | None = settled
        self._watch: EnvFileWatch | None = None
        if configuration is not None and configuration.path is not None:
            self._watch = EnvFileWatch(configuration, configuration.path, env_file)
        self._notifier = Notifier.from_environ(os.environ)
        self._supervisor: FeedSupervisor | None = None
        self._pager: Pager | None = None
        self._listening: asyncio.Future[Listen] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises OSError where the address can't be listened on."""
        async with (
            self._listen(),
            _http_client(self._sources.reads_directly) as http,
            asyncio.TaskGroup() as tasks,
        ):
            self._log_start()
            self._pager = Pager(http, self.state, self.state.pager)
            self._supervisor = FeedSupervisor(
                self.state,
                http,
                tasks,
                self._deliver,
                self._announce,
                deliver_backfill=self._deliver_backfill,
                in_use=self._relay.is_heard,
                options=self._sources,
            )
            self._supervisor.begin(self.state.settings)
            running = [
                tasks.create_task(work, name=name) for name, work in self._work(self._supervisor, self._pager)
            ]
            self._notifier.ready(status_line(self.state))
            await stop.wait()
            log.info("stopping")
            self._notifier.stopping()
            self._pager = None  # what ends now was asked for: nobody is to be woken for it
            await self._supervisor.stop()
            for task in running:
                task.cancel()

    def reload(self) -> None:
        """Have the env-file read now, and latched halts let go: what an operator asks for by SIGHUP."""
        self._notifier.reloading()
        if self._watch is not None:
            self._watch.force()
        else:
            log.warning("there is no env-file to read; it was not given at the start")
            self.state.last_reload_successful = self._web.reload()
            self._rearm()
            if self._supervisor is not None:
                self._supervisor.emit_changes()
            self._notifier.ready(status_line(self.state))

    async def listening(self) -> Listen:
        """Wait until the HTTP side answers; returns its address."""
        return await asyncio.shield(self._address())

    def _address(self) -> asyncio.Future[Listen]:
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_future()
        return self._listening

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        address = await self._web.start(self.state.settings.listen)
        self._address().set_result(address)
        log.info("listening", extra=fields(url=f"{self._web.scheme}://{address}"))
        try:
            yield
        finally:
            await self._web.stop()
            log.info("stopped")

    def _work(self, supervisor: FeedSupervisor, pager: Pager) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what the daemon does all the time, each with a name."""
        work = [
            ("supervisor", self._supervise(supervisor)),
            ("loop lag", self._measure_loop_lag()),
            ("gate heartbeat", self._gate_events.run()),
            ("rhythm", supervisor.watch_for_mute_streams()),
            ("pager", pager.run()),
            ("backfill", supervisor.backfill.run()),
            (
                "systemd",
                keep_alive(self._notifier, lambda: self.state.progress_at, lambda: status_line(self.state)),
            ),
        ]
        if self._watch is not None:
            work.append(("env-file", self._follow_env_file(self._watch, supervisor)))
        return work

    async def _supervise(self, supervisor: FeedSupervisor) -> None:
        wall_watch = WallWatch(time.monotonic(), time.time())
        while True:
            self.state.progress_at = time.monotonic()
            step = wall_watch.step(time.monotonic(), time.time())
            if step:
                log.warning(
                    "the host's clock was set; times told to others move with it, no gate does",
                    extra=fields(by_seconds=f"{step:+.3f}"),
                )
                supervisor.doubt_clock()
            if self._settled is not None and self._has_begun():
                self._settled()
                self._settled = None
            await asyncio.sleep(SUPERVISE_SECONDS)

    def _has_begun(self) -> bool:
        """Tell whether every symbol has had a message, or has been waited for long enough."""
        if time.monotonic() - self.state.started_at >= SETTLED_SECONDS:
            return True
        return not any(
            Reason.STARTING in symbol_state.gate.active for symbol_state in self.state.symbols.values()
        )

    async def _measure_loop_lag(self) -> None:
        while True:
            due = time.monotonic() + LOOP_LAG_SECONDS
            await asyncio.sleep(LOOP_LAG_SECONDS)
            self.state.event_loop_lag.observe(time.monotonic() - due)

    async def _follow_env_file(self, watch: EnvFileWatch, supervisor: FeedSupervisor) -> None:
        async for decision, was_asked in watch.decisions():
            self._act_on_flags(decision, watch, supervisor)
            web_config = self.state.settings.web_config
            if decision.apply is not None:
                await self._reload(decision.apply, watch, supervisor)
            # Certificates are renewed under the same name, so that a reload reads them in any case.
            if (was_asked or web_config != self.state.settings.web_config) and not self._web.reload():
                self.state.last_reload_successful = False
            if was_asked:
                self._rearm()
                supervisor.emit_changes()
                self._notifier.ready(status_line(self.state))

    def _act_on_flags(self, decision: Decision, watch: EnvFileWatch, supervisor: FeedSupervisor) -> None:
        now = time.monotonic()
        if decision.halt and not self.state.kill_switch:
            log.warning("the kill switch stands in the env-file: trading is halted in every symbol")
            self.state.set_kill_switch(True, now)
        if decision.unreadable != self.state.flags_unreadable:
            if decision.unreadable:
                log.error(
                    "the env-file can't be read: trading is halted in every symbol",
                    extra=fields(path=watch.path),
                )
            else:
                log.info("the env-file can be read again", extra=fields(path=watch.path))
            self.state.set_flags_unreadable(decision.unreadable, now)
        supervisor.emit_changes()

    async def _reload(self, raw: bytes, watch: EnvFileWatch, supervisor: FeedSupervisor) -> None:
        """Use a content of the env-file; of one with mistakes only a kill switch counts."""
        try:
            resolved = watch.resolve(raw)
        except SettingsError as error:
            self.state.last_reload_successful = False
            for problem in error.problems:
                log.error("the env-file is wrong; the last good settings stay", extra=fields(problem=problem))
            self._act_on_flags(Decision(halt=kill_switch_in(raw)), watch, supervisor)
            return
        await self._use(resolved, supervisor)
        self.state.last_reload_successful = True
        self.state.last_reload_success_at = time.monotonic()

    async def _use(self, resolved: Resolved, supervisor: FeedSupervisor) -> None:
        old, new = self.state.settings, resolved.settings
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
        await supervisor.end_outdated(new)
        self.state.apply_settings(new, time.monotonic())
        supervisor.begin(new)
        if old.realtime != new.realtime:
            self._log_source()
        self._relay.settings_changed()
        if (old.realtime, old.symbols) != (new.realtime, new.symbols):
            self._gate_events.state_changed()
        log.info("env-file read", extra=fields(changes=len(changes)))

    def _rearm(self) -> None:
        for symbol, reasons in self.state.rearm(time.monotonic()).items():
            log.warning(
                "a latched halt can't be lifted while its causes last",
                extra=fields(symbol=symbol, reasons=reasons),
            )

    def _announce(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Tell of a change at a gate: the log, the listeners, and the clock if latency is in doubt."""
        log.log(
            logging.WARNING if change.added else logging.INFO,
            "trading halted" if change.halted else "trading open",
            extra=fields(
                symbol=symbol_state.symbol,
                reasons=change.reasons or "none",
                added=change.added or "none",
                removed=change.removed or "none",
            ),
        )
        self._gate_events.gate_changed(symbol_state, change)
        self._relay.gate_changed(symbol_state, change)
        if self._pager is not None:
            self._pager.gate_changed(symbol_state, change)
        if Reason.LATENCY in change.added and self._supervisor is not None:
            self._supervisor.doubt_clock()

    def _log_start(self) -> None:
        settings = self.state.settings
        log.info(
            "started",
            extra=fields(
                version=__version__,
                source=self.state.source,
                venue=settings.venue,
                symbols=settings.symbols,
                streams=settings.streams,
                native=is_native(),
            ),
        )
        self._log_source()

    def _log_source(self) -> None:
        if self.state.source is Source.REALTIME:
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
    def deliver(stream_state: StreamState, raw: bytes) -> None:
        one(stream_state, raw)
        other(stream_state, raw)

    return deliver


@asynccontextmanager
async def _http_client(reads_directly: bool) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)  # a connection per symbol, and as many as the machine carries
    async with aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": f"feedd/{__version__}"},
        skip_auto_headers=("Accept",),
        ws_response_class=socket_class(reads_directly),
    ) as http:
        yield http
