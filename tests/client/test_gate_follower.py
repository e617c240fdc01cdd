"""Following a daemon's gates: a server plays the daemon, and the test decides when a delay has passed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from feedd.client.address import Address
from feedd.client.gate_follower import GateFollower
from feedd.client.gate_store import GateStore

BTC = "BTCUSDT"
OPEN_STATE = {"type": "state", "source": "realtime", "symbols": {BTC: {"halted": False, "reasons": []}}}
LOGGER = "feedd.client.gate_follower"


class Connection:
    """One connection of the follower, as the daemon sees it."""

    def __init__(self, socket: web.WebSocketResponse, query: dict[str, str]) -> None:
        self.query = query
        self.gone = asyncio.Event()
        self._socket = socket

    async def send(self, event: dict[str, Any]) -> None:
        await self._socket.send_str(msgspec.json.encode(event).decode())

    async def close(self) -> None:
        await self._socket.close()


class GateServer:
    """Serves `/gate/events`, and hands each connection to the test."""

    def __init__(self) -> None:
        self._is_refusing = False
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()

    def refuse(self, is_refusing: bool = True) -> None:
        """Answer 503 from now on, or no longer."""
        self._is_refusing = is_refusing

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self._is_refusing:
            return web.Response(status=503)
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        connection = Connection(socket, dict(request.query))
        self.connections.put_nowait(connection)
        async for _ in socket:
            pass
        connection.gone.set()
        return socket


class Following:
    """A follower that runs, with a clock of the test's and delays that end when the test says so."""

    def __init__(self, server: GateServer, url: str, http: aiohttp.ClientSession, **options: Any) -> None:
        self.server = server
        self.now = 100.0
        self.store = GateStore(options.pop("allow_static", False))
        self.changes = 0
        self._changed = asyncio.Event()
        self._delays: asyncio.Queue[float] = asyncio.Queue()
        self._delay_is_over = asyncio.Semaphore(0)
        follower = GateFollower(
            http,
            Address.parse(url),
            self.store,
            self._count_change,
            monotonic=lambda: self.now,
            sleep=self._sleep,
            **options,
        )
        self.task = asyncio.create_task(follower.run())

    def reasons(self, symbol: str = BTC) -> tuple[str, ...]:
        return self.store.snapshot.view(symbol, self.now).reasons

    async def connected(self) -> Connection:
        return await self.server.connections.get()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a change makes the condition true."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def opened(self) -> Connection:
        """Wait for a connection, and open the gate over it."""
        connection = await self.connected()
        await connection.send(OPEN_STATE)
        await self.until(lambda: self.reasons() == ())
        return connection

    async def delayed(self) -> float:
        """Wait until the follower waits before its next attempt. Returns for how long."""
        return await self._delays.get()

    def end_delay(self) -> None:
        self._delay_is_over.release()

    async def _sleep(self, seconds: float) -> None:
        self._delays.put_nowait(seconds)
        await self._delay_is_over.acquire()

    def _count_change(self) -> None:
        self.changes += 1
        self._changed.set()


@asynccontextmanager
async def following(**options: Any) -> AsyncIterator[Following]:
    server = GateServer()
    application = web.Application()
    application.add_routes([web.get("/gate/events", server.serve)])
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with asyncio.timeout(10.0), aiohttp.ClientSession() as http:
        here = Following(server, f"http://127.0.0.1:{runner.addresses[0][1]}", http, **options)
        try:
            yield here
        finally:
            here.task.cancel()
            await asyncio.gather(here.task, return_exceptions=True)
            await runner.cleanup()


async def test_each_event_changes_the_store_and_is_announced() -> None:
    async with following() as here:
        connection = await here.opened()
        assert here.changes == 1
        await connection.send({"type": "gate", "symbol": BTC, "halted": True, "reasons": ["stale"]})
        await here.until(lambda: here.reasons() == ("stale",))
        assert here.changes == 2


@pytest.mark.parametrize(("allow_static", "query"), [(False, {}), (True, {"allow": "static"})])
async def test_static_data_is_asked_for_where_it_counts(allow_static: bool, query: dict[str, str]) -> None:
    async with following(allow_static=allow_static) as here:
        assert (await here.connected()).query == query


async def test_state_proves_no_more_than_that_the_daemon_ran_when_it_was_asked() -> None:
    async with following() as here:
        connection = await here.connected()
        here.now = 101.5
        await connection.send(OPEN_STATE)
        await here.until(lambda: here.changes == 1)
        assert here.store.snapshot.alive_at == 100.0


async def test_heartbeat_counts_when_it_is_read() -> None:
    async with following() as here:
        connection = await here.opened()
        here.now = 101.5
        await connection.send({"type": "heartbeat", "uptime_seconds": 7.0})
        await here.until(lambda: here.changes == 2)
        assert here.store.snapshot.alive_at == 101.5


async def test_lost_connection_closes_every_gate_at_once_and_a_new_one_reopens_them() -> None:
    async with following() as here:
        connection = await here.opened()
        await connection.close()
        await here.delayed()
        assert here.reasons() == ("unreachable",)
        here.end_delay()
        await here.opened()


async def test_daemon_that_falls_silent_is_left_and_its_gates_are_closed() -> None:
    async with following(silence_seconds=0.05) as here:
        connection = await here.opened()
        await here.until(lambda: here.reasons() == ("silent",))
        await connection.gone.wait()
        here.end_delay()
        await here.opened()


async def test_what_is_no_gate_event_ends_the_connection_and_is_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with following() as here:
        connection = await here.opened()
        await connection.send({"type": "gate", "symbol": 7})
        await connection.gone.wait()
        await here.delayed()
        assert here.reasons() == ("unreachable",)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "is no gate event: Expected `str`, got `int`" in errors[0]


async def test_failed_attempt_is_a_warning_only_where_the_one_before_it_succeeded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with following() as here:
        for _ in range(2):
            connection = await here.opened()
            here.server.refuse()
            await connection.close()
            for _ in range(3):
                await here.delayed()
                here.end_delay()
            await here.delayed()
            here.server.refuse(False)
            here.end_delay()
    failures = [record.levelno for record in caplog.records if "no gates from feedd" in record.getMessage()]
    assert failures == [logging.WARNING, logging.DEBUG, logging.DEBUG] * 2


async def test_attempt_that_fails_is_announced_and_says_unreachable() -> None:
    async with following() as here:
        here.server.refuse()
        await here.delayed()
        assert here.changes == 1
        assert here.reasons() == ("unreachable",)


async def test_delays_grow_while_nothing_comes_and_begin_anew_after_one_event() -> None:
    async with following() as here:
        for ceiling in (0.1, 0.2, 0.4, 0.8):
            await (await here.connected()).close()
            assert ceiling / 2 <= await here.delayed() <= ceiling
            here.end_delay()
        await (await here.opened()).close()
        assert 0.05 <= await here.delayed() <= 0.1


async def test_cancelling_closes_every_gate_and_announces_it() -> None:
    async with following() as here:
        connection = await here.opened()
        here.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await here.task
        assert here.reasons() == ("closed",)
        assert here.changes == 2
        await connection.gone.wait()
