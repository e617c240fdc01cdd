"""`make bench`: what the relay costs, and whom.

- The market: how long a trade is under way, from the exchange's send until feedd has handed it on, with and
  without two hundred consumers. Both are measured in turns, since the machine's speed wanders.
- A consumer: how long after feedd has read a frame it can read it.
- The processor: CPU per delivered message, beside a server that only writes prebuilt frames.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

from tests.benchmarks.crowd import Member, join

STREAM = "/stream?streams=btcusdt@trade"
READERS, SLEEPERS = 180, 20
QUEUE_BYTES = 384 * 1024
BURST = 4500
"""Twice what a sleeper's queue and its socket hold."""
SLOW = 'feedd_consumer_disconnects_total{reason="slow"}'


@dataclass(frozen=True, slots=True)
class Passage:
    """One trade's way through the daemon, in seconds since the epoch."""

    sent_at: float
    read_at: float
    handed_on_at: float


class Bench:
    """An exchange and a daemon, each in its own process."""

    def __init__(self, http: aiohttp.ClientSession, exchange_port: int, daemon: Process, port: int) -> None:
        self._http = http
        self._exchange = f"http://127.0.0.1:{exchange_port}"
        self.daemon = daemon
        self.port = port
        self.next_id = 1
        """The id that the next trade will have."""

    async def beat(self, rate: float, seconds: float) -> range:
        """Have trades sent at a rate; returns their ids."""
        return await self._have_sent(f"/beat?rate={rate}&seconds={seconds}")

    async def burst(self, trades: int) -> range:
        """Have trades sent as fast as the daemon reads; returns their ids."""
        return await self._have_sent(f"/burst?trades={trades}")

    async def _have_sent(self, path: str) -> range:
        first = self.next_id
        async with self._http.get(self._exchange + path) as response:
            self.next_id = (await response.json())["next"]
        return range(first, self.next_id)

    async def metrics(self) -> dict[str, float]:
        """Return what the daemon tells Prometheus."""
        async with self._http.get(f"http://127.0.0.1:{self.port}/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def passages(self) -> dict[int, Passage]:
        """Stop the daemon and return the way of every trade, by id."""
        self.daemon.terminate()
        output, _ = await self.daemon.communicate()
        found = {}
        for line in output.splitlines():
            number, *times = line.split()
            found[int(number)] = Passage(*map(float, times))
        return found


def go_first(pid: int, priority: int) -> None:
    """Let a process go before all others where that is allowed: what else runs is not to be measured."""
    with suppress(PermissionError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(priority))


@asynccontextmanager
async def process(module: str, *arguments: str) -> AsyncIterator[tuple[Process, int]]:
    """Run a server of this folder; yields it and its port."""
    name = f"tests.benchmarks.{module}"
    running = await asyncio.create_subprocess_exec(sys.executable, "-m", name, *arguments, stdout=PIPE)
    go_first(running.pid, 2)
    try:
        assert running.stdout is not None
        yield running, int(await running.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            running.terminate()
        await running.communicate()


@asynccontextmanager
async def bench(*settings: str) -> AsyncIterator[Bench]:
    """Run an exchange and a daemon with these settings, each `KEY=value`."""
    async with (
        process("metronome") as (_, exchange_port),
        process("relay_daemon", str(exchange_port), *settings) as (daemon, port),
        aiohttp.ClientSession() as http,
    ):
        running = Bench(http, exchange_port, daemon, port)
        await running.beat(100, 0.5)
        yield running


def cpu_seconds(process: Process) -> float:
    """Return the CPU time that a process has taken, as the scheduler counts it."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


def resident_bytes(process: Process) -> int:
    """Return the memory that a process holds."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def quantile(values: Iterable[float], share: float) -> float:
    """Return that quantile of some values."""
    ordered = sorted(values)
    return ordered[int((len(ordered) - 1) * share)]


async def subscribe(members: Iterable[Member], method: str) -> None:
    """Have everyone subscribe to the trades, or unsubscribe."""
    request = f'{{"method":"{method}","params":["btcusdt@trade"],"id":1}}'.encode()
    await asyncio.gather(*(member.ask(request) for member in members))


async def crowd_with_sleepers() -> dict[str, float]:
    """Have many consumers, some of which never read, through a burst; returns what became of them."""
    async with bench(f"FEEDD_CONSUMER_QUEUE_BYTES={QUEUE_BYTES}") as running:
        readers = [await join(running.port, STREAM) for _ in range(READERS)]
        sleepers = [await join(running.port, STREAM, reads=False) for _ in range(SLEEPERS)]
        before = resident_bytes(running.daemon)
        ids = await running.burst(BURST)
        metrics = await running.metrics()
        async with asyncio.timeout(40):
            while any(reader.last_trade_id != ids[-1] for reader in readers) or metrics[SLOW] < SLEEPERS:
                metrics = await running.metrics()
        found = {
            "grown_bytes": resident_bytes(running.daemon) - before,
            "readers_open": sum(not reader.is_over for reader in readers),
            "readers_with_every_trade_in_order": sum(reader.trade_ids == list(ids) for reader in readers),
            "slow": metrics[SLOW],
            "connected": metrics["feedd_consumers"],
            "dropped": metrics["feedd_consumer_messages_dropped_total"],
        }
        for sleeper in sleepers:
            sleeper.transport.abort()
    return found


async def market_in_turns(rounds: int, share: float) -> dict[str, list[float]]:
    """Have trades sent while nobody listens and while everyone does, in turns.

    Returns that quantile of how long they were under way until feedd had handed them on, in seconds, a figure
    a round.
    """
    async with bench() as running:
        members = [await join(running.port, "/ws") for _ in range(READERS + SLEEPERS)]
        rounds_alone, rounds_crowded = [], []
        for _ in range(rounds):
            rounds_alone.append(await running.beat(100, 1.0))
            await subscribe(members, "SUBSCRIBE")
            rounds_crowded.append(await running.beat(100, 1.0))
            await subscribe(members, "UNSUBSCRIBE")
        passages = await running.passages()
    assert all(len(member.trade_ids) == sum(map(len, rounds_crowded)) for member in members)

    def delay(ids: range) -> float:
        delays = (passages[number].handed_on_at - passages[number].sent_at for number in ids)
        return quantile(delays, share)

    return {"alone": [*map(delay, rounds_alone)], "crowded": [*map(delay, rounds_crowded)]}


async def measure_market(rounds: int) -> None:
    """Print how consumers delay the market."""
    for share in (0.5, 0.99):
        delays = await market_in_turns(rounds, share)
        alone, crowded = (statistics.median(delays[kind]) * 1e6 for kind in ("alone", "crowded"))
        both = f"{alone:.0f} us alone, {crowded:.0f} us with {READERS + SLEEPERS} consumers"
        print(f"sent until handed on, p{share * 100:g}: {both} ({crowded / alone:.2f})")


async def measure_consumer(rate: float, seconds: float) -> None:
    """Print how long a message takes through the daemon."""
    async with bench() as running:
        member = await join(running.port, STREAM)
        await running.beat(rate, seconds)
        passages = await running.passages()
    delays = [at - passages[number].read_at for number, at in member.trade_times.items()]
    shares = ", ".join(f"p{share * 100:g} {quantile(delays, share) * 1e6:.0f} us" for share in (0.5, 0.99))
    print(f"read until readable at {len(delays) / seconds:.0f}/s: {shares}")


async def measure_cpu(consumers: int, rate: float, rounds: int, seconds: float = 3.0) -> None:
    """Print CPU per delivered message beside that of a server that only writes."""
    ratios = []
    async with bench() as running, process("bare_relay", str(rate)) as (bare, bare_port):
        for _ in range(rounds):
            costs = []
            for server, port in ((running.daemon, running.port), (bare, bare_port)):
                members = [await join(port, STREAM) for _ in range(consumers)]
                before = cpu_seconds(server)
                await (running.beat(rate, seconds) if server is running.daemon else asyncio.sleep(seconds))
                spent = cpu_seconds(server) - before
                costs.append(spent / sum(len(member.trade_ids) for member in members))
                for member in members:
                    member.transport.abort()
            ratios.append(costs[0] / costs[1])
            print(f"CPU per delivered message: {costs[0] * 1e6:.1f} us, {costs[1] * 1e6:.1f} us bare")
    print(f"  ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


async def _measure(rounds: int) -> None:
    await measure_market(rounds)
    await measure_consumer(5000, 2.0)
    await measure_cpu(10, 1000, rounds)


async def _prove(what: str, rounds: int) -> None:
    found = await (crowd_with_sleepers() if what == "sleepers" else market_in_turns(rounds, 0.99))
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("sleepers", "market"), help="one figure, as JSON")
    arguments = parser.parse_args()
    go_first(os.getpid(), 1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds: int = arguments.rounds
        runner.run(_prove(arguments.only, rounds) if arguments.only else _measure(rounds))


if __name__ == "__main__":
    main()
