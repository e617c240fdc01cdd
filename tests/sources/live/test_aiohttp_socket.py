"""Frames straight from the parser, or by aiohttp's public way: nothing but the speed differs."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from feedd.core.symbol_state import Lane
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import DisconnectReason, InvalidReason, Reason
from feedd.sources.live import aiohttp_socket as direct
from feedd.sources.live.connection import Connection, connect
from tests.running import SYMBOLS, running, settings_for
from tests.sources.live.test_make_before_break import Consumer

HIT, OTHER = SYMBOLS
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=200.0)


@pytest.fixture(params=["direct", "public"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "public":
        monkeypatch.setattr(direct, "KNOWN_VERSIONS", re.compile("none"))
    way: str = request.param
    return way


def test_installed_aiohttp_is_one_that_the_direct_way_knows(way: str) -> None:
    assert (direct.socket_class() is direct.DirectSocket) == (way == "direct")


async def test_every_trade_comes_once_and_in_order() -> None:
    consumer = Consumer()
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), consumer) as feedd:
        await feedd.until_open()
        await feedd.until(lambda _: all(len(consumer.trades[symbol]) > 200 for symbol in SYMBOLS))
    for ids in consumer.trades.values():
        assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_what_comes_with_the_handshake_is_not_lost(way: str) -> None:
    taken: list[bytes] = []
    everything = ExchangeSettings(symbols=(HIT,), rate=2000.0)
    async with (
        Exchange(everything) as exchange,
        aiohttp.ClientSession(ws_response_class=direct.socket_class()) as http,
    ):
        socket = await connect(http, f"{exchange.ws_url}/stream?streams=btcusdt@trade")
        assert isinstance(socket, direct.DirectSocket) == (way == "direct")
        await asyncio.sleep(0.05)  # messages come before anybody reads
        connection = Connection(socket, lambda raw, _: taken.append(raw), _refused)
        reading = asyncio.create_task(connection.read())
        while len(taken) < 300:  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0.005)
        connection.end(DisconnectReason.ROTATION)
        assert await reading is DisconnectReason.ROTATION
        count = len(taken)
        await connection.close()
        assert len(taken) == count, "nothing is handed on once the connection has been left"
    ids = [int(raw.split(b'"t":')[1].split(b",")[0]) for raw in taken]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def _refused(reason: InvalidReason, detail: str, raw: bytes, read_at: float) -> None:
    raise AssertionError(reason)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("reset", DisconnectReason.RESET),
        ("close", DisconnectReason.SERVER_CLOSE),
        ("garbage", DisconnectReason.PROTOCOL_ERROR),
    ],
)
async def test_connection_ends_for_the_same_reason(fault: str, reason: DisconnectReason) -> None:
    arguments = {"mode": "too_big", "count": 1} if fault == "garbage" else {}
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        exchange.set_fault(fault, symbol=HIT, **arguments)  # type: ignore[arg-type]  # what the fault takes
        await feedd.until(lambda feedd: feedd.session(HIT).counts.disconnects[reason] == 1)
        await feedd.until_open()


@pytest.mark.interpreted
async def test_bug_in_the_reading_halts_its_symbol_and_is_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        session = feedd.session(HIT)
        monkeypatch.setattr("feedd.sources.live.demux.Reception._arbitrate", _broken)
        exchange.set_fault("unknown_field", symbol=HIT, seconds=0.3)
        await feedd.until(lambda _: Reason.INTERNAL in session.gate.active)
        monkeypatch.undo()
        await feedd.until_open(HIT)
        assert session.counts.disconnects[DisconnectReason.PROTOCOL_ERROR] >= 1
        assert feedd.session(OTHER).counts.connects == 1


def _broken(*_: object) -> None:
    raise ZeroDivisionError("a bug")


async def test_pings_are_answered_with_their_payload() -> None:
    market = ExchangeSettings(symbols=SYMBOLS, rate=40.0, ping_interval=0.1, inbound_per_second=50)
    async with Exchange(market) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        await exchange.stats.wait_until(lambda: exchange.stats.pongs > 10, timeout=5.0)
        assert exchange.stats.odd_pongs == 0


async def test_messages_are_delivered_as_they_came() -> None:
    raws: list[bytes] = []

    def deliver(lane: Lane, raw: bytes) -> None:
        raws.append(raw)

    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), deliver) as feedd:
        await feedd.until_open()
        assert {type(raw) for raw in raws} == {bytes}
        assert all(raw.startswith(b'{"stream":"') for raw in raws)
