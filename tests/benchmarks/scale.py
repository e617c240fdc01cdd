"""`make scale`: a thousand symbols in one process. Start, idle cost, a cut of all connections, and recovery.

The embedded exchange runs here and feedd in a process of its own. The connect budget and the exchange's limit
are scaled with the symbols: the real ones are enough for 90 symbols to start and to be cut within five
minutes. Nobody trades, so that only the heartbeats (`kline_1s`, a message a second and symbol) and the
exchange's pings flow.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from feedd.config.settings import Settings
from feedd.exchange import Exchange, ExchangeSettings

SYMBOLS_PER_BUDGET: Final = 90
"""A quarter of the budget is a reserve, given out slowly; the rest is two attempts for each of so many."""
IDLE_SECONDS: Final = 20.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def scaled(limit: int, symbols: int) -> int:
    """Return what a limit of the real exchange becomes for so many symbols."""
    return max(limit, limit * symbols // SYMBOLS_PER_BUDGET)


class Gates:
    """Every gate of a daemon, as its event stream tells of it."""

    def __init__(self) -> None:
        self.halted: set[str] = set()
        self.outages: dict[str, list[float]] = {}
        """Per symbol, when its gate closed and opened, in turn."""
        self._news = asyncio.Event()

    async def listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Follow until the socket ends."""
        async for message in socket:
            self._take(orjson.loads(message.data), time.monotonic())
            self._news.set()

    def _take(self, event: dict[str, Any], now: float) -> None:
        states = event.get("symbols", {})
        if event["type"] == "gate":
            states = {event["symbol"]: event}
        for symbol, gate in states.items():
            changes = self.outages.setdefault(symbol, [])
            if gate["halted"] != (symbol in self.halted):
                changes.append(now)
                self.halted ^= {symbol}

    async def wait_until(self, condition: Callable[[], bool], timeout: float) -> float:
        """Wait until an event makes a condition true; returns when (monotonic)."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                await self._news.wait()
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Process:
    """A running daemon, seen from outside."""

    pid: int
    gates: Gates

    def cpu_seconds(self) -> float:
        """Return the CPU time it has taken."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS

    def resident_bytes(self) -> int:
        """Return the memory it holds now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def exchange_for(symbols: int) -> AsyncIterator[Exchange]:
    """Run an exchange on which nobody trades, with its connect limit scaled."""
    settings = ExchangeSettings(
        symbols=tuple(f"S{number}USDT" for number in range(symbols)),
        rate=0.0,
        connects_max=scaled(ExchangeSettings().connects_max, symbols),
    )
    async with Exchange(settings) as exchange:
        yield exchange


@asynccontextmanager
async def feedd_on(exchange: Exchange, symbols: int, **more: str) -> AsyncIterator[Process]:
    """Run feedd with the first so many of an exchange's symbols, and follow its gates."""
    arguments = {
        "FLAG_REALTIME": "1",
        "FEEDD_SYMBOLS": ",".join(exchange.symbols[:symbols]),
        "FEEDD_WS_URL": exchange.ws_url,
        "FEEDD_REST_URL": exchange.rest_url,
        "FEEDD_LISTEN": "127.0.0.1:0",
        "FEEDD_LOG_LEVEL": "error",
    }
    budget = scaled(Settings().connect_budget, len(exchange.symbols))
    command = ["-m", "tests.benchmarks.client_scaled", str(budget)]
    command += [f"{key}={value}" for key, value in (arguments | more).items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None and process.stdin is not None
    gates = Gates()
    try:
        address = (await process.stdout.readline()).decode().strip()
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"http://{address}/gate/events") as socket,
        ):
            listening = asyncio.create_task(gates.listen(socket))
            try:
                yield Process(process.pid, gates)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
    finally:
        process.stdin.close()
        if await process.wait():
            raise RuntimeError(f"feedd ended with {process.returncode}")


@dataclass(slots=True)
class Figures:
    """What was measured. Durations are seconds, memory is bytes."""

    symbols: int
    budget: int
    start: float = 0.0
    start_attempts: int = 0
    memory: int = 0
    idle_cpu: float = 0.0
    """CPU seconds in a second."""
    idle_messages: float = 0.0
    """Messages a second."""
    halted_within: float = 0.0
    outages: list[float] = field(default_factory=list)
    """Per symbol, from its gate's closing to its opening."""
    recovery: float = 0.0
    attempts: int = 0
    refusals: int = 0
    memory_after: int = 0


async def measure(symbols: int, of: int, idle_seconds: float, timeout: float, **more: str) -> Figures:
    """Start feedd with `symbols` of an exchange's `of`, let it idle, cut its connections, see it recover."""
    figures = Figures(symbols, scaled(Settings().connect_budget, of))
    async with exchange_for(of) as exchange:
        began = time.monotonic()
        async with feedd_on(exchange, symbols, **more) as feedd:
            gates = feedd.gates
            names = exchange.symbols[:symbols]
            opened_at = await gates.wait_until(lambda: bool(gates.outages) and not gates.halted, timeout)
            figures.start = opened_at - began
            figures.start_attempts = exchange.stats.attempts
            await _idle(exchange, feedd, figures, idle_seconds)
            before = {name: len(gates.outages[name]) for name in names}
            cut_at = time.monotonic()
            exchange.set_fault("reset")
            closed_at = await gates.wait_until(lambda: len(gates.halted) == symbols, timeout)
            figures.halted_within = closed_at - cut_at
            figures.recovery = await gates.wait_until(lambda: not gates.halted, timeout) - cut_at
            for name in names:
                closed, opened = gates.outages[name][before[name] :]
                figures.outages.append(opened - closed)
            figures.attempts = exchange.stats.attempts - figures.start_attempts
            figures.refusals = sum(exchange.stats.refusals.values())
            figures.memory_after = feedd.resident_bytes()
    return figures


async def _idle(exchange: Exchange, feedd: Process, figures: Figures, seconds: float) -> None:
    messages, cpu, began = exchange.stats.messages, feedd.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    lasted = time.monotonic() - began
    figures.memory = feedd.resident_bytes()
    figures.idle_cpu = (feedd.cpu_seconds() - cpu) / lasted if lasted else 0.0
    figures.idle_messages = (exchange.stats.messages - messages) / lasted if lasted else 0.0


def table(one: Figures, many: Figures) -> str:
    """Render what a thousand symbols take, beside a single one, and what that makes for each."""
    more = many.symbols - one.symbols
    kilobytes = (many.memory - one.memory) / more / 1000
    cpu = (many.idle_cpu - one.idle_cpu) / more * 1e6
    rows = [
        ("", f"{one.symbols}", f"{many.symbols}"),
        ("start until every gate is open", f"{one.start:.1f} s", f"{many.start:.1f} s"),
        ("attempts to connect", f"{one.start_attempts}", f"{many.start_attempts}"),
        ("resident memory", f"{one.memory / 1e6:.1f} MB", f"{many.memory / 1e6:.1f} MB"),
        ("idle CPU, of a core", f"{one.idle_cpu:.2%}", f"{many.idle_cpu:.2%}"),
        ("messages a second meanwhile", f"{one.idle_messages:.0f}", f"{many.idle_messages:.0f}"),
        ("cut: every gate is closed after", f"{one.halted_within:.3f} s", f"{many.halted_within:.3f} s"),
        ("cut: every gate is open after", f"{one.recovery:.1f} s", f"{many.recovery:.1f} s"),
        ("outage of a symbol, median", *(f"{statistics.median(each.outages):.1f} s" for each in (one, many))),
        ("outage of a symbol, longest", *(f"{max(each.outages):.1f} s" for each in (one, many))),
        ("attempts after the cut", f"{one.attempts}", f"{many.attempts}"),
        ("refused by the exchange", f"{one.refusals}", f"{many.refusals}"),
        ("resident memory after it", f"{one.memory_after / 1e6:.1f} MB", f"{many.memory_after / 1e6:.1f} MB"),
    ]
    lines = [f"{name:<34}{first:>12}{second:>12}" for name, first, second in rows]
    cost = f"{kilobytes:.0f} kB of memory and {cpu:.0f} us of CPU a second, with a message a second"
    return "\n".join([*lines, "", f"a symbol costs {cost}"])


async def _main(symbols: int) -> str:
    # The same exchange for both, so that a single symbol is served by as busy a machine.
    one = await measure(1, symbols, IDLE_SECONDS, 60.0)
    many = await measure(symbols, symbols, IDLE_SECONDS, 600.0)
    budget = (
        f"connect budget {many.budget} in 5 minutes, as {Settings().connect_budget} for {SYMBOLS_PER_BUDGET}"
    )
    waits = f"a gate opens after {Settings().resume_after_seconds:g} s of good data"
    return f"{budget}; {waits}\n\n{table(one, many)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=1000)
    arguments = parser.parse_args()
    print(asyncio.run(_main(arguments.symbols)))


if __name__ == "__main__":
    main()
