"""Consumers on real sockets: what one is told, how far behind it may be, and how it is let go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from feedd.config.resolve import resolve
from feedd.model import ConsumerDisconnect
from feedd.outputs.ws import consumer as consumers
from feedd.outputs.ws.consumer import Consumer, ConsumerRegistry
from feedd.outputs.ws.frame_writer import text_frame
from tests.exchange.raw import CLOSE, TEXT, RawClient
from tests.exchange.tap import Tap

FRAME = text_frame(b"x" * 1000)


class Rig:
    """A server that tells its consumers only what a test tells it to."""

    def __init__(self, **settings: str) -> None:
        self.registry = ConsumerRegistry(resolve(None, {}, settings).settings)
        self.admitted: asyncio.Queue[Consumer] = asyncio.Queue()
        self.heard: list[bytes] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        consumer = await self.registry.admit(request)
        self.admitted.put_nowait(consumer)
        await self.registry.serve(consumer, self.heard.append)
        return consumer.response

    def counted(self, reason: ConsumerDisconnect) -> int:
        return self.registry.counts.disconnects[reason]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # a queue that drains tells nobody
                await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(**settings: str) -> AsyncIterator[Rig]:
    rig = Rig(**settings)
    application = web.Application()
    application.add_routes([web.get("/", rig.serve)])
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    rig.url = "http://127.0.0.1:{1}".format(*runner.addresses[0])
    try:
        yield rig
    finally:
        rig.registry.stop()
        await runner.cleanup()


@asynccontextmanager
async def reading(rig: Rig) -> AsyncIterator[tuple[Consumer, Tap]]:
    """Connect a consumer that reads all it is sent."""
    async with aiohttp.ClientSession() as http, http.ws_connect(rig.url, max_msg_size=0) as socket:
        yield await rig.admitted.get(), Tap(socket)


@asynccontextmanager
async def lazy(rig: Rig) -> AsyncIterator[tuple[Consumer, RawClient]]:
    """Connect a consumer that reads only what a test asks it to."""
    dialling = socket.socket()
    dialling.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    dialling.setblocking(False)
    port = int(rig.url.rpartition(":")[2])
    await asyncio.get_running_loop().sock_connect(dialling, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=dialling, limit=1024)
    client = RawClient(reader, writer)
    try:
        await client.shake_hands("/")
        yield await rig.admitted.get(), client
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


def tell_until_it_waits(consumer: Consumer) -> int:
    """Tell one that doesn't read so much that its own queue begins to fill; returns how many messages."""
    told = 0
    while not consumer.describe()["waiting_messages"]:
        consumer.send(FRAME)
        told += 1
    return told


async def test_frames_are_written_as_they_are_and_in_order() -> None:
    async with serving() as rig, reading(rig) as (consumer, tap):
        for number in range(1000):
            consumer.send(text_frame(b"%d" % number))
        await tap.until(lambda: len(tap.texts) == 1000)
        assert tap.texts == [str(number) for number in range(1000)]
        assert consumer.delivered == 1000


async def test_what_a_socket_does_not_take_waits_and_is_sent_in_order() -> None:
    async with serving() as rig, lazy(rig) as (consumer, client):
        told = tell_until_it_waits(consumer)
        for number in range(300):
            consumer.send(text_frame(b"%d" % number))
        await asyncio.sleep(0.002)  # what is looked at is that time passes
        described = consumer.describe()
        assert described["waiting_messages"] == 301
        assert described["behind_seconds"] > 0.0
        for _ in range(told):
            assert await client.receive_until(TEXT) == b"x" * 1000
        assert [await client.receive_until(TEXT) for _ in range(300)] == [b"%d" % n for n in range(300)]
        await rig.until(lambda: consumer.describe()["waiting_bytes"] == 0)
        described = consumer.describe()
        assert (described["waiting_messages"], described["behind_seconds"]) == (0, 0.0)
        assert described["delivered"] == told + 300
        consumer.send(text_frame(b"at once again"))
        assert await client.receive_until(TEXT) == b"at once again"
        assert rig.registry.counts.messages_dropped == 0


async def test_what_the_kernel_holds_is_small() -> None:
    """Else megabytes would stand between a consumer that doesn't read and the notice that it doesn't."""
    async with serving() as rig, lazy(rig) as (consumer, _):
        assert tell_until_it_waits(consumer) * len(FRAME) < 1_000_000


@pytest.mark.parametrize(
    ("setting", "limit", "messages"),
    [("FEEDD_CONSUMER_QUEUE_BYTES", "200000", 200), ("FEEDD_CONSUMER_QUEUE_MESSAGES", "50", 50)],
)
async def test_who_is_too_far_behind_is_told_so_and_let_go(
    setting: str, limit: str, messages: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(**{setting: limit}) as rig, lazy(rig) as (consumer, client), reading(rig) as (_, tap):
        told = tell_until_it_waits(consumer)
        waiting = 1
        while not rig.registry.counts.messages_dropped:
            consumer.send(FRAME)
            waiting += 1
        assert messages * 0.5 < waiting <= messages + 1
        assert rig.registry.counts.messages_dropped == waiting
        assert consumer.describe()["waiting_messages"] == 0, "its memory is free at once"
        for _ in range(told - 1):
            assert await client.receive_until(TEXT) == b"x" * 1000
        assert await client.receive_until(CLOSE) == b"\x03\xf5slow"
        await rig.until(lambda: rig.counted(ConsumerDisconnect.SLOW) == 1)
        (record,) = [record for record in caplog.records if "too slow" in record.message]
        assert getattr(record, "fields", {})["consumer"] == "unnamed"
        assert not tap.is_over


async def test_who_reads_not_even_its_farewell_is_cut_and_what_it_missed_counted() -> None:
    async with serving(FEEDD_CONSUMER_QUEUE_BYTES="200000") as rig, lazy(rig) as (consumer, client):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as one that only writes
        while not rig.registry.counts.messages_dropped:
            consumer.send(FRAME)
        dropped = rig.registry.counts.messages_dropped
        await rig.until(lambda: rig.registry.counts.messages_dropped > dropped)
        at_the_socket = rig.registry.counts.messages_dropped - dropped
        assert 0.5 * consumers.SOCKET_BYTES < at_the_socket * len(FRAME) < 1.1 * consumers.SOCKET_BYTES
        assert rig.registry.counts.connected == 0


async def test_one_that_is_over_is_told_nothing_more() -> None:
    async with serving() as rig, reading(rig) as (consumer, tap):
        consumer.end(ConsumerDisconnect.HALT, "BTCUSDT is halted: stale")
        consumer.end(ConsumerDisconnect.SLOW)
        consumer.send(FRAME)
        assert await tap.until_over() == 1013
        assert tap.texts == []
        await rig.until(lambda: rig.registry.counts.connected == 0)
        assert rig.counted(ConsumerDisconnect.HALT) == 1
        assert rig.counted(ConsumerDisconnect.SLOW) == 0


async def test_what_waits_is_still_sent_to_one_that_is_let_go_in_peace() -> None:
    async with serving() as rig, lazy(rig) as (consumer, client):
        told = tell_until_it_waits(consumer)
        consumer.send(text_frame(b"the last word"))
        consumer.end(ConsumerDisconnect.SHUTDOWN)
        for _ in range(told):
            assert await client.receive_until(TEXT) == b"x" * 1000
        assert await client.receive_until(TEXT) == b"the last word"
        assert await client.receive_until(CLOSE) == b"\x03\xe9shutdown"
        assert rig.registry.counts.messages_dropped == 0


async def test_farewell_fits_in_a_close_frame_whatever_it_says() -> None:
    async with serving() as rig, lazy(rig) as (consumer, client):
        consumer.end(ConsumerDisconnect.HALT, "测" * 100)
        payload = await client.receive_until(CLOSE)
        assert payload[2:].decode() == "测" * 41


async def test_one_that_leaves_is_counted_as_gone_and_missed_nothing() -> None:
    async with serving() as rig:
        async with lazy(rig) as (consumer, _):
            tell_until_it_waits(consumer)
        await rig.until(lambda: rig.counted(ConsumerDisconnect.CLIENT) == 1)
        consumer.send(FRAME)
        assert rig.registry.counts.messages_dropped == 0
        assert rig.registry.status()["present"] == []


async def test_what_is_said_is_heard_in_either_kind_of_message() -> None:
    async with serving() as rig, reading(rig) as (_, tap):
        await tap.socket.send_str("text")
        await tap.socket.send_bytes(b"binary")
        await rig.until(lambda: rig.heard == [b"text", b"binary"])


@pytest.mark.parametrize("key", [b"short", b"\xc3\xa9" * 12, b"!!!!", b""])
async def test_broken_key_is_a_bad_request(key: bytes) -> None:
    async with serving() as rig:
        port = int(rig.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: feedd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()


async def test_stop_lets_everyone_go() -> None:
    async with serving() as rig:
        async with reading(rig) as (_, one), reading(rig) as (_, other):
            rig.registry.stop()
            assert (await one.until_over(), await other.until_over()) == (1001, 1001)
        await rig.until(lambda: rig.counted(ConsumerDisconnect.SHUTDOWN) == 2)


async def test_other_limits_hold_for_those_who_are_there_as_well() -> None:
    async with serving() as rig, lazy(rig) as (consumer, _):
        tell_until_it_waits(consumer)
        for _ in range(20):
            consumer.send(FRAME)
        old = resolve(None, {}, {}).settings
        rig.registry.apply_settings(old, replace(old, consumer_queue_messages=10))
        assert rig.counted(ConsumerDisconnect.SLOW) == 0, "nobody is let go for the change itself"
        consumer.send(FRAME)
        await rig.until(lambda: rig.counted(ConsumerDisconnect.SLOW) == 1)


async def test_places_follow_the_settings() -> None:
    async with serving(FEEDD_CONSUMERS_MAX="1") as rig, reading(rig):
        old = resolve(None, {}, {}).settings
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with reading(rig):
                pass
        rig.registry.apply_settings(old, replace(old, consumers_max=2))
        async with reading(rig):
            assert rig.counted(ConsumerDisconnect.LIMIT) == 1
