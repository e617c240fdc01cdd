from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import pytest

from feedd.exchange import ExchangeSettings
from feedd.exchange.client_connection import ClientConnection, reset
from feedd.exchange.messages import Opcode, TimeUnit
from feedd.exchange.rules import ConnectionRules
from feedd.venues.binance.common.stream_protocol import Subscriber

BUFFER_MAX = 100_000


@dataclass
class Pair:
    """A connection and the far end of its socket."""

    connection: ClientConnection
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Keep(asyncio.Protocol):
    def __init__(self, made: asyncio.Future[asyncio.Transport]) -> None:
        self.made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made.set_result(cast(asyncio.Transport, transport))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Transport] = loop.create_future()
    server = await loop.create_server(lambda: Keep(made), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    subscriber = Subscriber(combined=True, streams_max=5)
    transport = await made
    rules = ConnectionRules(ExchangeSettings(), 0.0)
    connection = ClientConnection(transport, subscriber, TimeUnit.MILLISECOND, rules, BUFFER_MAX)
    yield Pair(connection, reader, writer)
    connection.drop()
    writer.transport.abort()
    server.close()
    await asyncio.sleep(0)


async def test_queued_frames_go_out_together_and_in_order(pair: Pair) -> None:
    pair.connection.queue(b"one")
    pair.connection.queue(b"two")
    pair.connection.send(Opcode.PING, b"3")
    assert await pair.reader.readexactly(9) == b"onetwo\x89\x013"


async def test_close_sends_what_is_queued_and_one_close_frame(pair: Pair) -> None:
    pair.connection.queue(b"one")
    pair.connection.close(1001, "bye")
    pair.connection.close(1002, "bye")
    assert not pair.connection.is_open
    pair.connection.end()
    assert await pair.reader.read() == b"one\x88\x05\x03\xe9bye"


async def test_client_that_answers_no_close_frame_is_dropped(pair: Pair) -> None:
    pair.connection.close(1001, "")
    async with asyncio.timeout(5):
        assert await pair.reader.read() == b"\x88\x02\x03\xe9"


async def test_reset_is_a_reset(pair: Pair) -> None:
    pair.connection.reset()
    with pytest.raises(ConnectionResetError):
        await pair.reader.read()


async def test_bare_transport_can_be_reset(pair: Pair) -> None:
    reset(pair.connection.transport)
    with pytest.raises(ConnectionResetError):
        await pair.reader.read()


async def test_vanished_connection_sends_nothing_more_and_stays(pair: Pair) -> None:
    pair.connection.queue(b"one")
    pair.connection.vanish()
    pair.connection.flush()
    assert not pair.connection.transport.is_closing()
    pair.connection.end()
    assert await pair.reader.read() == b""


async def test_client_that_does_not_read_is_congested_and_then_too_slow(pair: Pair) -> None:
    while not pair.connection.is_congested:
        pair.connection.queue(b"x" * 10_000)
        assert pair.connection.flush()
    assert pair.connection.has_unsent
    while pair.connection.flush():
        pair.connection.queue(b"x" * 10_000)
    assert pair.connection.transport.get_write_buffer_size() <= BUFFER_MAX + 10_000


async def test_timers_of_an_ended_connection_do_not_run(pair: Pair) -> None:
    ran: list[int] = []
    pair.connection.call_later(0, lambda: ran.append(1))
    pair.connection.call_later(0.01, lambda: ran.append(2))
    pair.connection.drop()
    await asyncio.sleep(0.02)
    assert ran == []


async def test_symbols_are_new_to_a_connection_once(pair: Pair) -> None:
    assert pair.connection.carry(frozenset({"A", "B"})) == {"A", "B"}
    assert pair.connection.carry(frozenset({"B", "C"})) == {"C"}
    assert pair.connection.symbols == {"B", "C"}
