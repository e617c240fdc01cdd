"""A daemon on the metronome, in a process of its own. Told to stop, it prints when it had each trade.

A line per trade: its id, when it was sent, when its frame was read and when it had been handed on; each in
seconds since the epoch.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time

import orjson
import uvloop

from feedd import logs
from feedd.config.resolve import resolve
from feedd.core.stream_state import StreamState
from feedd.daemon import Daemon
from feedd.model import LogFormat, LogLevel


async def _run(port: int, settings: dict[str, str]) -> None:
    taken: list[tuple[float, float, bytes]] = []

    def deliver(stream_state: StreamState, raw: bytes) -> None:
        now = time.time()
        assert stream_state.last_at is not None
        taken.append((now - (time.monotonic() - stream_state.last_at), now, raw))

    arguments = {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": "BTCUSDT",
        "FEEDD_STREAMS": "trade",
        "FEEDD_WS_URL": f"ws://127.0.0.1:{port}",
        "FEEDD_REST_URL": f"http://127.0.0.1:{port}",
        "FEEDD_LISTEN": "127.0.0.1:0",
        "FEEDD_STALE_AFTER_SECONDS": "60",
    }
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    daemon = Daemon(resolve(None, {}, arguments | settings).settings, deliver)
    running = asyncio.create_task(daemon.run(stop))
    print((await daemon.listening()).port, flush=True)
    await running
    for read_at, handed_on_at, raw in taken:
        trade = orjson.loads(raw)["data"]
        sys.stdout.write(f"{trade['t']} {trade['p']} {read_at:.6f} {handed_on_at:.6f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("settings", nargs="*", help="KEY=value")
    arguments = parser.parse_args()
    logs.set_up(LogLevel.WARNING, LogFormat.TEXT)
    settings = dict(setting.split("=", 1) for setting in arguments.settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(arguments.port, settings))


if __name__ == "__main__":
    main()
