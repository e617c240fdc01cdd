"""What systemd hears, on a real datagram socket."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedd.config.resolve import resolve
from feedd.core.daemon_state import STUCK_AFTER_SECONDS, DaemonState
from feedd.model import Reason
from feedd.outputs.output import Phase
from feedd.outputs.systemd import Notifier, Systemd, keep_alive, status_line


class Listener:
    """Systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Return the messages that have come since the last look."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def listener(path: str) -> Iterator[Listener]:
    listener = Listener(path)
    yield listener
    listener.socket.close()


def test_states_are_told_in_the_words_of_the_protocol(path: str, listener: Listener) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": path})
    before = time.monotonic_ns() // 1000
    notifier.ready("realtime, 1 symbol: 1 open")
    notifier.ready()
    notifier.status("as\never")
    notifier.reloading()
    notifier.stopping()
    notifier.watchdog()
    *others, reloading, stopping, watchdog = listener.heard()
    assert others == ["READY=1\nSTATUS=realtime, 1 symbol: 1 open", "READY=1", "STATUS=as ever"]
    assert [stopping, watchdog] == ["STOPPING=1", "WATCHDOG=1"]
    word, reading = reloading.split("\n")
    assert word == "RELOADING=1"
    assert before <= int(reading.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_abstract_socket_is_reached() -> None:
    name = f"feedd-test-{os.getpid()}"
    listener = Listener(f"\0{name}")
    try:
        Notifier.from_environ({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listener.heard() == ["READY=1"]
    finally:
        listener.socket.close()


async def test_without_a_socket_nothing_happens() -> None:
    notifier = Notifier.from_environ({})
    notifier.ready("unheard")
    assert not notifier.is_active
    async with asyncio.timeout(1):
        await keep_alive(notifier, lambda _: False, lambda: "unheard")


def test_socket_that_fails_is_logged_once(path: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": path})
    for _ in range(3):
        notifier.watchdog()
    assert [record.message for record in caplog.records] == ["systemd can't be told how feedd is"]


def test_reader_that_is_stuck_costs_a_moment_and_no_more(path: str, listener: Listener) -> None:
    notifier = Notifier(path, send_seconds=0.01)
    began = time.monotonic()
    for _ in range(20):  # more than the 11 that Linux queues
        notifier.status("unread")
    assert time.monotonic() - began < 1
    assert "STATUS=unread" in listener.heard()


def test_address_of_another_kind_is_refused_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    assert not Notifier.from_environ({"NOTIFY_SOCKET": "vsock:2:1234"}).is_active
    assert "vsock:2:1234" in str(caplog.records[0].__dict__["fields"])


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "42"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_sign_of_life_is_given_twice_as_often_as_asked(
    environ: dict[str, str], interval: float | None
) -> None:
    assert Notifier.from_environ(environ, pid=42).watchdog_interval == interval


async def heard_in(listener: Listener, seconds: float) -> list[str]:
    await asyncio.sleep(seconds)
    return listener.heard()


async def test_sign_of_life_comes_only_while_the_supervisor_makes_progress(
    path: str, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    now = [NOW]
    notifier = Notifier(path, watchdog_interval=0.01)
    task = asyncio.create_task(
        keep_alive(notifier, state("BTCUSDT").is_stuck, lambda: "fine", lambda: now[0])
    )
    try:
        assert (await heard_in(listener, 0.1)).count("WATCHDOG=1") > 1
        now[0] += STUCK_AFTER_SECONDS
        assert "WATCHDOG=1" in await heard_in(listener, 0.1)
        now[0] += 0.001
        await heard_in(listener, 0.05)
        assert await heard_in(listener, 0.1) == []
        assert len(caplog.records) == 1
        now[0] = 1001.0
        assert "WATCHDOG=1" in await heard_in(listener, 0.1)
    finally:
        task.cancel()


async def test_line_is_told_when_it_changes_and_not_again(path: str, listener: Listener) -> None:
    text = ["one"]
    notifier = Notifier(path, watchdog_interval=0.01)
    task = asyncio.create_task(keep_alive(notifier, lambda _: False, lambda: text[0]))
    try:
        heard = await heard_in(listener, 0.1)
        text[0] = "two"
        heard += await heard_in(listener, 0.1)
        assert [message for message in heard if message != "WATCHDOG=1"] == ["STATUS=one", "STATUS=two"]
    finally:
        task.cancel()


def test_phases_of_the_daemon_are_told_in_order(path: str, listener: Listener) -> None:
    output = Systemd(state("BTCUSDT"), Notifier(path))
    for phase in (Phase.READY, Phase.RELOADING, Phase.READY, Phase.STOPPING):
        output.phase_changed(phase)
    ready = "READY=1\nSTATUS=realtime, 1 symbol: 1 open"
    began, reloading, again, stopping = listener.heard()
    assert (began, again, stopping) == (ready, ready, "STOPPING=1")
    assert reloading.startswith("RELOADING=1\n")


async def test_without_systemd_there_is_nothing_to_run() -> None:
    async with asyncio.timeout(1):
        await Systemd(state("BTCUSDT"), Notifier()).run()


NOW = 1000.0


def state(*symbols: str, realtime: str = "1") -> DaemonState:
    arguments = {"FLAG_REALTIME": realtime, "FEEDD_SYMBOLS": ",".join(symbols)}
    state = DaemonState(resolve(None, {}, arguments).settings, NOW, NOW)
    for symbol_state in state.symbols.values():
        symbol_state.gate.good(NOW)
    return state


def test_line_says_that_all_is_well() -> None:
    assert status_line(state("BTCUSDT")) == "realtime, 1 symbol: 1 open"
    assert status_line(state("BTCUSDT", "ETHUSDT")) == "realtime, 2 symbols: 2 open"


def test_line_names_who_is_halted_and_why() -> None:
    trading = state("BTCUSDT", "ETHUSDT", "SOLUSDT")
    trading.symbols["BTCUSDT"].gate.trip(Reason.STALE, NOW)
    assert status_line(trading) == "realtime, 3 symbols: 2 open, BTCUSDT halted (stale)"
    trading.symbols["ETHUSDT"].gate.trip(Reason.STALE, NOW)
    assert status_line(trading) == "realtime, 3 symbols: 1 open, BTCUSDT ETHUSDT halted (stale)"
    trading.set_kill_switch(True, NOW)
    assert status_line(trading) == (
        "realtime, 3 symbols: BTCUSDT ETHUSDT halted (kill_switch, stale), SOLUSDT halted (kill_switch)"
    )


def test_line_says_that_static_data_is_no_market() -> None:
    assert status_line(state("SPY", realtime="0")) == "static data, not production, 1 symbol: 1 open"


def test_line_stays_short_with_a_thousand_symbols() -> None:
    trading = state(*(f"S{number}USDT" for number in range(1000)))
    gates = [symbol_state.gate for symbol_state in trading.symbols.values()]
    reasons = [reason for reason in Reason if reason is not Reason.STATIC_SOURCE]
    for number, gate in enumerate(gates[10:]):
        gate.trip(Reason.DISCONNECTED, NOW)
        if number < 20:
            gate.trip(reasons[number % len(reasons)], NOW)
    line = status_line(trading)
    assert line.startswith("realtime, 1000 symbols: 10 open, 972 halted (disconnected)")
    assert line.endswith("more halted")
    assert len(line) < 250
    trading.set_kill_switch(True, NOW)
    for gate in gates:
        gate.trip(Reason.DISCONNECTED, NOW)
    assert len(status_line(trading)) < 300


def test_line_says_it_once_when_all_share_their_fate() -> None:
    trading = state("BTCUSDT", "ETHUSDT")
    trading.set_kill_switch(True, NOW)
    assert status_line(trading) == "realtime, 2 symbols: all halted (kill_switch)"
