"""One WebSocket to a server that may do anything: opened, read, and what it is said to have died of."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict
from yarl import URL

from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason
from feedd.sources.live.aiohttp_socket import DirectSocket, Socket, socket_class
from feedd.sources.live.connection import (
    ConnectFailed,
    Connection,
    ConnectionTiming,
    by_status,
    classify,
    connect,
    pause_for,
    retry_after,
)
from feedd.venues.binance.common.envelope import MAX_FRAME_BYTES
from feedd.venues.binance.spot.tables import BINANCE_TR, BINANCE_US, SPOT
from feedd.venues.venue import Venue

PATIENT = ConnectionTiming(silence=10.0, request_pause=0.0, handshake=5.0, close=0.5)
HASTY = replace(PATIENT, silence=0.2)
IN_TIME = 0.15
"""How late a busy machine may be, in seconds."""

# --- what venues leave


@pytest.mark.parametrize(
    ("venue", "silence", "pause"), [(SPOT, 45.0, 0.3), (BINANCE_US, 400.0, 0.3), (BINANCE_TR, 400.0, 0.3)]
)
def test_timing_is_what_the_venues_rules_leave(venue: Venue, silence: float, pause: float) -> None:
    timing = ConnectionTiming.under(venue.rules)
    assert timing.silence == silence
    assert timing.request_pause == pytest.approx(pause)
    assert timing.silence > 2.0 * venue.rules.ping_seconds, "two pings may be missed"
    assert 1.0 / timing.request_pause < venue.rules.messages_per_second


# --- failures to connect

KEY = ConnectionKey("stream.binance.com", 443, True, True, None, None, None)
NOBODY = OSError(111, "Connection refused")


def handshake_error(status: int, headers: Mapping[str, str] | None = None) -> aiohttp.WSServerHandshakeError:
    request: Any = SimpleNamespace(real_url=URL("wss://stream.binance.com"))
    return aiohttp.WSServerHandshakeError(
        request, (), status=status, message="Invalid response status", headers=CIMultiDict(headers or {})
    )


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TimeoutError(), ConnectFailure.TIMEOUT),
        (aiohttp.ServerTimeoutError(), ConnectFailure.TIMEOUT),
        (aiohttp.ConnectionTimeoutError(), ConnectFailure.TIMEOUT),
        (aiohttp.ClientConnectorDNSError(KEY, OSError("no such host")), ConnectFailure.DNS),
        (aiohttp.ClientConnectorSSLError(KEY, OSError("handshake")), ConnectFailure.TLS),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("not his")), ConnectFailure.TLS),
        (ssl.SSLError("wrong version"), ConnectFailure.TLS),
        (aiohttp.ClientConnectorError(KEY, NOBODY), ConnectFailure.REFUSED),
        (aiohttp.ServerDisconnectedError(), ConnectFailure.REFUSED),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), ConnectFailure.REFUSED),
        (NOBODY, ConnectFailure.REFUSED),
        (aiohttp.ClientPayloadError("half of it"), ConnectFailure.PROTOCOL),
        (aiohttp.InvalidURL("nowhere"), ConnectFailure.PROTOCOL),
        (handshake_error(503), ConnectFailure.HTTP_5XX),
        (handshake_error(429), ConnectFailure.HTTP_429),
        (handshake_error(200), ConnectFailure.PROTOCOL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_of_an_attempt_has_its_kind(
    error: aiohttp.ClientError | OSError, failure: ConnectFailure
) -> None:
    failed = classify(error)
    assert failed.failure is failure
    assert failed.detail, "there is always something to log"
    assert failed.retry_after is None


def test_refused_handshake_says_its_status_and_the_pause_that_was_asked_for() -> None:
    failed = classify(handshake_error(429, {"Retry-After": "7"}))
    assert (failed.failure, failed.retry_after) == (ConnectFailure.HTTP_429, 7.0)
    assert failed.detail == "429 Invalid response status"
    assert str(failed) == "http_429: 429 Invalid response status"


def test_error_without_a_text_is_called_by_its_name() -> None:
    assert classify(TimeoutError()).detail == "TimeoutError"


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (200, ConnectFailure.PROTOCOL),
        (302, ConnectFailure.PROTOCOL),
        (399, ConnectFailure.PROTOCOL),
        (400, ConnectFailure.HTTP_4XX),
        (401, ConnectFailure.HTTP_4XX),
        (403, ConnectFailure.HTTP_403),
        (404, ConnectFailure.HTTP_404),
        (418, ConnectFailure.HTTP_418),
        (429, ConnectFailure.HTTP_429),
        (451, ConnectFailure.HTTP_451),
        (499, ConnectFailure.HTTP_4XX),
        (500, ConnectFailure.HTTP_5XX),
        (599, ConnectFailure.HTTP_5XX),
    ],
)
def test_statuses_that_mean_something_of_their_own_are_told_apart(
    status: int, failure: ConnectFailure
) -> None:
    assert by_status(status) is failure


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("120", 120.0),
        ("-1", None),
        ("1.5", None),
        ("", None),
        (" 7", None),
        ("\u0667", None),
        ("²", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
def test_pause_is_read_where_it_is_a_number_of_seconds(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds
    assert retry_after({"Server": "nginx"}) is None
    assert retry_after(None) is None


@pytest.mark.parametrize(
    ("failure", "asked", "pause"),
    [
        (ConnectFailure.HTTP_429, None, 60.0),
        (ConnectFailure.HTTP_418, None, 120.0),
        (ConnectFailure.HTTP_429, 7.0, 7.0),
        (ConnectFailure.HTTP_429, 0.0, 60.0),
        (ConnectFailure.HTTP_5XX, 20.0, 20.0),
        (ConnectFailure.HTTP_5XX, None, None),
        (ConnectFailure.REFUSED, None, None),
    ],
)
def test_exchange_is_left_alone_for_as_long_as_it_asks_or_is_known_to_want(
    failure: ConnectFailure, asked: float | None, pause: float | None
) -> None:
    assert pause_for(failure, asked) == pause


# --- opening

Script = Callable[[web.WebSocketResponse, web.Request], Awaitable[object]]
"""What a server does with a WebSocket that it has accepted."""


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/stream", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/stream"
    finally:
        await runner.cleanup()


async def test_attempt_that_is_never_answered_ends_in_time() -> None:
    is_over = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        await is_over.wait()
        return web.Response()

    async with serving(hang) as url, aiohttp.ClientSession() as http:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectFailed) as failed:
            await connect(http, url, replace(PATIENT, handshake=0.1))
        assert 0.1 <= asyncio.get_running_loop().time() - began < 0.1 + IN_TIME
        is_over.set()
    assert failed.value.failure is ConnectFailure.TIMEOUT


async def test_attempt_where_nobody_listens_is_refused() -> None:
    async with serving(_nothing) as url:
        pass
    async with aiohttp.ClientSession() as http:
        with pytest.raises(ConnectFailed) as failed:
            await connect(http, url, PATIENT)
    assert failed.value.failure is ConnectFailure.REFUSED
    assert isinstance(failed.value.__cause__, aiohttp.ClientConnectorError)


async def _nothing(request: web.Request) -> web.StreamResponse:
    return web.Response(status=451, headers={"Retry-After": "3"})


async def test_attempt_that_is_answered_otherwise_says_with_what() -> None:
    async with serving(_nothing) as url, aiohttp.ClientSession() as http:
        with pytest.raises(ConnectFailed) as failed:
            await connect(http, url, PATIENT)
    assert (failed.value.failure, failed.value.retry_after) == (ConnectFailure.HTTP_451, 3.0)


# --- reading


class Read:
    """A connection to a server that follows a script, and what came of reading it."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self.taken: list[bytes] = []
        self.refused: list[tuple[InvalidReason, str, bytes]] = []
        self.take: Callable[[bytes], object] = self.taken.append
        self.has_taken = asyncio.Event()
        self.connection: Connection
        self.socket: Socket

    async def open(self, url: str, timing: ConnectionTiming) -> Connection:
        self.socket = await connect(self._http, url, timing)
        self.connection = Connection(self.socket, self._take, self._refuse, timing)
        return self.connection

    def _take(self, raw: bytes, read_at: float) -> None:
        self.has_taken.set()
        self.take(raw)

    def _refuse(self, reason: InvalidReason, detail: str, raw: bytes, read_at: float) -> None:
        self.refused.append((reason, detail, raw))
        self.has_taken.set()


@pytest.fixture(params=[True, False], ids=["direct", "public"])
async def read(request: pytest.FixtureRequest) -> AsyncIterator[Read]:
    """Each of the two ways in which frames come out of aiohttp."""
    async with aiohttp.ClientSession(ws_response_class=socket_class(request.param)) as http:
        yield Read(http)


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Serve a WebSocket to whoever comes, by a script."""

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=False, timeout=0.1)
        await socket.prepare(request)
        await script(socket, request)
        return socket

    async with serving(serve) as url:
        yield url


async def until_left(socket: web.WebSocketResponse) -> None:
    """Take what the client sends until it is gone."""
    async for _ in socket:
        pass


def cut(request: web.Request) -> None:
    """End the connection without a close frame, by a TCP reset."""
    assert request.transport is not None
    request.transport.abort()


async def test_texts_are_taken_in_their_order_until_the_server_closes(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for number in range(500):
            await socket.send_str(f"message {number}")
        await socket.close(code=1001)

    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        assert connection.close_code == 1001
        await connection.close()
    assert read.taken == [b"message %d" % number for number in range(500)]
    assert read.refused == []


async def test_connection_that_is_cut_was_reset(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        await socket.send_str("last word")
        await until_heard.wait()
        cut(request)

    until_heard = asyncio.Event()
    read.take = lambda _: until_heard.set()
    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        assert await connection.read() is DisconnectReason.RESET
        await connection.close()


async def test_silence_ends_a_connection_when_the_limit_is_over_since_the_last_frame(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for _number in range(4):
            await socket.send_str("a sign of life")
            await asyncio.sleep(HASTY.silence / 2.0)
        await until_left(socket)

    heard_at: list[float] = []
    loop = asyncio.get_running_loop()
    read.take = lambda _: heard_at.append(loop.time())
    async with scripted(script) as url:
        connection = await read.open(url, HASTY)
        assert await connection.read() is DisconnectReason.TIMEOUT
        assert HASTY.silence - 0.01 <= loop.time() - heard_at[-1] < HASTY.silence + IN_TIME
        assert len(heard_at) == 4
        await connection.close()


async def test_server_that_says_nothing_at_all_is_given_up(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await until_left(socket)

    async with scripted(script) as url:
        connection = await read.open(url, HASTY)
        assert await connection.read() is DisconnectReason.TIMEOUT
        await connection.close()


async def test_pings_are_answered_with_what_they_say_and_are_signs_of_life(read: Read) -> None:
    pongs: list[bytes] = []

    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for number in range(4):
            await socket.ping(b"%d" % number)
            answer = await socket.receive()
            assert answer.type is WSMsgType.PONG
            pongs.append(answer.data)
            await asyncio.sleep(HASTY.silence / 2.0)
        await socket.close(code=1000)

    async with scripted(script) as url:
        connection = await read.open(url, HASTY)
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        await connection.close()
    assert pongs == [b"0", b"1", b"2", b"3"]


async def test_unasked_pong_is_a_sign_of_life_and_no_more(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for _number in range(4):
            await socket.pong(b"unasked")
            await asyncio.sleep(HASTY.silence / 2.0)
        await socket.close(code=1000)

    async with scripted(script) as url:
        connection = await read.open(url, HASTY)
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        await connection.close()
    assert (read.taken, read.refused) == ([], [])


async def test_binary_frame_is_refused_and_the_reading_goes_on(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.send_bytes(b"\x00\x01\x02")
        await socket.send_str("text")
        await socket.close()

    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        await connection.close()
    assert read.refused == [(InvalidReason.BINARY, "3 bytes", b"\x00\x01\x02")]
    assert read.taken == [b"text"]


async def test_frame_that_is_too_big_is_refused_and_ends_the_connection(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.send_str("fits")
        await socket.send_str("x" * (MAX_FRAME_BYTES + 1))
        await until_left(socket)

    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        assert await connection.read() is DisconnectReason.PROTOCOL_ERROR
        await connection.close()
    assert read.taken == [b"fits"]
    assert read.refused == [(InvalidReason.TOO_BIG, f"more than {MAX_FRAME_BYTES} bytes", b"")]


async def test_largest_frame_that_fits_is_taken(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.send_str("x" * (MAX_FRAME_BYTES - 1))
        await socket.close()

    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        await connection.close()
    assert [len(raw) for raw in read.taken] == [MAX_FRAME_BYTES - 1]


async def test_what_breaks_the_protocol_is_a_protocol_error_and_no_frame(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, request: web.Request) -> None:
        assert request.transport is not None
        request.transport.write(b"\x83\x02no")  # an opcode that there isn't
        await until_left(socket)

    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        assert await connection.read() is DisconnectReason.PROTOCOL_ERROR
        await connection.close()
    assert (read.taken, read.refused) == ([], [])


async def test_bug_of_whoever_takes_is_raised_where_the_reading_is_waited_for(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for number in range(3):
            await socket.send_str(f"message {number}")
        await until_left(socket)

    def broken(raw: bytes) -> None:
        taken.append(raw)
        raise ZeroDivisionError("a bug")

    taken: list[bytes] = []
    read.take = broken
    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        with pytest.raises(ZeroDivisionError):
            await connection.read()
        await connection.close()
    assert taken == [b"message 0"], "nothing more is handed on"


@pytest.mark.parametrize("reason", [DisconnectReason.ROTATION, DisconnectReason.STALLED])
async def test_reading_ends_for_the_reason_that_it_is_told_and_nothing_more_is_taken(
    read: Read, reason: DisconnectReason
) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.send_str("before")
        await is_left.wait()
        await socket.send_str("after")
        await until_left(socket)

    is_left = asyncio.Event()
    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        reading = asyncio.create_task(connection.read())
        await read.has_taken.wait()
        connection.end(reason)
        connection.end(DisconnectReason.SHUTDOWN)
        assert await reading is reason, "the first one counts"
        is_left.set()
        await asyncio.sleep(0.05)  # what comes now would be taken
        await connection.close()
    assert read.taken == [b"before"]


async def test_server_is_told_that_the_client_goes_away(read: Read) -> None:
    async with Exchange(ExchangeSettings(rate=0.0)) as exchange:
        connection = await read.open(f"{exchange.ws_url}/stream?streams=btcusdt@bookTicker", PATIENT)
        reading = asyncio.create_task(connection.read())
        await exchange.wait_connected("BTCUSDT")
        await asyncio.sleep(0.0)  # so that the reading has begun
        connection.end(DisconnectReason.ROTATION)
        assert await reading is DisconnectReason.ROTATION
        await connection.close()
        await exchange.wait_until(lambda: exchange.stats.close_codes == {1001: 1})


async def test_reading_that_has_not_begun_can_not_be_ended(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.close()

    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        connection.end(DisconnectReason.ROTATION)
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        await connection.close()


async def test_what_came_with_the_handshake_is_taken_first(read: Read) -> None:
    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for number in range(3):
            await socket.send_str(f"early {number}")
        is_sent.set()
        await may_go_on.wait()
        await socket.send_str("late")
        await socket.close()

    is_sent, may_go_on = asyncio.Event(), asyncio.Event()
    async with scripted(script) as url:
        connection = await read.open(url, PATIENT)
        await is_sent.wait()
        await asyncio.sleep(0.05)  # it lies in the socket by now
        may_go_on.set()
        assert await connection.read() is DisconnectReason.SERVER_CLOSE
        await connection.close()
    assert read.taken == [b"early 0", b"early 1", b"early 2", b"late"]


def test_the_two_ways_are_two() -> None:
    assert socket_class(True) is DirectSocket
    assert socket_class(False) is not DirectSocket


# --- requests


async def test_requests_are_sent_first_with_a_pause_between_two(read: Read) -> None:
    pause, came = 0.1, list[tuple[float, Any]]()
    loop = asyncio.get_running_loop()

    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        for _number in range(3):
            request = await socket.receive()
            came.append((loop.time(), request.data))
            await socket.send_str("an answer")
        await socket.close()

    async with scripted(script) as url:
        connection = await read.open(url, replace(PATIENT, request_pause=pause))
        assert await connection.read(iter(["one", "two", "three"])) is DisconnectReason.SERVER_CLOSE
        await connection.close()
    assert [request for _, request in came] == ["one", "two", "three"]
    times = [at for at, _ in came]
    assert times[1] - times[0] >= pause - 0.02
    assert times[2] - times[1] >= pause - 0.02
    assert read.taken == [b"an answer"] * 3, "it is read meanwhile"


async def test_requests_that_are_left_are_not_sent_once_the_connection_has_ended(read: Read) -> None:
    asked: list[str] = []

    def requests() -> Any:
        for number in range(100):
            asked.append(f"request {number}")
            yield asked[-1]

    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await socket.receive()
        await socket.close()

    async with scripted(script) as url:
        connection = await read.open(url, replace(PATIENT, request_pause=30.0))
        began = asyncio.get_running_loop().time()
        assert await connection.read(requests()) is DisconnectReason.SERVER_CLOSE
        assert asyncio.get_running_loop().time() - began < 5.0, "nor is the pause waited for"
        await connection.close()
    assert asked == ["request 0"]


# --- closing


async def test_close_does_not_wait_for_a_peer_that_has_vanished(read: Read) -> None:
    is_over = asyncio.Event()

    async def script(socket: web.WebSocketResponse, _: web.Request) -> None:
        await is_over.wait()  # it reads nothing, and so answers no close frame

    async with scripted(script) as url:
        connection = await read.open(url, replace(HASTY, close=0.1))
        assert await connection.read() is DisconnectReason.TIMEOUT
        began = asyncio.get_running_loop().time()
        await connection.close()
        assert asyncio.get_running_loop().time() - began < 0.1 + IN_TIME
        is_over.set()


class Unheard:
    """A socket whose peer is gone: what is received was on its way, and nothing can be sent."""

    close_code = None

    def __init__(self, *received: WSMsgType) -> None:
        self._received = list(received)
        self.refused = asyncio.Event()

    async def receive(self) -> aiohttp.WSMessage:
        await asyncio.sleep(0.0)
        return aiohttp.WSMessage(self._received.pop(0), b"", None)

    async def send_str(self, text: str) -> None:
        self.refused.set()
        raise ConnectionResetError("Cannot write to closing transport")

    async def pong(self, data: bytes) -> None:
        self.refused.set()
        raise ConnectionResetError("Cannot write to closing transport")


@pytest.mark.parametrize(
    ("received", "requests"),
    [((WSMsgType.PING,), ()), ((WSMsgType.PONG, WSMsgType.CLOSED), ("a request", "another"))],
)
async def test_peer_that_can_not_be_written_to_any_more_is_gone_and_that_is_no_bug(
    received: tuple[WSMsgType, ...], requests: tuple[str, ...]
) -> None:
    unheard = Unheard(*received)
    connection = Connection(cast(Socket, unheard), lambda *_: None, lambda *_: None, PATIENT)
    async with asyncio.timeout(5.0):
        assert await connection.read(requests) is DisconnectReason.RESET
    assert unheard.refused.is_set()


class Stuck:
    """A socket whose buffers are full: it takes no close frame, ever."""

    close_code = None

    def __init__(self) -> None:
        self.codes: list[int] = []

    async def close(self, *, code: int) -> None:
        self.codes.append(code)
        await asyncio.Event().wait()


async def test_close_does_not_wait_for_a_peer_that_takes_not_even_the_close_frame() -> None:
    stuck = Stuck()
    socket = cast(Socket, stuck)
    connection = Connection(socket, lambda *_: None, lambda *_: None, replace(PATIENT, close=0.05))
    async with asyncio.timeout(5.0):
        await connection.close()
    assert stuck.codes == [1001]
