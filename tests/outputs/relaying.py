"""Consumers of a running daemon's relay, for tests to look at and to wait for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from feedd.core.stream_state import StreamState
from feedd.outputs.ws.gate_events import GateEvents
from feedd.outputs.ws.relay import Relay
from feedd.outputs.ws.relay_output import RelayOutput
from tests.exchange.raw import RawClient
from tests.exchange.tap import Tap
from tests.running import Running

TRADES, OTHER_TRADES = "btcusdt@trade", "ethusdt@trade"


class Sent:
    """The frames that the daemon has handed on, by stream."""

    def __init__(self) -> None:
        self.frames: dict[str, list[bytes]] = {}

    def deliver(self, stream_state: StreamState, raw: bytes) -> None:
        self.frames.setdefault(stream_state.wire_name, []).append(raw)

    def payloads(self, name: str) -> list[str]:
        """Return what was inside the envelopes, cut out by hand."""
        beginning = f'{{"stream":"{name}","data":'
        texts = [frame.decode() for frame in self.frames[name]]
        assert all(text.startswith(beginning) and text.endswith("}") for text in texts)
        return [text[len(beginning) : -1] for text in texts]


def relay_of(feedd: Running) -> Relay:
    """Return a daemon's relay."""
    output = feedd.daemon.outputs["relay"]
    assert isinstance(output, RelayOutput)
    return output.relay


def gate_events_of(feedd: Running) -> GateEvents:
    """Return what a daemon tells of its gates."""
    output = feedd.daemon.outputs["gate_events"]
    assert isinstance(output, GateEvents)
    return output


@asynccontextmanager
async def listening(feedd: Running, path: str, **options: Any) -> AsyncIterator[Tap]:
    """Connect to the relay, and read until the block ends."""
    async with feedd.http.ws_connect(feedd.url + path, max_msg_size=0, **options) as socket:
        yield (tap := Tap(socket))
        await socket.close()
        await tap.until_over()


@asynccontextmanager
async def dialled(feedd: Running) -> AsyncIterator[RawClient]:
    """Open a TCP connection to the daemon that buffers little, and abort it at the end."""
    host, _, port = feedd.url.removeprefix("http://").partition(":")
    dialling = socket.socket()
    dialling.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    dialling.setblocking(False)
    await asyncio.get_running_loop().sock_connect(dialling, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=dialling, limit=4096)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def raw_listener(feedd: Running, path: str) -> AsyncIterator[RawClient]:
    """Connect to the relay with a client by hand, which reads only what a test asks it to."""
    async with dialled(feedd) as client:
        await client.shake_hands(path)
        yield client


def is_run_of(received: list[str], sent: list[str]) -> bool:
    """Say whether what was received is a run of what was sent: nothing missing, doubled or out of order."""
    first = sent.index(received[0])
    return received == sent[first : first + len(received)]
