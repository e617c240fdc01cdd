"""The daemon: wires source, core and outputs together, and starts and stops them in a written order.

Start: HTTP first, so that an operator can look from the first moment; then the clock and the feeds; then the
outputs begin their work, and are told (systemd, say). Stop: the outputs are told; the feeds end, each with a
close frame; the outputs send what they owe; then consumers and HTTP. What an env-file changes stands in
`config_reload`, which outputs there are in `outputs.table`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from feedd import logs
from feedd._version import __version__
from feedd.config.settings import Settings
from feedd.config.watcher import Configuration, EnvFileWatch
from feedd.config_reload import ConfigReloader
from feedd.core.daemon_state import STUCK_AFTER_SECONDS, DaemonState
from feedd.core.gate import GateChange
from feedd.core.symbol_state import SymbolState
from feedd.core.venue_clock import WallWatch
from feedd.logs import fields
from feedd.model import Listen, Reason, Source
from feedd.native import is_native
from feedd.outputs.http.server import HttpLimits, HttpServer
from feedd.outputs.output import OutputFailures, Outputs, Phase
from feedd.outputs.table import OUTPUTS, Factory, OutputContext, OutputTiming, outputs_of
from feedd.outputs.ws.client_limits import ClientRules
from feedd.outputs.ws.consumer import ConsumerRegistry
from feedd.sources.live.aiohttp_socket import socket_class
from feedd.sources.options import SourceOptions
from feedd.sources.supervisor import FeedSupervisor
from feedd.sources.symbol_pipeline import Deliver

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DaemonTiming:
    """The times of a daemon and its parts."""

    supervise_seconds: float = 1.0
    """How often the supervisor notes progress and compares the clocks."""
    loop_lag_seconds: float = 0.25
    """How often the event loop's lag is taken."""
    settled_seconds: float = 60.0
    """A symbol that has not begun by then may never do."""
    stuck_after_seconds: float = STUCK_AFTER_SECONDS
    """How long the supervisor may note no progress."""
    http: HttpLimits = field(default_factory=HttpLimits)
    consumers: ClientRules = field(default_factory=ClientRules)
    outputs: OutputTiming = field(default_factory=OutputTiming)


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
        timing: DaemonTiming | None = None,
        sources: SourceOptions | None = None,
        table: Mapping[str, Factory] = OUTPUTS,
    ) -> None:
        """Prepare a daemon.

        Args:
            settings: what it starts with.
            deliver: called for every message that is handed on, besides the outputs; what it raises halts
                the symbol.
            configuration: where the settings come from; without an env-file they never change.
            env_file: the env-file's content that `settings` was resolved from.
            deliver_backfill: called for every message that was missed and fetched later.
            settled: called once, when all that stays for long is there.
            timing: the times of its parts.
            sources: how data is fetched where no setting says it.
            table: which outputs there are.
        """
        self._timing = timing or DaemonTiming()
        self._sources = sources or SourceOptions()
        self.state = DaemonState(settings, time.monotonic(), time.time(), self._timing.stuck_after_seconds)
        self.consumers = ConsumerRegistry(settings, self._timing.consumers)
        failures = OutputFailures()
        context = OutputContext(self.state, self.consumers, failures, self._timing.outputs)
        self.outputs = Outputs(
            outputs_of(context, table), failures, tap=deliver, backfill_tap=deliver_backfill
        )
        self.http = HttpServer(self.state, self.consumers, self.outputs, self._timing.http)
        self._settled: Callable[[], object] | None = settled
        self._reloader = ConfigReloader(self.state, _watch_for(configuration, env_file), self)
        self._supervisor: FeedSupervisor | None = None
        self._listening: asyncio.Future[Listen] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises OSError where the address can't be listened on."""
        async with (
            self._listen(),
            _http_client(self._sources.reads_directly) as http,
            asyncio.TaskGroup() as tasks,
        ):
            self._log_start()
            self._supervisor = supervisor = FeedSupervisor(
                self.state,
                http,
                tasks,
                self.outputs.deliver,
                self._announce,
                deliver_backfill=self.outputs.deliver_backfill,
                deliver_event=self.outputs.deliver_event,
                in_use=self.outputs.is_heard,
                options=self._sources,
            )
            supervisor.begin(self.state.settings)
            running = [tasks.create_task(work, name=name) for name, work in self._work(supervisor)]
            self.outputs.phase_changed(Phase.READY)
            await stop.wait()
            log.info("stopping")
            self.outputs.phase_changed(Phase.STOPPING)
            await supervisor.stop()
            for task in running:
                task.cancel()

    def reload(self) -> None:
        """Have the env-file read now, and latched halts let go: what an operator asks for by SIGHUP."""
        self.outputs.phase_changed(Phase.RELOADING)
        self._reloader.force()

    # --- what a reload acts on

    async def apply_settings(self, new: Settings) -> None:
        """Make every part follow these settings.

        The order keeps static data from those who did not ask for it: the feeds that can't stay end, then
        the state and the outputs follow, and only then has a new feed its turn.
        """
        assert self._supervisor is not None
        old = self.state.settings
        if (old.log_level, old.log_format) != (new.log_level, new.log_format):
            logs.set_up(new.log_level, new.log_format)
        await self._supervisor.end_outdated(new)
        self.state.apply_settings(new, time.monotonic())
        self._settings_applied(old, new)
        self._supervisor.begin(new)

    def _settings_applied(self, old: Settings, new: Settings) -> None:
        """Have what reads the state follow, before there is a message of the new settings."""
        if old.realtime != new.realtime:
            self._log_source()
        self.consumers.apply_settings(old, new)
        self.outputs.apply_settings(old, new)
        self.http.apply_settings(old, new)

    def reload_web_config(self) -> None:
        """Read the web config and its certificates again."""
        self.http.reload_web_config()

    @property
    def is_web_config_valid(self) -> bool:
        """Whether the web config that was read last could be used."""
        return self.http.is_web_config_valid

    def emit_changes(self) -> None:
        """Announce what has changed at any gate."""
        if self._supervisor is not None:
            self._supervisor.emit_changes()

    def reloaded(self) -> None:
        """Take note that a reload that was asked for is complete."""
        self.outputs.phase_changed(Phase.READY)

    async def listening(self) -> Listen:
        """Wait until the HTTP side answers; returns its address."""
        return await asyncio.shield(self._address())

    def _address(self) -> asyncio.Future[Listen]:
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_future()
        return self._listening

    @asynccontextmanager
    async def _listen(self) -> AsyncIterator[None]:
        address = await self.http.start(self.state.settings.listen)
        self._address().set_result(address)
        log.info("listening", extra=fields(url=f"{self.http.scheme}://{address}"))
        try:
            yield
        finally:
            await self.outputs.stop()
            await self.http.stop()
            log.info("stopped")

    def _work(self, supervisor: FeedSupervisor) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what the daemon does all the time, each with a name."""
        return [
            ("supervisor", self._supervise(supervisor)),
            ("loop lag", self._measure_loop_lag()),
            ("rhythm", supervisor.watch_for_mute_streams()),
            ("backfill", supervisor.backfill.run()),
            *self.outputs.work(),
            ("env-file", self._reloader.run()),
        ]

    async def _supervise(self, supervisor: FeedSupervisor) -> None:
        wall_watch = WallWatch(time.monotonic(), time.time())
        while True:
            now = time.monotonic()
            self.state.note_progress(now)
            step = wall_watch.step(now, time.time())
            if step:
                log.warning(
                    "the host's clock was set; times told to others move with it, no gate does",
                    extra=fields(by_seconds=f"{step:+.3f}"),
                )
                supervisor.doubt_clock()
            if self._settled is not None and self._has_begun():
                self._settled()
                self._settled = None
            await asyncio.sleep(self._timing.supervise_seconds)

    def _has_begun(self) -> bool:
        """Tell whether every symbol has had a message, or has been waited for long enough."""
        if time.monotonic() - self.state.started_at >= self._timing.settled_seconds:
            return True
        return not any(
            Reason.STARTING in symbol_state.gate.active for symbol_state in self.state.symbols.values()
        )

    async def _measure_loop_lag(self) -> None:
        while True:
            due = time.monotonic() + self._timing.loop_lag_seconds
            await asyncio.sleep(self._timing.loop_lag_seconds)
            self.state.event_loop_lag.observe(time.monotonic() - due)

    def _announce(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Log a change at a gate and hand it to the outputs; where latency is in doubt, so is the clock."""
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
        self.outputs.gate_changed(symbol_state, change)
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


def _watch_for(configuration: Configuration | None, env_file: bytes) -> EnvFileWatch | None:
    if configuration is None or configuration.path is None:
        return None
    return EnvFileWatch(configuration, configuration.path, env_file)


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
