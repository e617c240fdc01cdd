"""A real daemon and a real exchange on loopback, and someone who listens to the gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from feedd.config.resolve import resolve
from feedd.config.settings import Settings
from feedd.config.watcher import Configuration
from feedd.core.symbol_state import SymbolState
from feedd.daemon import Daemon
from feedd.exchange import Exchange
from feedd.outputs.table import OUTPUTS, Factory
from feedd.sources.options import SourceOptions
from feedd.sources.symbol_pipeline import Deliver

SYMBOLS = ("BTCUSDT", "ETHUSDT")
STALE_AFTER = 1.0
RESUME_AFTER = 0.5
LATENCY_LIMIT = 0.4


def settings_for(exchange: Exchange, **more: str) -> Settings:
    """Return settings for a live daemon on that exchange, with thresholds that a test can wait for."""
    arguments = {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": ",".join(SYMBOLS),
        "FEEDD_WS_URL": exchange.ws_url,
        "FEEDD_REST_URL": exchange.rest_url,
        "FEEDD_LISTEN": "127.0.0.1:0",
        "FEEDD_STALE_AFTER_SECONDS": str(STALE_AFTER),
        "FEEDD_RESUME_AFTER_SECONDS": str(RESUME_AFTER),
        "FEEDD_LATENCY_LIMIT_SECONDS": str(LATENCY_LIMIT),
    }
    return resolve(None, {}, arguments | more).settings


class EnvFile:
    """An env-file that a test edits as an operator would."""

    def __init__(self, folder: Path, exchange: Exchange) -> None:
        self.path = folder / "feedd.env"
        self.values: dict[str, str] = {
            "FLAG_REALTIME": "1",
            "FLAG_TRADING_HALTED": "0",
            "FEEDD_SYMBOLS": ",".join(SYMBOLS),
            "FEEDD_WS_URL": exchange.ws_url,
            "FEEDD_REST_URL": exchange.rest_url,
            "FEEDD_LISTEN": "127.0.0.1:0",
            "FEEDD_STALE_AFTER_SECONDS": "1",
            "FEEDD_RESUME_AFTER_SECONDS": "0.5",
        }
        self.save()

    def set(self, **values: str) -> None:
        """Change values and save in place."""
        self.values |= values
        self.save()

    def save(self) -> None:
        self.path.write_text("".join(f"{key}={value}\n" for key, value in self.values.items()))

    def replace(self, **values: str) -> None:
        """Change values and save as editors do: a new file takes the old one's place."""
        self.values |= values
        new = self.path.with_suffix(".swp")
        new.write_text("".join(f"{key}={value}\n" for key, value in self.values.items()))
        new.replace(self.path)


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of the gate, and when it was heard (monotonic seconds)."""

    at: float
    event: dict[str, Any]


class GateListener:
    """Listens at `/gate/events` and remembers all but the heartbeats."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.heard: list[Heard] = []
        self.heartbeats = 0
        self._news = asyncio.Condition()

    async def listen(self) -> None:
        async for message in self._socket:
            event = orjson.loads(message.data)
            async with self._news:
                if event["type"] == "heartbeat":
                    self.heartbeats += 1
                else:
                    self.heard.append(Heard(time.monotonic(), event))
                self._news.notify_all()

    def gates(self, symbol: str, since: int = 0) -> list[Heard]:
        """Return the gate events of one symbol, leaving out the first `since` of all that were heard."""
        return [heard for heard in self.heard[since:] if heard.event.get("symbol") == symbol]

    async def wait(
        self,
        symbol: str,
        condition: Callable[[dict[str, Any]], bool],
        since: int = 0,
        timeout: float = 10.0,
    ) -> Heard:
        """Wait for a gate event of that symbol."""
        async with asyncio.timeout(timeout), self._news:
            while True:
                for heard in self.gates(symbol, since):
                    if condition(heard.event):
                        return heard
                await self._news.wait()


@dataclass(slots=True)
class Running:
    """A daemon that runs in this event loop."""

    daemon: Daemon
    url: str
    http: aiohttp.ClientSession

    def symbol_state(self, symbol: str = SYMBOLS[0]) -> SymbolState:
        return self.daemon.state.symbols[symbol]

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.http.get(self.url + path, headers=headers) as response:
            return response.status, await response.text()

    async def get_json(self, path: str) -> tuple[int, Any]:
        status, text = await self.get(path)
        return status, orjson.loads(text)

    @asynccontextmanager
    async def listening(self, query: str = "") -> AsyncIterator[GateListener]:
        """Listen to the gate for a while."""
        async with self.http.ws_connect(f"{self.url}/gate/events{query}") as socket:
            listener = GateListener(socket)
            task = asyncio.create_task(listener.listen())
            try:
                yield listener
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[Running], bool], timeout: float = 10.0) -> None:
        """Wait until the state of the daemon, which tells nobody of its counts, makes a condition true."""
        async with asyncio.timeout(timeout):
            while not condition(self):  # noqa: ASYNC110  # counts change with every message; there is no event
                await asyncio.sleep(0.005)

    async def until_open(self, *symbols: str, timeout: float = 10.0) -> None:
        """Wait until the gates of these symbols (all of them if none is named) are open."""
        names = symbols or tuple(self.daemon.state.symbols)
        await self.until(
            lambda running: not any(running.symbol_state(name).gate.halted for name in names), timeout
        )

    async def until_counting(self, timeout: float = 10.0) -> None:
        """Wait until all gates are open and no loss can hide: before the first id there is no gap.

        A gate opens with the first message, and that may be a stream's which numbers nothing.
        """
        await self.until_open(timeout=timeout)
        stream_states = [
            stream_state
            for symbol_state in self.daemon.state.symbols.values()
            for stream_state in symbol_state.streams.values()
        ]
        counting = [
            stream_state for stream_state in stream_states if stream_state.stream.continuity.counts_loss
        ]
        await self.until(lambda _: all(stream_state.messages for stream_state in counting), timeout)


@asynccontextmanager
async def running(
    settings: Settings, deliver: Deliver | None = None, deliver_backfill: Deliver | None = None, **more: Any
) -> AsyncIterator[Running]:
    """Run a daemon with these settings."""
    async with _running(Daemon(settings, deliver, deliver_backfill=deliver_backfill, **more)) as feedd:
        yield feedd


@asynccontextmanager
async def running_on(
    env_file: Path,
    table: Mapping[str, Factory] = OUTPUTS,
    *,
    sources: SourceOptions | None = None,
    **environ: str,
) -> AsyncIterator[Running]:
    """Run a daemon that follows an env-file."""
    configuration = Configuration(env_file, environ, {})
    resolved, raw = configuration.load()
    daemon = Daemon(
        resolved.settings, configuration=configuration, env_file=raw, sources=sources, table=table
    )
    async with _running(daemon) as feedd:
        yield feedd


@asynccontextmanager
async def _running(daemon: Daemon) -> AsyncIterator[Running]:
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    address = asyncio.create_task(daemon.listening())
    await asyncio.wait({task, address}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        address.cancel()
        await task
    try:
        async with aiohttp.ClientSession() as http:
            yield Running(daemon, f"http://{address.result()}", http)
    finally:
        stop.set()
        await task
