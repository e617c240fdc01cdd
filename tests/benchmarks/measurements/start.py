"""How soon feedd is there: from the interpreter's start until systemd is told READY."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import CLIENT_CORE, PROJECT, RunFailed, Server, serving

LIMIT_MS = 400.0
PATIENCE_SECONDS = 30.0

ABOUT = (
    "`feedd run` with one symbol, started as systemd starts it, until READY=1 comes: the interpreter's "
    "start, all imports, the settings, the HTTP side. An interpreter that does nothing stands beside it."
)


def measure(rounds: int) -> Section:
    """Start feedd, and an interpreter."""
    section = Section("start", "Start", ABOUT)
    with serving() as server:
        taken = Rounds(section.name, {"feedd": partial(_start, server), "python": _start_nothing}, rounds)
    section.failures = taken.failures
    start = taken.series("start: import to READY", "feedd", "milliseconds", "ms", digits=0)
    section.series = [start, taken.series("python -c pass", "python", "milliseconds", "ms", digits=0)]
    section.bars = [Bar(start, LIMIT_MS)]
    return section


def _start(server: Server) -> Mapping[str, float]:
    order = server.order(1, 0)
    settings = {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": order.symbols[0],
        "FEEDD_WS_URL": order.ws_url,
        "FEEDD_REST_URL": order.rest_url,
        "FEEDD_LISTEN": "127.0.0.1:0",
    }
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        path = Path(folder) / "notify"
        notified.bind(str(path))
        notified.settimeout(PATIENCE_SECONDS)
        environ = os.environ | settings | {"NOTIFY_SOCKET": str(path)}
        began = time.monotonic()
        with _run([sys.executable, "-m", "feedd", "run"], environ) as process:
            try:
                message = notified.recv(4096)
                milliseconds = (time.monotonic() - began) * 1e3
            except TimeoutError:
                raise RunFailed(f"not ready after {PATIENCE_SECONDS:.0f} s") from None
            finally:
                process.terminate()
    assert b"READY=1" in message.splitlines(), message
    return {"milliseconds": milliseconds}


def _start_nothing() -> Mapping[str, float]:
    began = time.monotonic()
    with _run([sys.executable, "-c", "pass"], os.environ) as process:
        process.wait()
    return {"milliseconds": (time.monotonic() - began) * 1e3}


def _run(command: list[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, cwd=PROJECT, env=environ, stderr=subprocess.DEVNULL)
    os.sched_setaffinity(process.pid, {CLIENT_CORE})
    return process
