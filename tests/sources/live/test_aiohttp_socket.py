"""Frames straight from the parser, or by aiohttp's public way: nothing but the speed differs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import aiohttp
import pytest

from feedd.core.stream_state import StreamState
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import DisconnectReason, InvalidReason, Reason, Subscription
from feedd.sources.live.aiohttp_socket import DirectSocket, socket_class
from feedd.sources.live.connection import Connection, ConnectionTiming, connect
from feedd.sources.options import SourceOptions
from feedd.venues.binance.common.control_replies import DecodedFrame
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.tables import SPOT
from feedd.venues.catalogue import VENUES
from feedd.venues.venue import Venue
from tests.running import SYMBOLS, running, settings_for
from tests.sources.live.test_make_before_break import Consumer

HIT, OTHER = SYMBOLS
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=200.0)
TIMING = ConnectionTiming.under(SPOT.rules)


@pytest.fixture(params=[True, False], ids=["direct", "public"])
def options(request: pytest.FixtureRequest) -> SourceOptions:
    return SourceOptions(reads_directly=request.param)


def test_installed_aiohttp_is_one_that_the_direct_way_knows(options: SourceOptions) -> None:
    assert (socket_class(options.reads_directly) is DirectSocket) == options.reads_directly


async def test_every_trade_comes_once_and_in_order(options: SourceOptions) -> None:
    consumer = Consumer()
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange), consumer, sources=options) as feedd,
    ):
        await feedd.until_open()
        await feedd.until(lambda _: all(len(consumer.trades[symbol]) > 200 for symbol in SYMBOLS))
    for ids in consumer.trades.values():
        assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_what_comes_with_the_handshake_is_not_lost(options: SourceOptions) -> None:
    taken: list[bytes] = []
    everything = ExchangeSettings(symbols=(HIT,), rate=2000.0)
    async with (
        Exchange(everything) as exchange,
        aiohttp.ClientSession(ws_response_class=socket_class(options.reads_directly)) as http,
    ):
        socket = await connect(http, f"{exchange.ws_url}/stream?streams=btcusdt@trade", TIMING)
        assert isinstance(socket, DirectSocket) == options.reads_directly
        await asyncio.sleep(0.05)  # messages come before anybody reads
        connection = Connection(socket, lambda raw, _: taken.append(raw), _refused, TIMING)
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
async def test_connection_ends_for_the_same_reason(
    fault: str, reason: DisconnectReason, options: SourceOptions
) -> None:
    arguments = {"mode": "too_big", "count": 1} if fault == "garbage" else {}
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), sources=options) as feedd:
        await feedd.until_open()
        exchange.set_fault(fault, symbol=HIT, **arguments)  # type: ignore[arg-type]  # what the fault takes
        await feedd.until(lambda feedd: feedd.symbol_state(HIT).counts.disconnects[reason] == 1)
        await feedd.until_open()


class BreakableDecoder:
    """Spot's decoder, whose second look can be broken."""

    is_broken = False

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._decoder = SpotDecoder(subscriptions)
        self.stream_decoders = self._decoder.stream_decoders

    def second_look(self, frame: bytes) -> DecodedFrame:
        if BreakableDecoder.is_broken:
            raise ZeroDivisionError("a bug")
        return self._decoder.second_look(frame)


async def test_bug_in_the_reading_halts_its_symbol_and_is_healed(
    monkeypatch: pytest.MonkeyPatch, options: SourceOptions
) -> None:
    venue = replace(SPOT, decoder=BreakableDecoder)
    monkeypatch.setitem(cast(dict[str, Venue], VENUES), SPOT.name, venue)
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), sources=options) as feedd:
        await feedd.until_open()
        symbol_state = feedd.symbol_state(HIT)
        monkeypatch.setattr(BreakableDecoder, "is_broken", True)
        exchange.set_fault("unknown_field", symbol=HIT, seconds=0.3)
        await feedd.until(lambda _: Reason.INTERNAL in symbol_state.gate.active)
        monkeypatch.setattr(BreakableDecoder, "is_broken", False)
        await feedd.until_open(HIT)
        assert symbol_state.counts.disconnects[DisconnectReason.PROTOCOL_ERROR] >= 1
        assert feedd.symbol_state(OTHER).counts.connects == 1


async def test_pings_are_answered_with_their_payload(options: SourceOptions) -> None:
    market = ExchangeSettings(symbols=SYMBOLS, rate=40.0, ping_interval=0.1, inbound_per_second=50)
    async with Exchange(market) as exchange, running(settings_for(exchange), sources=options) as feedd:
        await feedd.until_open()
        await exchange.stats.wait_until(lambda: exchange.stats.pongs > 10, timeout=5.0)
        assert exchange.stats.odd_pongs == 0


async def test_messages_are_delivered_as_they_came(options: SourceOptions) -> None:
    raws: list[bytes] = []

    def deliver(stream_state: StreamState, raw: bytes) -> None:
        raws.append(raw)

    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange), deliver) as feedd:
        await feedd.until_open()
        assert {type(raw) for raw in raws} == {bytes}
        assert all(raw.startswith(b'{"stream":"') for raw in raws)
