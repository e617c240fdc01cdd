"""The least that a relay can do: it writes one prebuilt frame to every client, so many times a second."""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import re
from typing import cast

import uvloop

from feedd.outputs.ws.frame_writer import text_frame

_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FRAME = text_frame(
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1795382048249,"s":"BTCUSDT","t":304522885,'
    b'"p":"1795382048.123456","q":"0.01250000","T":1795382048249,"m":true,"M":true}}'
)


class Client(asyncio.Protocol):
    """One client."""

    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transports.remove(self._transport)

    def data_received(self, data: bytes) -> None:
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", data)
        if key is not None:
            digest = base64.b64encode(hashlib.sha1(key[1] + _ACCEPT_SUFFIX).digest())
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
            )
            self._transports.append(self._transport)


async def _serve(rate: float) -> None:
    transports: list[asyncio.Transport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(transports), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    due = loop.time()
    while True:
        due += 1.0 / rate
        await asyncio.sleep(due - loop.time())
        for transport in transports:
            transport.write(_FRAME)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rate", type=float)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(arguments.rate))


if __name__ == "__main__":
    main()
