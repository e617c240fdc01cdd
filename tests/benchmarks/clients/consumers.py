"""Consumers of a relay: plain sockets that note when the kernel had something for them to read.

A process of its own: started with a port, how many, which path to ask for, and whether the moments are of
interest. It prints a line once all are connected, reads until its standard input ends, and prints a Heard.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from tests.benchmarks.clients.stamp import price_in

READ_BYTES = 1 << 20
REST_SECONDS = 0.001
"""Between two looks where the moments are of no interest: a reader that is woken for each message takes more
of its core than the relay does."""
_TEXT = 0x81
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("ll")
_CONTROL_BYTES = socket.CMSG_SPACE(_TIMESPEC.size)


@dataclass
class Heard:
    """What came."""

    messages: int
    arrivals: list[list[tuple[str, float]]]
    """Of the first and the last consumer: each message's price, and when it could be read (monotonic s)."""


class Consumer:
    """One connection."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        self._data = bytearray()
        while b"\r\n\r\n" not in self._data:
            part = self.socket.recv(4096)
            assert part, self._data
            self._data += part
        del self._data[: self._data.index(b"\r\n\r\n") + 4]
        self._ends: list[tuple[int, float]] = []
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def read(self) -> None:
        """Take what is there, and when its last byte came. What is read with it had come before."""
        try:
            data, control, _, _ = self.socket.recvmsg(READ_BYTES, _CONTROL_BYTES)
        except BlockingIOError:
            return
        self._data += data
        self._ends.append((len(self._data), _arrival(control)))

    def messages(self, to_monotonic: float) -> Iterator[tuple[str, float]]:
        """Return each message's price and arrival."""
        ends = iter(self._ends)
        position, (end, arrival) = 0, next(ends)
        while position + 4 <= len(self._data):
            kind, size, start = self._data[position], self._data[position + 1], position + 2
            if size == 126:
                size, start = int.from_bytes(self._data[start : start + 2], "big"), start + 2
            payload = bytes(self._data[start : start + size])
            position = start + size
            while end < position:
                end, arrival = next(ends)
            if kind != _TEXT:
                continue  # a ping; nobody waits for the answer as long as this runs
            yield price_in(payload), arrival + to_monotonic


def _arrival(control: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds * 1e-9)
    return time.time()  # later than it was: this kernel doesn't tell


@contextmanager
def listening(port: int, count: int, path: str, core: int, *, exact: bool) -> Iterator[list[Heard]]:
    """Have consumers listen while the block runs; what they have heard is in the list afterwards."""
    command = [sys.executable, "-m", __name__, str(port), str(count), path, *(["--exact"] if exact else [])]
    heard: list[Heard] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {core})
        assert process.stdout is not None
        process.stdout.readline()
        yield heard
        output, _ = process.communicate()
        heard.append(Heard(**json.loads(output)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("path")
    parser.add_argument("--exact", action="store_true")
    arguments = parser.parse_args()
    consumers = [Consumer(arguments.port, arguments.path) for _ in range(arguments.count)]
    print("ready", flush=True)
    _read(consumers, arguments.exact)
    to_monotonic = time.monotonic() - time.time()
    arrivals = [list(consumer.messages(to_monotonic)) for consumer in consumers]
    tell = Heard(sum(map(len, arrivals)), [arrivals[0], arrivals[-1]] if arguments.exact else [])
    print(json.dumps(asdict(tell)))


def _read(consumers: list[Consumer], exact: bool) -> None:
    """Read until standard input ends.

    Where moments are of interest, the first and the last that are written to are read as soon as they can be.
    Reading all of them so would take more of the core than there is, hold the market up, and read late.
    """
    timed = [consumers[0], consumers[-1]] if exact else []
    by_descriptor = {consumer.socket.fileno(): consumer for consumer in timed}
    poll = select.epoll()
    for descriptor in (sys.stdin.fileno(), *by_descriptor):
        poll.register(descriptor, select.EPOLLIN)
    others = [consumer for consumer in consumers if consumer not in timed]
    rested_at = time.monotonic()
    while True:
        for descriptor, _ in poll.poll(REST_SECONDS):
            if descriptor == sys.stdin.fileno():
                return
            by_descriptor[descriptor].read()
        if time.monotonic() - rested_at >= REST_SECONDS:
            rested_at = time.monotonic()
            for consumer in others:
                consumer.read()


if __name__ == "__main__":
    main()
