"""Starts the server and the clients, each in a process of its own, and keeps them off each other's core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.certificate import make_certificate
from tests.benchmarks.clients.order import Order

PROJECT = Path(__file__).parents[2]
RUN_SECONDS = 60.0
"""How long one run of one client may take."""

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]


class RunFailed(Exception):
    """A client did not get to the end; its last words are the text."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    tls_port: int
    certificate: Path

    def order(self, connections: int, messages: int, *, secure: bool = False, **more: Any) -> Order:
        """Write an order for a client of this server."""
        return Order(self.port, connections, messages, tls_port=self.tls_port if secure else None, **more)


@contextmanager
def serving() -> Iterator[Server]:
    """Run the server."""
    with TemporaryDirectory() as folder:
        certificate = make_certificate(Path(folder))
        command = [sys.executable, "-m", "tests.benchmarks.server", "--certificate", str(certificate)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
            os.sched_setaffinity(process.pid, {SERVER_CORE})
            assert process.stdout is not None
            try:
                port, tls_port = json.loads(process.stdout.readline())
                yield Server(port, tls_port, certificate)
            finally:
                process.terminate()


@contextmanager
def awake() -> Iterator[None]:
    """Keep the clients' core from falling asleep between messages.

    A virtual core that has nothing to do is taken away, and comes back with cold caches: a message then costs
    every client some 5 us more, and the longer its code the more.
    """
    command = [sys.executable, "-m", "tests.benchmarks.spinner"]
    with subprocess.Popen(command, cwd=PROJECT) as process:
        os.sched_setaffinity(process.pid, {CLIENT_CORE})
        try:
            yield
        finally:
            process.kill()


def run_client(
    module: str, order: Order, server: Server, python: str = sys.executable, arguments: Sequence[str] = ()
) -> dict[str, Any]:
    """Run one client to its end; returns what it prints. Raises RunFailed."""
    command = [python, "-m", f"tests.benchmarks.clients.{module}", order.text(), *arguments]
    environ = os.environ | {"SSL_CERT_FILE": str(server.certificate)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT, env=environ
    ) as process:
        os.sched_setaffinity(process.pid, {CLIENT_CORE})
        try:
            output, errors = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise RunFailed(f"{module}: not done after {RUN_SECONDS:.0f} s") from None
    if process.returncode:
        raise RunFailed(f"{module}: exit code {process.returncode}: {errors.strip().splitlines()[-1:]}")
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer
