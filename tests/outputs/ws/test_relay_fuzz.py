"""Whatever anybody sends to the relay: no fault, no traceback, no growth, and nothing changes."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import orjson
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedd.exchange import Exchange, ExchangeSettings
from feedd.outputs.ws.consumer import Consumer
from feedd.venues.binance.common.stream_protocol import Method
from tests.running import SYMBOLS, Running, running, settings_for

FUZZ = settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"Host: feedd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\n"
)
LAST_WORD = b"was that all?"
HANDSHAKE = b"GET /stream?streams=btcusdt@trade HTTP/1.1\r\n" + UPGRADE + b"\r\n"


class Target:
    """A daemon in a thread of its own, attacked over plain sockets."""

    def __init__(self) -> None:
        self._address: Future[tuple[str, int]] = Future()
        self._stop: Callable[[], Any] = lambda: None
        self._thread = threading.Thread(target=self._run)
        self.feedd: Running

    def __enter__(self) -> Target:
        self._thread.start()
        self.address = self._address.result(timeout=20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        # A warning of a slow callback holds the callback, and pytest holds the warning: what it belongs to
        # would seem to have been left behind.
        loop.slow_callback_duration = math.inf
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        async with (
            Exchange(ExchangeSettings(symbols=SYMBOLS, rate=20.0)) as exchange,
            # The machine may be busy: that a gate closes for it would be a change that nobody made.
            running(
                settings_for(exchange, FEEDD_STALE_AFTER_SECONDS="30", FEEDD_LATENCY_LIMIT_SECONDS="30")
            ) as feedd,
        ):
            await feedd.until_open()
            self.feedd = feedd
            host, _, port = feedd.url.removeprefix("http://").partition(":")
            self._address.set_result((host, int(port)))
            await stop.wait()

    @property
    def state(self) -> object:
        """What nobody who asks may change."""
        state = self.feedd.daemon.state
        gates = {symbol: symbol_state.gate.reasons for symbol, symbol_state in state.symbols.items()}
        return state.settings, state.source, state.kill_switch, gates, {**state.symbols}

    def send(self, data: bytes, patience: float = 0.05) -> bytes:
        """Open a connection, send, and return all that comes back until it is closed."""
        with socket.create_connection(self.address, timeout=10) as client:
            received = b""
            with suppress(OSError):  # it may have been closed already
                client.sendall(data)
                received = _read_first(client, patience)
                client.shutdown(socket.SHUT_WR)
            return received + _read_all(client)

    def slam(self, data: bytes) -> None:
        """Open a connection, send, and close it at once."""
        with socket.create_connection(self.address, timeout=10) as client, suppress(OSError):
            client.sendall(data)

    def say(self, *frames: bytes) -> list[tuple[int, bytes]]:
        """Connect as a consumer, send, and return the frames that come back until either side has closed."""
        with socket.create_connection(self.address, timeout=10) as client:
            client.sendall(HANDSHAKE)
            received = client.recv(65536)
            with suppress(OSError):
                for frame in frames:
                    client.sendall(frame)
                received += _read_until_answered(client)
                client.shutdown(socket.SHUT_WR)
                received += _read_all(client)
        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        return list(_frames(rest))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the daemon, which tells nobody, makes a condition true."""
        waiting = threading.Event()
        for _ in range(50):
            if condition():
                return
            waiting.wait(0.2)
        raise AssertionError("it never came true")


def _read_first(client: socket.socket, patience: float) -> bytes:
    """Read the beginning of an answer, if there is one: what is no whole request draws none."""
    client.settimeout(patience)
    try:
        return client.recv(65536)
    except TimeoutError:
        return b""
    finally:
        client.settimeout(10.0)


def _read_until_answered(client: socket.socket) -> bytes:
    """Read until a ping that stands behind everything else is answered, or the connection is closed."""
    received = b""
    client.sendall(masked(0x89, LAST_WORD))
    client.settimeout(0.05)  # after garbage that looks like the beginning of a frame there is no answer
    with suppress(TimeoutError):
        while LAST_WORD not in received and (piece := client.recv(65536)):
            received += piece
    client.settimeout(10.0)
    return received


def _read_all(client: socket.socket) -> bytes:
    received = bytearray()
    with suppress(ConnectionError):
        while piece := client.recv(65536):
            received += piece
    return bytes(received)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with Target() as running_target:
        yield running_target


@pytest.fixture(autouse=True)
def unharmed(target: Target, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a test sends may leave a trace but a line of feedd's own."""
    before = target.state
    yield
    target.until(lambda: not target.feedd.daemon.consumers.counts.connected)
    assert target.state == before
    healthy = b"GET /-/healthy HTTP/1.1\r\nHost: feedd\r\nConnection: close\r\n\r\n"
    assert target.send(healthy, patience=10.0).startswith(b"HTTP/1.1 200")
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def assert_no_fault(answer: bytes) -> None:
    """An answer is none at all, or one that puts no blame on the daemon."""
    if answer:
        assert answer.startswith(b"HTTP/1."), answer
        assert int(answer.split(b" ")[1]) < 500, answer


PATHS = st.sampled_from([b"/stream", b"/ws", b"/ws/", b"/ws/btcusdt@trade", b"/stream/", b"//ws", b"/ws/%ff"])
VALUES = st.sampled_from([b"close", b"static", b"btcusdt@trade", b"millisecond", b"%00", b"%ff%fe", b"\xff"])
PARAMETERS = st.tuples(
    st.sampled_from([b"streams", b"on_halt", b"allow", b"name", b"timeUnit", b"x", b""]),
    VALUES | st.binary(max_size=30),
).map(b"=".join)
TARGETS = st.builds(
    lambda path, more, parameters: path + more + b"?" + b"&".join(parameters),
    PATHS,
    st.binary(max_size=10),
    st.lists(PARAMETERS, max_size=4),
)
HEADERS = st.tuples(
    st.sampled_from(
        [
            b"Host", b"Upgrade", b"Connection", b"Sec-WebSocket-Version", b"Sec-WebSocket-Key", b"User-Agent",
            b"Sec-WebSocket-Extensions", b"Sec-WebSocket-Protocol", b"Content-Length", b"Transfer-Encoding",
            b"Expect", b"Cookie", b"Origin",
        ]
    ),
    st.sampled_from(
        [
            b"websocket", b"Upgrade", b"13", b"8", b"99", KEY, b"permessage-deflate; client_max_window_bits",
            b"chunked", b"100-continue", b"5", b"-1", b"close",
        ]
    )
    | st.binary(max_size=40),
).map(b": ".join)  # fmt: skip
HEADS = st.builds(
    lambda method, url, base, headers, end: (
        method + b" " + url + b" HTTP/1.1\r\n" + base + b"".join(header + b"\r\n" for header in headers) + end
    ),
    st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"get"]),
    TARGETS,
    st.sampled_from([UPGRADE, b"Host: feedd\r\n", b""]),
    st.lists(HEADERS, max_size=6),
    st.sampled_from([b"\r\n", b"", b"\r\n\x81\x00", b"\n\n"]),
)


@FUZZ
@given(HEADS)
def test_any_handshake_is_answered_without_fault(target: Target, head: bytes) -> None:
    assert_no_fault(target.send(head))


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_are_answered_without_fault(target: Target, data: bytes) -> None:
    assert_no_fault(target.send(data + b"\r\n\r\n"))


def masked(first: int, payload: bytes, mask: bytes = b"\0\0\0\0") -> bytes:
    """Build one frame as a client does."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    covered = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([first]) + length + mask + covered


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "method": st.sampled_from([*Method, "subscribe"]) | JSON,
        "params": st.lists(st.sampled_from(["btcusdt@trade", "combined", "x@y", ""]) | JSON, max_size=4)
        | JSON,
        "id": st.integers(-5, 5) | JSON,
    },
).map(orjson.dumps)
TEXTS = REQUESTS | JSON.map(orjson.dumps) | st.binary(max_size=200) | st.just(b"[" * 50_000)


@FUZZ
@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from([0x81, 0x82]))
def test_any_request_is_answered(target: Target, texts: list[bytes], first: int) -> None:
    frames = target.say(*(masked(first, text) for text in texts))
    answers = [orjson.loads(payload) for opcode, payload in frames if opcode == 1]
    assert sum("id" in each for each in answers) == len(texts), (texts, frames)


@FUZZ
@given(
    st.lists(
        st.builds(masked, st.integers(0, 255), st.binary(max_size=150), st.binary(min_size=4, max_size=4))
        | st.binary(max_size=40),
        max_size=8,
    )
)
def test_any_frames_end_in_peace(target: Target, frames: list[bytes]) -> None:
    for opcode, payload in target.say(*frames):
        assert opcode in (0x1, 0x8, 0x9, 0xA)
        if opcode == 0x8 and payload:
            assert int.from_bytes(payload[:2]) in range(1000, 5000)


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Take a server's frames apart, as far as they are whole."""
    while len(data) >= 2:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        if len(data) < start + size:
            return
        yield data[0] & 0x0F, data[start : start + size]
        data = data[start + size :]


def test_hundreds_of_connections_that_break_off_leave_nothing_behind(target: Target) -> None:
    broken = [HANDSHAKE[:-2], HANDSHAKE, HANDSHAKE + b"\x81", HANDSHAKE + masked(0x81, b"{")]
    before = _consumers()
    for data in broken * 100:
        target.slam(data)
    target.until(lambda: _consumers() <= before)


def _consumers() -> set[int]:
    """Return which consumers there are in this process: those of other tests may not have gone yet."""
    gc.collect()
    return {id(found) for found in gc.get_objects() if isinstance(found, Consumer)}
