"""The exchange on a real socket: combines market, faults, stream clients and HTTP side, and runs them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from feedd.exchange import faults
from feedd.exchange.api import Api
from feedd.exchange.client_connection import ClientConnection
from feedd.exchange.clocks import Clocks
from feedd.exchange.fault_pipeline import FaultPipeline
from feedd.exchange.fault_registry import AnyFault, FaultError, FaultRegistry
from feedd.exchange.http import HttpSide
from feedd.exchange.listener import ExchangeListener
from feedd.exchange.market import Market
from feedd.exchange.replay import Replay, read_session
from feedd.exchange.settings import ExchangeSettings
from feedd.exchange.source import MessageSource
from feedd.exchange.stats import Stats
from feedd.exchange.stream_clients import StreamClients
from feedd.exchange.subscriptions import Subscriptions

_CONGESTION_PAUSE = 0.01
# How long REST answers that are on their way may take when the exchange stops.
_GOODBYE = 0.3


class Exchange:
    """An embedded exchange. `async with Exchange(settings) as exchange:` runs it on a free loopback port.

    Raises:
        SettingsError: the session to replay can't be read.
    """

    def __init__(
        self,
        settings: ExchangeSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or ExchangeSettings()
        self.stats = Stats()
        """Counts of what its clients did."""
        self._source = _make_source(self.settings)
        self.symbols = self._source.symbols
        self.faults = FaultRegistry(self.symbols)
        """The faults that are active."""
        self._clocks = Clocks(clock, wall)
        self._pipeline = FaultPipeline(self.faults)
        self._subscriptions: Subscriptions[ClientConnection] = Subscriptions(self.symbols)
        self._clients = StreamClients(
            self.settings, self._subscriptions, self.faults, self.stats, self._clocks, self._streams_changed
        )
        self._wake = asyncio.Event()
        self._runner = web.AppRunner(self._make_app(), access_log=None, shutdown_timeout=_GOODBYE)
        self._listener = ExchangeListener(self._make_protocol)
        self._driver: asyncio.Task[None] | None = None

    # --- life

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 is any that is free.

        Raises:
            OSError: the address can't be listened on.
        """
        await self._runner.setup()
        try:
            await self._listener.open(host, port)
        except OSError:
            await self._runner.cleanup()
            raise
        self._driver = asyncio.create_task(self._run_market())

    async def stop(self) -> None:
        """Close every connection and the listening socket, within a second whatever the clients do.

        Raises:
            Exception: the bug that ended the market, if one did.
        """
        if self._driver is not None:
            self._driver.cancel()
        self._listener.close()
        await self._clients.stop()
        await self._runner.cleanup()
        if self._driver is not None:
            await asyncio.wait({self._driver})
            if not self._driver.cancelled():
                self._driver.result()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Run until told to stop, or until a bug ends the market, which `stop` then raises."""
        assert self._driver is not None
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, self._driver}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- for callers

    @property
    def ws_url(self) -> str:
        """Where streams are, without a path."""
        return f"ws://{self._listener.address}"

    @property
    def rest_url(self) -> str:
        """Where REST is, without a path."""
        return f"http://{self._listener.address}"

    @property
    def is_listening(self) -> bool:
        """Whether new connections are accepted at all."""
        return self._listener.is_accepting

    def open_connections(self, symbol: str | None = None) -> int:
        """Count the connections that are open, or those of them that carry a symbol."""
        return len(self._clients.carrying(symbol))

    async def wait_until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until a change of the exchange makes a condition true.

        Raises:
            TimeoutError: it didn't in time.
        """
        await self.stats.wait_until(condition, timeout)

    async def wait_connected(self, symbol: str, connects: int = 1, timeout: float = 10.0) -> None:
        """Wait until a symbol has an open connection, and has had so many since the start.

        Raises:
            TimeoutError: it hadn't in time.
        """
        counts = self.stats.connects_by_symbol
        await self.wait_until(
            lambda: counts[symbol] >= connects and self.open_connections(symbol) > 0, timeout
        )

    async def wait_disconnected(self, symbol: str, timeout: float = 10.0) -> None:
        """Wait until a symbol has no open connection.

        Raises:
            TimeoutError: it still had one in time.
        """
        await self.wait_until(lambda: not self.open_connections(symbol), timeout)

    # --- faults

    def set_fault(
        self,
        name: str,
        /,
        *,
        symbol: str | None = None,
        stream: str | None = None,
        seconds: float | None = None,
        **arguments: object,
    ) -> AnyFault:
        """Set a fault for a symbol or for all; its `hit` counts what it hit at once and will hit.

        Raises:
            FaultError: there is no such fault, symbol or argument, or a value is wrong.
        """
        if name == faults.IdReset.name and not isinstance(self._source, Market):
            raise FaultError(f"fault: {name} needs the made-up market; a replay's ids are recorded")
        fault = self.faults.set(
            name, self._clocks.now(), symbol=symbol, stream=stream, seconds=seconds, arguments=arguments
        )
        self._apply_fault(fault)
        self._wake.set()
        return fault

    def clear_fault(self, fault: AnyFault | int) -> bool:
        """End a fault, given itself or its id; False if it isn't active. What vanished stays half-open."""
        cleared = self.faults.clear(fault if isinstance(fault, int) else fault.id)
        if cleared is None:
            return False
        self._pipeline.release_held_by(cleared, self._clocks.now())
        self._wake.set()
        return True

    def clear_faults(self) -> tuple[AnyFault, ...]:
        """End every active fault, and return them."""
        cleared = self.faults.active()
        for fault in cleared:
            self.clear_fault(fault)
        return cleared

    def _apply_fault(self, fault: AnyFault) -> None:
        """Do what a fault does at the moment it is set."""
        match fault.kind:
            case faults.Refuse() if fault.symbol is None:
                self._listener.stop_accepting()
            case faults.Gap(count=count):
                fault.count_hits(self._drop_next(fault, count))
            case faults.IdReset():
                fault.count_hits(self._restart_ids(fault.symbol))
            case _:
                self._apply_to_connections(fault)

    def _apply_to_connections(self, fault: AnyFault) -> None:
        name = fault.kind.name
        for connection in self._clients.carrying(fault.symbol):
            match fault.kind:
                case faults.Reset():
                    self._clients.reset(connection, name)
                case faults.CloseFault(code=code, reason=reason):
                    self._clients.close(connection, name, code, reason)
                case faults.Flap(code=code):
                    self._clients.close(connection, name, code)
                case faults.Vanish():
                    self._clients.vanish(connection, name)
                case faults.ServerShutdownFault(cut_after=cut_after):
                    self._clients.announce_shutdown(connection, cut_after)
                case _:
                    return
            fault.count_hits()

    def _drop_next(self, fault: AnyFault, count: int) -> int:
        streams = [
            (symbol, kind)
            for symbol in (self.symbols if fault.symbol is None else (fault.symbol,))
            for kind in self._subscriptions.watched(symbol)
            if self._pipeline.is_numbered(kind) and fault.stream in (None, kind)
        ]
        for symbol, kind in streams:
            self._pipeline.drop_next(symbol, kind, count)
        return len(streams) * count

    def _restart_ids(self, symbol: str | None) -> int:
        assert isinstance(self._source, Market)
        symbols = self.symbols if symbol is None else (symbol,)
        for each in symbols:
            self._source.restart_ids(each, self._clocks.wall_now())
        return len(symbols)

    # --- the market

    async def _run_market(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = self._clocks.now()
            self.faults.expire(now)
            if not self._listener.is_accepting and self.faults.find(faults.Refuse) is None:
                await self._listener.reopen()
                self.stats.notify()
            due = self._publish_due(now)
            timer = None if math.isinf(due) else loop.call_later(max(due - now, 0.0), self._wake.set)
            await self._wake.wait()
            if timer is not None:
                timer.cancel()

    def _publish_due(self, now: float) -> float:
        """Send the messages that are due, and return when the next one is."""
        wall = self._clocks.wall_now()
        for message in self._pipeline.release_due(now):
            self._clients.publish(message)
        # Only a replay that goes as fast as its clients read waits for them; a market waits for nobody.
        is_waiting = self.settings.is_unpaced and self._clients.are_congested
        if not is_waiting:
            for original in self._source.advance(wall):
                for message in self._pipeline.process(original, now):
                    self._clients.publish(message)
        self._clients.flush()
        next_due = self._source.next_due(wall)
        source_due = math.inf if next_due is None else now + (next_due - wall) / 1_000_000
        return min(
            now + _CONGESTION_PAUSE if is_waiting else source_due,
            self._pipeline.next_due,
            self.faults.next_expiry,
        )

    def _streams_changed(self, symbol: str) -> None:
        self._source.watch(symbol, self._subscriptions.watched(symbol))
        self._wake.set()

    def _make_protocol(self) -> asyncio.BaseProtocol:
        assert self._runner.server is not None
        return self._runner.server()

    def _make_app(self) -> web.Application:
        app = web.Application()
        api = Api(self._source, self.faults, self.settings.weight_per_minute)
        http = HttpSide(self, api, self._clocks, self.stats, self.settings.weight_per_minute)
        app.add_routes(http.routes())
        for path in ("/stream", "/ws", "/ws/{streams:.*}"):
            app.router.add_get(path, self._clients.serve)
        return app


def _make_source(settings: ExchangeSettings) -> MessageSource:
    if settings.replay is None:
        return Market(settings.symbols, settings.seed, settings.rate_in_effect)
    return Replay(read_session(settings.replay), settings.speed)
