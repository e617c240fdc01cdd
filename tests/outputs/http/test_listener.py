"""The connections of the HTTP side: floods, slow clients and large requests stay within their bounds."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from feedd.daemon import DaemonTiming
from feedd.model import ConsumerDisconnect, Rejection
from feedd.outputs.http.listener import ListenerLimits
from feedd.outputs.http.server import HttpLimits
from tests.alerts.stack import answers, free_port, start
from tests.outputs.http.test_server import static_settings
from tests.outputs.http.test_web_access import USERS, files, guarded
from tests.outputs.relaying import gate_events_of
from tests.outputs.webs import TLS, Files
from tests.running import Running, running

__all__ = ["files"]

HALF_A_HEAD = b"GET /gate HTTP/1.1\r\nHost: feedd\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Clients:
    """Raw connections, all of which end with the test."""

    def __init__(self) -> None:
        self._all: list[Connection] = []

    async def open(self, daemon: Running, text: bytes = b"") -> Connection:
        """Open a connection and say something."""
        host, _, port = daemon.url.rpartition("/")[2].rpartition(":")
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what isn't read soon fills all buffers
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
        connection = await asyncio.open_connection(sock=client, limit=64)
        self._all.append(connection)
        connection[1].write(text)
        return connection

    def hang_up(self) -> None:
        for _, writer in self._all:
            writer.transport.abort()


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients]:
    all_clients = Clients()
    yield all_clients
    all_clients.hang_up()
    await asyncio.sleep(0)  # transports close in the next turn


async def is_ended(connection: Connection, within: float = 5.0) -> bool:
    """Say whether the other side ends the connection in that time."""
    try:
        async with asyncio.timeout(within):
            while await connection[0].read(65536):
                pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@contextmanager
def rejections(daemon: Running, **expected: int) -> Iterator[None]:
    """Expect that so many more are turned away within the block."""
    counts = daemon.daemon.http.rejections
    before = dict(counts)
    yield
    risen = {
        reason: counts[reason] - before[reason] for reason in Rejection if counts[reason] > before[reason]
    }
    assert risen == {Rejection(reason): count for reason, count in expected.items()}


def within(listener: ListenerLimits | None = None, **limits: Any) -> DaemonTiming:
    """Return the times of a daemon whose HTTP side has these limits."""
    return DaemonTiming(http=HttpLimits(**limits, listener=listener or ListenerLimits()))


@pytest.mark.parametrize("said", [b"", b"G", HALF_A_HEAD])
async def test_head_that_does_not_come_ends_the_connection(clients: Clients, said: bytes) -> None:
    async with running(static_settings(), timing=within(head_seconds=0.5)) as daemon:
        began = time.monotonic()
        connection = await clients.open(daemon, said)
        assert await is_ended(connection)
        assert 0.4 < time.monotonic() - began < 1.5


async def test_head_that_comes_drop_by_drop_ends_the_connection_as_well(clients: Clients) -> None:
    async with running(static_settings(), timing=within(head_seconds=0.5)) as daemon:
        connection = await clients.open(daemon)
        ending = asyncio.create_task(is_ended(connection))
        began = time.monotonic()
        while not ending.done() and time.monotonic() - began < 5.0:
            connection[1].write(b"X: y\r\n" if time.monotonic() - began > 0.1 else b"GET / HTTP/1.1\r\n")
            await asyncio.sleep(0.05)
        assert time.monotonic() - began < 1.5


async def test_tls_handshake_that_is_not_finished_ends_the_connection(clients: Clients, files: Files) -> None:
    timing = within(ListenerLimits(handshake_seconds=0.3))
    async with guarded(files, TLS, timing) as daemon:
        with rejections(daemon, tls=2):
            connections = [await clients.open(daemon, said) for said in (b"", b"\x16\x03\x01\x02\x00\x01")]
            assert [await is_ended(connection) for connection in connections] == [True, True]
            await daemon.until(lambda daemon: not daemon.daemon.http._listener._waiting)


@pytest.mark.parametrize("with_tls", [False, True])
async def test_flood_pushes_out_who_has_waited_longest_and_nobody_in_earnest(
    clients: Clients, files: Files, with_tls: bool
) -> None:
    timing = within(ListenerLimits(waiting=20))
    async with guarded(files, (TLS if with_tls else "") + USERS, timing) as daemon:
        with rejections(daemon, flood=11, unauthorized=1):
            flood = [await clients.open(daemon, HALF_A_HEAD[:4]) for _ in range(30)]
            async with daemon.http.get(f"{daemon.url}/gate", ssl=files.trusting()) as response:
                assert response.status == 401
            assert len(daemon.daemon.http._listener._waiting) == 20
        assert all([await is_ended(connection) for connection in flood[:11]])
        assert not await is_ended(flood[11], within=0.1)
        clients.hang_up()
        await daemon.until(lambda daemon: len(daemon.daemon.http._listener._clients) <= 1)


async def test_consumers_are_no_part_of_the_flood(clients: Clients) -> None:
    timing = within(ListenerLimits(waiting=3, answered=3))
    async with running(static_settings(), timing=timing) as daemon:
        sockets = [await daemon.http.ws_connect(f"{daemon.url}/gate/events") for _ in range(10)]
        with rejections(daemon, flood=7):
            for _ in range(10):
                await clients.open(daemon)
            await daemon.until(lambda daemon: len(daemon.daemon.http._listener._waiting) == 3)
            await daemon.until(lambda daemon: daemon.daemon.http.rejections[Rejection.FLOOD] == 7)
        gate_events_of(daemon).send_state()
        for socket in sockets:
            assert [(await socket.receive_json())["type"] for _ in range(2)] == ["state", "state"]
            await socket.close()


def large_settings() -> dict[str, str]:
    """Return what makes `/metrics` larger than what a kernel keeps for a client that doesn't read."""
    return {"FEEDD_SYMBOLS": ",".join(f"S{number}USDT" for number in range(400))}


HEAD = b" HTTP/1.1\r\nHost: feedd\r\n"
GOOD_HANDSHAKE = (
    b"GET /gate/events" + HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GET_METRICS = b"GET /metrics HTTP/1.1\r\nHost: feedd\r\n\r\n"


async def test_answer_that_nobody_reads_ends_the_connection(clients: Clients) -> None:
    timing = within(ListenerLimits(stalled_seconds=0.5))
    async with running(static_settings(**large_settings()), timing=timing) as daemon:
        with rejections(daemon, stalled=1):
            await clients.open(daemon, GET_METRICS)
            await daemon.until(lambda daemon: daemon.daemon.http.rejections[Rejection.STALLED] == 1)
            await daemon.until(lambda daemon: not daemon.daemon.http._listener._clients)


async def test_answer_that_is_read_slowly_is_sent_to_its_end(clients: Clients) -> None:
    timing = within(ListenerLimits(stalled_seconds=0.1))
    async with running(static_settings(**large_settings()), timing=timing) as daemon:
        for listener in daemon.daemon.http._listener._listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # or the kernel takes all of it
        with rejections(daemon):
            reader, _ = await clients.open(
                daemon, GET_METRICS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            began, size = time.monotonic(), 0
            while piece := await reader.read(100_000):
                size += len(piece)
                await asyncio.sleep(max(0.0, began + size / 4_000_000 - time.monotonic()))
            assert size > 1_000_000
            assert time.monotonic() - began > 0.3


async def test_consumer_that_pauses_is_left_to_its_own_bounds(clients: Clients) -> None:
    timing = within(ListenerLimits(stalled_seconds=0.1))
    async with running(static_settings(**large_settings()), timing=timing) as daemon:
        with rejections(daemon):
            await clients.open(daemon, GOOD_HANDSHAKE)
            await daemon.until(lambda daemon: daemon.daemon.consumers.counts.connected == 1)
            (client,) = daemon.daemon.http._listener._clients.values()
            assert client.transport is not None
            while not client.transport.get_write_buffer_size():
                gate_events_of(daemon).send_state()
                await asyncio.sleep(0)
            await asyncio.sleep(0.5)  # several looks at who is stalled
            assert daemon.daemon.consumers.counts.connected == 1


async def test_who_is_answered_for_longest_goes_when_there_are_too_many(clients: Clients) -> None:
    timing = within(ListenerLimits(answered=3))
    async with running(static_settings(**large_settings()), timing=timing) as daemon:
        with rejections(daemon, flood=1):
            flood = [await clients.open(daemon, GET_METRICS) for _ in range(3)]
            await daemon.until(lambda daemon: len(daemon.daemon.http._listener._answered) == 3)
            assert (await daemon.get("/-/healthy"))[0] == 200
        assert await is_ended(flood[0])
        began = time.monotonic()
    assert time.monotonic() - began < 1.0  # a stop doesn't wait for who doesn't read


LONG = b"x" * 100_000


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /" + LONG + HEAD + b"\r\n",
        b"GET /?symbol=" + LONG + HEAD + b"\r\n",
        b"GET /" + HEAD + b"X: " + LONG + b"\r\n\r\n",
        b"GET /" + HEAD + LONG + b": x\r\n\r\n",
        b"GET /" + HEAD + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n",
        LONG,
    ],
)
async def test_request_beyond_its_bounds_is_refused(
    request_text: bytes, clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(static_settings()) as daemon:
        with rejections(daemon, malformed=1):
            connection = await clients.open(daemon, request_text)
            assert (await connection[0].read(64)).split()[1] == b"400"
            assert await is_ended(connection)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("name", ["Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key"])
async def test_handshake_that_is_no_text_is_refused(
    clients: Clients, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async with running(static_settings()) as daemon:
        bad = GOOD_HANDSHAKE.replace(name.encode() + b": ", name.encode() + b": \x80")
        for text, status in ((GOOD_HANDSHAKE, b"101"), (bad, b"400")):
            connection = await clients.open(daemon, text)
            assert (await connection[0].read(64)).split()[1] == status
    assert "Traceback" not in caplog.text


async def test_body_is_not_waited_for(clients: Clients) -> None:
    async with running(static_settings(), timing=within(body_seconds=0.2)) as daemon:
        connection = await clients.open(
            daemon, b"GET /-/healthy" + HEAD + b"Content-Length: 1000000000\r\n\r\nx"
        )
        assert (await connection[0].read(64)).split()[1] == b"200"
        assert await is_ended(connection, within=2.0)


async def test_frame_beyond_its_bounds_ends_the_consumer() -> None:
    async with running(static_settings()) as daemon:
        async with daemon.http.ws_connect(f"{daemon.url}/gate/events") as socket:
            await socket.send_str("x" * 1_000_000)
            while not socket.closed:
                await socket.receive()
            assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await daemon.until(lambda daemon: daemon.daemon.consumers.counts.connected == 0)
        assert daemon.daemon.consumers.counts.disconnects[ConsumerDisconnect.PROTOCOL_ERROR] == 1


async def test_flood_beyond_the_file_descriptors_is_survived(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    daemon = await start(
        tmp_path / "feedd.log", sys.executable, "-m", "feedd", "run", "--source", "csv", "--symbols", "SPY",
        "--listen", address,
    )  # fmt: skip
    flood = [socket.socket() for _ in range(60)]
    try:
        await answers(daemon, f"http://{address}/-/healthy")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        for each in flood:
            each.connect(("127.0.0.1", int(address.partition(":")[2])))
        await answers(daemon, f"http://{address}/-/healthy")
        await daemon.stop(signal.SIGTERM)
        assert daemon.process.returncode == 0
        log = daemon.log.read_text()
        assert "reason=flood" in log
        assert not re.search("Traceback|bug", log)
    finally:
        for each in flood:
            each.close()
        await daemon.stop(signal.SIGKILL)
