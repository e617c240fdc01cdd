"""The gate that is asked before each order: daemon, gate and exchange are processes apart."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import threading
import time
import timeit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

import feedd
from feedd.client.gate_follower import GateFollower
from feedd.exchange import Exchange, ExchangeSettings
from tests.alerts.stack import Process, answers, free_port, start
from tests.running import SYMBOLS, EnvFile, running, settings_for

HIT = SYMBOLS[0]
EXCHANGE = ExchangeSettings(symbols=SYMBOLS, rate=20.0)
FLIPS = 200
WITHIN_SECONDS = 2.1


@dataclass(frozen=True, slots=True)
class Answer:
    is_open: bool
    at: float
    reasons: str


class Asker:
    """The process that asks its gate."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def until(self, is_open: bool) -> Answer:
        """Wait until its answer becomes this."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20.0):
            while line := await self.process.stdout.readline():
                answer, at, *reasons = line.decode().split()
                if (answer == "True") == is_open:
                    return Answer(is_open, float(at), "".join(reasons))
        raise AssertionError("the asker has ended")


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Asker]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.client.gate_process", url, HIT, stdout=subprocess.PIPE
    )
    try:
        yield Asker(process)
    finally:
        process.kill()
        await process.communicate()


class Daemons:
    """Starts daemons, one after the other, at the same address."""

    def __init__(self, folder: Path, exchange: Exchange) -> None:
        self.folder = folder
        self.env_file = EnvFile(folder, exchange)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.env_file.set(FEEDD_LISTEN=self.url.removeprefix("http://"))
        self.process: Process | None = None

    async def start(self) -> Process:
        command = (sys.executable, "-m", "feedd", "run", "--env-file", str(self.env_file.path))
        self.process = await start(self.folder / "feedd.log", *command)
        await answers(self.process, f"{self.url}/-/healthy")
        return self.process


@asynccontextmanager
async def daemons(folder: Path) -> AsyncIterator[Daemons]:
    async with Exchange(EXCHANGE) as exchange:
        starter = Daemons(folder, exchange)
        try:
            yield starter
        finally:
            if starter.process is not None:
                await starter.process.stop(signal.SIGKILL)


async def test_kill_switch_reaches_another_process_within_50_ms(tmp_path: Path) -> None:
    """p99 over 200 flips, from the file's save to the answer No."""
    async with daemons(tmp_path) as starter:
        daemon = await starter.start()
        async with asking(starter.url) as asker:
            await asker.until(True)
            delays = []
            for flip in range(FLIPS):
                save = starter.env_file.set if flip % 2 else starter.env_file.replace
                save(FLAG_TRADING_HALTED="1")
                saved_at = time.monotonic()
                halted = await asker.until(False)
                assert halted.reasons == "kill_switch"
                delays.append(halted.at - saved_at)
                save(FLAG_TRADING_HALTED="0")
                daemon.send(signal.SIGHUP)  # a kill switch acts at first sight, its end after 200 ms of rest
                await asker.until(True)
            assert sorted(delays)[FLIPS * 99 // 100 - 1] <= 0.05, sorted(delays)[-5:]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_daemon_that_is_gone_closes_the_gate_and_its_return_reopens_it(
    tmp_path: Path, end: signal.Signals
) -> None:
    async with daemons(tmp_path) as starter:
        daemon = await starter.start()
        async with asking(starter.url) as asker:
            await asker.until(True)
            daemon.send(end)
            sent_at = time.monotonic()
            halted = await asker.until(False)
            assert halted.at - sent_at <= WITHIN_SECONDS
            if end is signal.SIGSTOP:
                assert halted.reasons == "silent"
                daemon.send(signal.SIGCONT)
            else:
                assert halted.at - sent_at < 0.5  # the kernel tells that it is gone
                assert halted.reasons == "unreachable"
                await daemon.process.wait()
                await starter.start()
            await asker.until(True)


async def test_heartbeat_that_was_read_late_does_not_keep_the_gate_open(tmp_path: Path) -> None:
    async with daemons(tmp_path) as starter:
        daemon = await starter.start()
        async with (
            asking(starter.url) as asker,
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{starter.url}/gate/events") as listener,
        ):
            await asker.until(True)
            await _heartbeats(listener, 2)  # the asker learns how soon they come
            asker.process.send_signal(signal.SIGSTOP)
            await _heartbeats(listener, 1)
            daemon.send(signal.SIGSTOP)
            sent_at = time.monotonic()
            await asyncio.sleep(0.7)
            asker.process.send_signal(signal.SIGCONT)  # it reads the last heartbeat only now
            halted = await asker.until(False)
            assert halted.reasons == "silent"
            assert halted.at - sent_at <= WITHIN_SECONDS
            daemon.send(signal.SIGCONT)


async def _heartbeats(listener: aiohttp.ClientWebSocketResponse, count: int) -> None:
    while count:
        message = await listener.receive_json()
        count -= message["type"] == "heartbeat"
    await asyncio.sleep(0.05)  # until others have had it too


async def test_answer_comes_from_memory_within_5_microseconds() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as daemon:
        await daemon.until_open()
        gate = await asyncio.to_thread(feedd.Gate, daemon.url)
        with gate:
            assert gate.open(HIT)
            turns = 10_000
            times = await asyncio.to_thread(timeit.repeat, lambda: gate.open(HIT), number=turns, repeat=21)
            assert gate.open(HIT)
            assert sorted(times)[10] / turns < 5e-6, sorted(times)


async def test_answers_and_reasons_follow_the_daemon() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as daemon:
        await daemon.until_open()
        with await asyncio.to_thread(feedd.Gate, daemon.url) as gate:
            assert gate.open(HIT)
            assert gate.open(HIT.lower())
            assert gate.reasons(HIT) == ()
            assert not gate.open("DOGEUSDT")
            assert gate.reasons("DOGEUSDT") == ("unknown_symbol",)
            exchange.set_fault("reset", symbol=HIT)
            await daemon.until(lambda _: not gate.open(HIT))
            assert gate.reasons(HIT) == ("disconnected",)
            assert gate.open(SYMBOLS[1])
            await daemon.until(lambda _: gate.open(HIT))
        assert not gate.open(HIT)
        assert gate.reasons(HIT) == ("closed",)
        gate.close()


def test_daemon_that_is_not_there_delays_nobody_and_opens_nothing() -> None:
    began = time.monotonic()
    with feedd.Gate("http://127.0.0.1:9") as gate:
        assert not gate.open(HIT)
        assert gate.reasons(HIT) == ("unreachable",)
    assert time.monotonic() - began < 1.0


def test_daemon_that_never_answers_is_waited_for_only_so_long() -> None:
    with feedd.Gate("http://127.0.0.1:9", wait=0.0) as gate:
        assert not gate.open(HIT)


def test_gate_that_is_forgotten_ends_its_thread() -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name == "feedd-gate"]

    gate = feedd.Gate("http://127.0.0.1:9")
    assert len(threads()) == 1
    assert not gate.open(HIT)
    del gate
    gc.collect()
    assert threads() == []


def test_thread_that_dies_of_a_bug_closes_the_gate_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: GateFollower) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(GateFollower, "run", fail)
    with feedd.Gate("http://127.0.0.1:9") as gate:
        assert gate.reasons(HIT) == ("closed",)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "a bug" in caplog.text


FORKING = """
import os, sys, time, feedd
url, symbol = sys.argv[1:]
gate = feedd.Gate(url)
closed = feedd.Gate(url)
closed.close()
assert gate.open(symbol)
child = os.fork()
if child == 0:
    answers = [gate.open(symbol), gate.reasons(symbol)]
    deadline = time.monotonic() + 10
    while not gate.open(symbol) and time.monotonic() < deadline:
        time.sleep(0.01)
    answers += [gate.open(symbol), closed.open(symbol), closed.reasons(symbol)]
    print(answers, flush=True)
    sys.exit()
os.waitpid(child, 0)
time.sleep(2.5)
print(gate.open(symbol))
"""


async def test_forked_child_follows_for_itself_and_leaves_the_parent_alone() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as daemon:
        await daemon.until_open()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORKING, daemon.url, HIT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        printed, errors = await process.communicate()
    child, parent = printed.decode().splitlines()
    assert child == "[False, ('unreachable',), True, False, ('closed',)]"
    assert parent == "True"
    assert errors == b""
