"""An exchange with one symbol, whose trades are priced by the moment at which they are sent.

It runs in a process of its own, so that what is measured does not disturb it. `GET /beat?rate=N&seconds=S`
sends N trades a second for that long, at random intervals; `GET /burst?trades=N` sends so many as fast as
the client reads.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time

import uvloop
from aiohttp import WSMsgType, web

SYMBOL = "BTCUSDT"
BURST = 64
_FRAME = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"%.6f",'
    '"q":"0.01250000","T":%d,"m":true,"M":true}}'
)


class Metronome:
    """The one client, and the next trade's id."""

    def __init__(self) -> None:
        self._sockets: set[web.WebSocketResponse] = set()
        self._next_id = 1

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        async for message in socket:
            assert message.type is not WSMsgType.TEXT
        self._sockets.discard(socket)
        return socket

    async def beat(self, request: web.Request) -> web.Response:
        rate, seconds = float(request.query["rate"]), float(request.query["seconds"])
        loop = asyncio.get_running_loop()
        due = loop.time()
        for _ in range(int(rate * seconds)):
            due += random.expovariate(rate)
            await asyncio.sleep(due - loop.time())
            await self._send()
        return web.json_response({"next": self._next_id})

    async def burst(self, request: web.Request) -> web.Response:
        for number in range(int(request.query["trades"])):
            await self._send()
            if number % BURST == 0:
                await asyncio.sleep(0)
        return web.json_response({"next": self._next_id})

    async def time(self, _: web.Request) -> web.Response:
        return web.json_response({"serverTime": int(time.time() * 1000)})

    async def info(self, _: web.Request) -> web.Response:
        return web.json_response({"symbols": [{"symbol": SYMBOL, "status": "TRADING"}]})

    async def _send(self) -> None:
        now = time.time()
        text = _FRAME % (now * 1000, self._next_id, now, now * 1000)
        self._next_id += 1
        for socket in self._sockets:
            await socket.send_str(text)


async def _serve() -> None:
    metronome = Metronome()
    application = web.Application()
    application.add_routes(
        [
            web.get("/stream", metronome.stream),
            web.get("/beat", metronome.beat),
            web.get("/burst", metronome.burst),
            web.get("/api/v3/time", metronome.time),
            web.get("/api/v3/exchangeInfo", metronome.info),
        ]
    )
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
