"""A drill's own exchange and daemon: they are live, obey their env-file, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from feedd.cli.drill_sandbox import SYMBOLS, DrillSandbox, open_sandbox
from feedd.cli.flag_commands import set_flag

Reasons = dict[str, list[str]]
Listening = AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]


def listening(http: aiohttp.ClientSession, sandbox: DrillSandbox) -> Listening:
    return http.ws_connect(f"{sandbox.url}/gate/events")


async def until(socket: aiohttp.ClientWebSocketResponse, condition: Callable[[Reasons], bool]) -> Reasons:
    """Read events of the gates until the condition holds for the reasons of every symbol."""
    reasons: Reasons = {}
    async with asyncio.timeout(20.0):
        while not reasons or not condition(reasons):
            event: dict[str, Any] = await socket.receive_json()
            if event["type"] == "state":
                reasons |= {name: gate["reasons"] for name, gate in event["symbols"].items()}
            elif event["type"] == "gate":
                reasons[event["symbol"]] = event["reasons"]
    return reasons


def are_all_open(reasons: Reasons) -> bool:
    return not any(reasons.values())


async def test_every_symbol_of_the_sandbox_is_live_and_opens() -> None:
    async with open_sandbox() as sandbox, aiohttp.ClientSession() as http:
        async with listening(http, sandbox) as socket:
            assert set(await until(socket, are_all_open)) == set(SYMBOLS)
        async with http.get(f"{sandbox.url}/status") as response:
            status = await response.json()
    assert status["source"] == "realtime"
    assert all(symbol["connected"] for symbol in status["symbols"].values())


async def test_daemon_of_the_sandbox_follows_its_env_file() -> None:
    async with (
        open_sandbox() as sandbox,
        aiohttp.ClientSession() as http,
        listening(http, sandbox) as socket,
    ):
        await until(socket, are_all_open)
        set_flag(sandbox.env_file, "FLAG_TRADING_HALTED", "1")
        await until(socket, lambda reasons: all("kill_switch" in why for why in reasons.values()))


async def test_daemon_of_the_sandbox_asks_nobody_but_its_own_exchange() -> None:
    async with open_sandbox() as sandbox:
        values = dict(line.split("=", 1) for line in sandbox.env_file.read_text().splitlines())
    for key in ("FEEDD_WS_URL", "FEEDD_REST_URL"):
        assert URL(values[key]).host == "127.0.0.1"


async def test_failed_drill_leaves_neither_a_daemon_nor_a_file() -> None:
    with pytest.raises(RuntimeError, match="the drill failed"):
        async with open_sandbox() as sandbox:
            assert sandbox.env_file.is_file()
            raise RuntimeError("the drill failed")
    assert not sandbox.env_file.parent.exists()
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{sandbox.url}/-/healthy")
