"""The HTTP side of a running daemon."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from feedd.config.resolve import resolve
from feedd.config.settings import Settings
from feedd.exchange import ExchangeSettings
from feedd.model import ConsumerDisconnect
from tests.running import (
    SYMBOLS,
    running,
)

EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=20.0)
HIT, OTHER = SYMBOLS


def static_settings(**more: str) -> Settings:
    return resolve(
        None, {}, {"FEEDD_LISTEN": "127.0.0.1:0", "FEEDD_SYMBOLS": ",".join(SYMBOLS)} | more
    ).settings


@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/gate", "/gate/events", "/ws", "/status", "/-/ready", "/-/healthy"]
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_nothing_over_http_changes_state(path: str, method: str) -> None:
    async with running(static_settings()) as feedd, feedd.http.request(method, feedd.url + path) as response:
        assert response.status == 405


async def test_taken_port_is_an_error_at_start() -> None:
    async with running(static_settings()) as feedd:
        port = feedd.url.rpartition(":")[2]
        with pytest.raises(OSError, match="address already in use"):
            async with running(static_settings(FEEDD_LISTEN=f"127.0.0.1:{port}")):
                pass


async def test_consumers_beyond_the_limit_are_refused_and_counted() -> None:
    async with running(static_settings(FEEDD_CONSUMERS_MAX="1")) as feedd, feedd.listening():
        await feedd.until(lambda feedd: feedd.daemon.consumers.counts.connected == 1)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await feedd.http.ws_connect(f"{feedd.url}/gate/events")
        assert refused.value.status == 503
        assert feedd.daemon.consumers.counts.disconnects[ConsumerDisconnect.LIMIT] == 1


async def test_stopping_closes_listeners_with_1001() -> None:
    async with aiohttp.ClientSession() as http:
        async with running(static_settings()) as feedd:
            socket = await http.ws_connect(f"{feedd.url}/gate/events")
            await socket.receive()
            closing = asyncio.create_task(_read_to_the_end(socket))
        assert await closing == 1001


async def _read_to_the_end(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code
