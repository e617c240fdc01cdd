"""What a client is told to do, how it does it, and how it says what that has cost."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

POLL_SECONDS = 0.05
"""How often a client looks whether all has come: an event per message would be measured too."""
SETTLE_SECONDS = 0.2
"""They all come at once: a relay has a thousand frames to write then."""
IDLE_SECONDS = 1.0
"""How long a client that is sent nothing is left alone before its memory is looked at."""


@dataclass(frozen=True)
class Order:
    """One run of one client."""

    port: int
    """The server's, on 127.0.0.1."""
    connections: int
    """With one symbol each."""
    messages: int
    """In all."""
    tls_port: int | None = None
    """Set if the connections are to be TLS."""
    rate: float | None = None
    """Messages a second; None is a flood."""
    burst: int = 1
    """How many come back to back."""
    consumers: int = 0
    """How many listen to a relay."""
    consumers_core: int = 0
    """Where they run."""

    @property
    def symbols(self) -> list[str]:
        return [f"S{number}USDT" for number in range(self.connections)]

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}" if self.tls_port is None else f"wss://127.0.0.1:{self.tls_port}"

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def text(self) -> str:
        """Return what `read_order` reads."""
        return json.dumps(asdict(self))

    def expect(self) -> None:
        """Have the server wait for every stream, and send one message on each."""
        self._ask(f"/expect?streams={self.connections}")

    def begin(self) -> None:
        """Have the server send the messages."""
        if self.rate is None:
            self._ask(f"/flood?messages={self.messages // self.connections}")
        else:
            self._ask(f"/pace?messages={self.messages}&rate={self.rate}&burst={self.burst}")

    def _ask(self, path: str) -> None:
        with urllib.request.urlopen(self.rest_url + path, timeout=90.0) as response:
            response.read()


def read_order() -> Order:
    """Read the command line."""
    return Order(**json.loads(sys.argv[1]))


@dataclass
class Cost:
    """What a run has cost. A client without a moment of its own for each message leaves the delays out."""

    messages: int
    cpu_us: float
    """CPU per message."""
    seconds: float
    resident_bytes: int
    p50_us: float | None = None
    """From the server's sending to the client's handing on."""
    p99_us: float | None = None
    max_us: float | None = None


def cpu_seconds() -> float:
    """Return the CPU time that this process has taken."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_bytes() -> int:
    """Return the memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def until(received: Callable[[], int], count: int) -> None:
    """Wait until so many messages have come."""
    while received() < count:
        await asyncio.sleep(POLL_SECONDS)


async def warm_up(order: Order, received: Callable[[], int]) -> None:
    """Wait until every connection has brought its first message, and nothing is left to do for them."""
    await asyncio.to_thread(order.expect)
    await until(received, order.connections)
    await asyncio.sleep(SETTLE_SECONDS)


async def run(order: Order, received: Callable[[], int]) -> Cost:
    """Have all messages sent, and wait until they have come; `received` says how many have."""
    await warm_up(order, received)
    if not order.messages:
        await asyncio.sleep(IDLE_SECONDS)
        return Cost(0, 0.0, IDLE_SECONDS, resident_bytes())
    before, began = cpu_seconds(), time.monotonic()
    await asyncio.to_thread(order.begin)
    await until(received, order.connections + order.messages)
    spent, seconds = cpu_seconds() - before, time.monotonic() - began
    return Cost(order.messages, spent * 1e6 / order.messages, seconds, resident_bytes())


def note_delays(cost: Cost, delays: Sequence[float]) -> None:
    """Add the quantiles of the seconds that messages have taken."""
    ordered = sorted(delays)
    cost.p50_us = ordered[len(ordered) // 2] * 1e6
    cost.p99_us = ordered[len(ordered) * 99 // 100] * 1e6
    cost.max_us = ordered[-1] * 1e6


def tell(cost: object) -> None:
    """Print a run's cost, a dataclass, for whoever ordered it."""
    print(json.dumps(asdict(cost)), flush=True)  # type: ignore[call-overload]  # a dataclass is no type


def tell_and_leave(cost: Cost) -> NoReturn:
    """Print a run's cost and end the process: to close a hundred connections takes some clients a minute."""
    tell(cost)
    os._exit(0)
