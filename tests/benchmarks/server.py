"""What the clients are measured on: a server in a process of its own that costs them nothing.

It sends trades to whoever has asked for them, and knows just enough of HTTP and Binance for that. Streams are
`<symbol>@trade` and `<symbol>@aggTrade`; others may be asked for and stay silent.

    GET /stream?streams=a/b, /ws/a/b   WebSocket; SUBSCRIBE is understood
    GET /expect?streams=N              waits for N streams, then sends one message on each of them
    GET /flood?messages=N              N more on each stream, as fast as they are read
    GET /pace?messages=N&rate=R&burst=B  N more in all, R a second, B of them back to back
    GET /api/v3/time, /api/v3/exchangeInfo

A message's price says when it was sent (`clients/stamp.py`). Both ends are on one host, so that its
monotonic clock is right to less than a microsecond, where the event time has only milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import ctypes
import hashlib
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from tests.benchmarks.clients.stamp import PRICE_BASE

SYMBOLS = 1000
FRAMES_IN_A_WRITE = 64
FIRST_ID = 10**9
"""All ids have as many digits, so that a stream's messages are all of one size."""
LONGEST_SLEEP = 0.0002
"""A core that sleeps for longer wakes up late."""
FORGIVEN_SECONDS = 0.005
"""What a pause of the host has put off for longer than this is not made up for."""
SERVED_EVERY = 0.01
"""How often a paced run looks at what else there is to do."""
CONNECT_SECONDS = 60.0

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA
_PR_SET_TIMERSLACK = 29

_PAYLOADS = {
    "trade": ('{"e":"trade","E":%%d,"s":"%s","t":%%d,"p":"%%b","q":"0.01250000","T":%%d,"m":true,"M":true}'),
    "aggTrade": (
        '{"e":"aggTrade","E":%%d,"s":"%s","a":%%d,"p":"%%b","q":"0.01250000","f":1000000000,"l":1000000000,'
        '"T":%%d,"m":true,"M":true}'
    ),
}


def symbol_names(count: int) -> list[str]:
    """Return that many symbols, as Binance writes them."""
    return [f"S{number}USDT" for number in range(count)]


class Stream:
    """One stream of one connection: prebuilt but for time and id."""

    def __init__(self, transport: asyncio.Transport, name: str, combined: bool) -> None:
        self.transport = transport
        symbol, _, kind = name.partition("@")
        payload = _PAYLOADS[kind] % symbol.upper()
        text = f'{{"stream":"{name}","data":{payload}}}' if combined else payload
        sample = text.encode() % (10**12, FIRST_ID, _stamp(), 10**12)
        self._frame = _head(_TEXT, len(sample)) + text.encode()
        self._many = self._frame * FRAMES_IN_A_WRITE
        self._next_id = FIRST_ID

    def send_one(self) -> None:
        now = int(time.time() * 1000)
        self.transport.write(self._frame % (now, self._next_id, _stamp(), now))
        self._next_id += 1

    def send_many(self, count: int) -> None:
        """Send up to FRAMES_IN_A_WRITE messages at once."""
        now, stamp, first = int(time.time() * 1000), _stamp(), self._next_id
        values = [value for number in range(first, first + count) for value in (now, number, stamp, now)]
        frames = self._many if count == FRAMES_IN_A_WRITE else self._frame * count
        self.transport.write(frames % tuple(values))
        self._next_id += count


class Hub:
    """Everyone who listens, and what they are sent."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self._pacing: asyncio.Task[None] | None = None

    async def expect(self, count: int) -> None:
        """Wait until exactly so many streams are listened to; those of the last client may still be there."""
        async with asyncio.timeout(CONNECT_SECONDS):
            while len(self.streams) != count:
                await asyncio.sleep(0.01)
        for stream in self.streams:
            stream.send_one()

    def pace(self, messages: int, rate: float, burst: int) -> None:
        """Send messages evenly, or in bursts, to one stream after the other, until one of them is left."""
        self._pacing = asyncio.ensure_future(self._pace(messages, rate, burst))

    async def _pace(self, messages: int, rate: float, burst: int) -> None:
        sleep_exactly()
        count, streams = len(self.streams), cycle(self.streams)
        period = burst / rate
        due = served_at = time.monotonic()
        for _ in range(messages // burst):
            now = sleep_until(due)
            for _ in range(burst):
                next(streams).send_one()
            due = max(due, now - FORGIVEN_SECONDS) + period
            if now - served_at > SERVED_EVERY:
                await asyncio.sleep(0)
                served_at = now
                if len(self.streams) != count:
                    return


def sleep_until(due: float) -> float:
    """Sleep until monotonic `due`; returns the time then. It may be called late.

    Blocks the event loop on purpose: its own timers know no less than a millisecond.
    """
    now = time.monotonic()
    while now < due:
        time.sleep(min(due - now, LONGEST_SLEEP))
        now = time.monotonic()
    return now


def sleep_exactly() -> None:
    """Have the kernel wake this thread when it asks to be woken, not up to 50 us later."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


class Connection(asyncio.Protocol):
    """One client: HTTP, until it asks for a WebSocket."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._buffer = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_upgraded = False
        self._combined = False
        self._streams: dict[str, Stream] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        tcp: socket.socket = transport.get_extra_info("socket")
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, error: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()
        mine = set(self._streams.values())
        self._hub.streams = [stream for stream in self._hub.streams if stream not in mine]

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._is_upgraded:
            self._read_frames()
        while not self._is_upgraded and b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            self._answer(head)

    # --- HTTP

    def _answer(self, head: bytes) -> None:
        target = urlsplit(head.split(b" ", 2)[1].decode())
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        if key is not None:
            self._upgrade(key[1])
            names = parse_qs(target.query).get("streams", [unquote(target.path).removeprefix("/ws/")])
            self._combined = target.path.startswith("/stream")
            self._subscribe(names[0].split("/"))
            return
        query = {name: float(value) for name, value in parse_qsl(target.query) if name in _NUMBERS}
        answers: dict[str, Callable[[], Any]] = {
            "/expect": lambda: self._hub.expect(int(query["streams"])),
            "/flood": lambda: self._flood(int(query["messages"])),
            "/pace": lambda: self._pace(**query),
            "/api/v3/time": lambda: self._reply(_time(head)),
            "/api/v3/exchangeInfo": lambda: self._reply(_exchange_info()),
        }
        self._do(self._carry_out(answers[target.path]))

    async def _carry_out(self, answer: Callable[[], Any]) -> None:
        outcome = answer()
        if outcome is not None:
            await outcome
            self._reply({})

    def _flood(self, messages: int) -> None:
        for stream in self._hub.streams:
            owner = cast(Connection, stream.transport.get_protocol())
            owner._do(owner._send(stream, messages))
        self._reply({})

    def _pace(self, messages: float, rate: float, burst: float) -> None:
        self._reply({})
        self._hub.pace(int(messages), rate, int(burst))

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _reply(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )

    # --- WebSocket

    def _upgrade(self, key: bytes) -> None:
        digest = base64.b64encode(hashlib.sha1(key + _ACCEPT_SUFFIX).digest())
        self._is_upgraded = True
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
        )

    def _subscribe(self, names: list[str]) -> None:
        for name in names:
            if name.partition("@")[2] in _PAYLOADS and name not in self._streams:
                self._streams[name] = Stream(self.transport, name, self._combined)
                self._hub.streams.append(self._streams[name])

    def _read_frames(self) -> None:
        while (frame := _unframed(self._buffer)) is not None:
            kind, payload, self._buffer = frame
            if kind == _CLOSE:
                self.transport.write(_head(_CLOSE, len(payload)) + payload)
                self.transport.close()
            elif kind == _PING:
                self.transport.write(_head(_PONG, len(payload)) + payload)
            elif kind == _TEXT:
                self._hear(json.loads(payload))

    def _hear(self, request: dict[str, Any]) -> None:
        reply = json.dumps({"result": None, "id": request["id"]}).encode()
        self.transport.write(_head(_TEXT, len(reply)) + reply)
        if request["method"] == "SUBSCRIBE":
            self._subscribe(request["params"])

    async def _send(self, stream: Stream, messages: int) -> None:
        while messages > 0:
            await self._can_write.wait()
            stream.send_many(min(messages, FRAMES_IN_A_WRITE))
            messages -= FRAMES_IN_A_WRITE
            await asyncio.sleep(0)


_NUMBERS = ("streams", "messages", "rate", "burst")


def _stamp() -> bytes:
    return b"%.8f" % (PRICE_BASE + time.monotonic())


def _head(kind: int, size: int) -> bytes:
    first = 0x80 | kind
    return bytes([first, size]) if size < 126 else struct.pack("!BBH", first, 126, size)


def _unframed(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Take a client's first frame off: its kind, its payload and what follows. None if it isn't whole."""
    if len(data) < 6:
        return None
    size, start = data[1] & 0x7F, 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    end = start + 4 + size
    if len(data) < end:
        return None
    mask, masked = data[start : start + 4], data[start + 4 : end]
    payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
    return data[0] & 0x0F, payload, data[end:]


def _time(head: bytes) -> dict[str, int]:
    is_fine = re.search(rb"(?i)x-mbx-time-unit: *microsecond", head)
    return {"serverTime": int(time.time() * (1_000_000 if is_fine else 1000))}


def _exchange_info() -> dict[str, Any]:
    symbols = [_symbol(name) for name in symbol_names(SYMBOLS)]
    return {"timezone": "UTC", "serverTime": int(time.time() * 1000), "rateLimits": [], "symbols": symbols}


def _symbol(name: str) -> dict[str, Any]:
    return {
        "symbol": name,
        "status": "TRADING",
        "baseAsset": name.removesuffix("USDT"),
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "10000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        ],
    }


async def _serve(certificate: str | None) -> None:
    hub, loop = Hub(), asyncio.get_running_loop()
    servers = [await loop.create_server(lambda: Connection(hub), "127.0.0.1", 0, backlog=4096)]
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
        servers.append(
            await loop.create_server(lambda: Connection(hub), "127.0.0.1", 0, backlog=4096, ssl=tls)
        )
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", help="a PEM file with certificate and key: serve TLS as well")
    # Not uvloop: a write must leave at once, and asyncio's transports send it before they return.
    asyncio.run(_serve(parser.parse_args().certificate))


if __name__ == "__main__":
    main()
