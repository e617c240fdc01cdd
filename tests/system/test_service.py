"""feedd.service on a real systemd: started, stopped, killed, hung, and locked in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from feedd.exchange import Exchange
from tests.system import probe
from tests.system.box import Box
from tests.system.conftest import CHECKOUT, IN_BOX
from tests.system.service import SYMBOLS, UNIT, URL, Service

START_SECONDS = 2.0
STOP_SECONDS = 3.0
BACK_SECONDS = 3.0
EXPOSURE_MAX = "12"  # tenths

UNIT_FILE = CHECKOUT / "systemd" / UNIT
WATCHDOG_SECONDS = 10.0
RESTART_SECONDS = 1.0


def assert_started(service: Service) -> None:
    assert service.show("ActiveState") == "active"
    assert service.show("SubState") == "running"
    assert service.seconds("ActiveEnter") - service.seconds("InactiveExit") < START_SECONDS


def test_starts_within_two_seconds_and_opens_the_gate(service: Service, exchange: Exchange) -> None:
    service.start()
    assert_started(service)
    assert service.get("/-/healthy")[0] == 200
    service.until_open()
    service.until(lambda: service.show("StatusText") == "realtime, 2 symbols: 2 open", "the status line")


def test_starts_within_two_seconds_while_the_exchange_is_down(service: Service) -> None:
    service.start()
    assert_started(service)
    service.until_halted("disconnected")
    service.until(
        lambda: service.show("StatusText") == "realtime, 2 symbols: all halted (starting, disconnected)",
        "the status line",
    )


@contextmanager
def changed(unit: str, box: Box, changes: str) -> Iterator[None]:
    """Change a unit for a while, as `systemctl edit` would."""
    drop_in = box.path(f"/run/systemd/system/{unit}.d/changes.conf")
    drop_in.parent.mkdir()
    drop_in.write_text(changes)
    box.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        drop_in.unlink()
        drop_in.parent.rmdir()
        box.run("systemctl", "daemon-reload")


def test_dead_exchange_is_no_dead_daemon(service: Service) -> None:
    with changed(UNIT, service.box, "[Service]\nWatchdogSec=1\n"):
        service.start()
        pid = service.pid
        time.sleep(3.0)
        assert (service.pid, service.show("NRestarts")) == (pid, "0")


async def closed_with(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    """Listen until the other side closes. Returns the code of its close frame."""
    async for _ in socket:
        pass
    return socket.close_code


def test_stops_within_three_seconds_and_says_goodbye(service: Service, exchange: Exchange) -> None:
    service.start()
    service.until_open()

    async def listen() -> tuple[aiohttp.ClientSession, asyncio.Task[int | None]]:
        http = aiohttp.ClientSession()
        socket = await http.ws_connect(f"{URL}/gate/events")
        return http, asyncio.create_task(closed_with(socket))

    async def heard() -> int | None:
        await exchange.wait_until(lambda: not exchange.open_connections(), 1.0)
        code = await listening
        await http.close()
        return code

    http, listening = service.box.call(listen())
    connections = exchange.open_connections()
    assert connections == len(SYMBOLS)
    began = time.monotonic()
    service.systemctl("stop", UNIT)
    assert service.seconds("InactiveEnter") - began < STOP_SECONDS
    assert {name: service.show(name) for name in ("Result", "ExecMainCode", "ExecMainStatus")} == {
        "Result": "success",
        "ExecMainCode": "1",  # it exited, and was not killed
        "ExecMainStatus": "0",
    }
    assert service.box.call(heard()) == 1001
    assert exchange.stats.close_codes == {1001: connections}
    assert not exchange.stats.cuts


def test_reload_keeps_the_process(service: Service, exchange: Exchange) -> None:
    service.start()
    service.until_open()
    pid, connects = service.pid, exchange.stats.connects
    service.systemctl("reload", UNIT)
    service.until(lambda: service.show("SubState") == "running", "the reload ends")
    service.until_open(seconds=1.0)
    assert (service.pid, service.show("NRestarts")) == (pid, "0")
    assert exchange.stats.connects == connects


def test_killed_it_is_back_within_three_seconds_and_halted_until_data_comes(
    service: Service, exchange: Exchange
) -> None:
    service.start()
    service.until_open()
    old = service.pid
    service.box.call(set_mute(exchange))
    killed_at = service.kill("KILL")
    service.until(
        lambda: service.pid not in (0, old) and service.show("ActiveState") == "active", "it is back"
    )
    assert service.seconds("ActiveEnter") - killed_at < BACK_SECONDS
    assert service.show("NRestarts") == "1"
    service.until(lambda: exchange.open_connections() == len(SYMBOLS), "it has connected")
    status, body = service.get("/gate")
    assert (status, json.loads(body)["reasons"]) == (503, ["starting"])
    service.box.call(unset_faults(exchange))
    service.until_open()


async def set_mute(exchange: Exchange) -> None:
    exchange.set_fault("mute")


async def unset_faults(exchange: Exchange) -> None:
    exchange.clear_faults()


def test_hung_it_is_restarted_by_the_watchdog(service: Service, exchange: Exchange) -> None:
    service.start()
    service.until_open()
    old = service.pid
    stopped_at = service.kill("STOP")
    most = WATCHDOG_SECONDS + RESTART_SECONDS + START_SECONDS
    service.until(lambda: service.show("NRestarts") == "1", "a restart", most)
    service.until(lambda: service.show("ActiveState") == "active", "it is back")
    assert service.pid != old
    assert service.seconds("ActiveEnter") - stopped_at < most
    journal = service.journal()
    assert any("Watchdog timeout" in line for line in journal)
    assert any("Failed with result 'watchdog'" in line for line in journal)
    assert any("most recent call first" in line for line in journal), "the stack of where it hung"
    service.until_open()


def test_port_in_use_is_exit_1_and_a_line_that_says_so(service: Service, exchange: Exchange) -> None:
    async def take_port() -> asyncio.Server:
        return await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 9745)

    async def free_port(server: asyncio.Server) -> None:
        server.close()
        await server.wait_closed()

    taken = service.box.call(take_port())
    try:
        assert service.systemctl("start", UNIT, check=False) == 1
        assert (service.show("ExecMainCode"), service.show("ExecMainStatus")) == ("1", "1")
        line = next(line for line in service.journal() if "address already in use" in line)
        assert "9745" in line
    finally:
        service.box.call(free_port(taken))
    # It was only the port: systemd's next try succeeds.
    service.until(lambda: service.show("ActiveState") == "active", "it is back")


def test_wrong_settings_are_exit_2_and_no_restart(service: Service) -> None:
    service.configure(FEEDD_SYMBOL="BTCUSDT")
    service.systemctl("start", UNIT, check=False)
    service.until(lambda: service.show("ActiveState") == "failed", "it has failed")
    time.sleep(RESTART_SECONDS + 0.5)
    names = ("ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert [service.show(name) for name in names] == ["failed", "exit-code", "2", "0"]
    mistake = (
        "/etc/feedd/feedd.env:8: FEEDD_SYMBOL: expected a key that feedd knows (did you mean FEEDD_SYMBOLS?)"
    )
    assert any(mistake in line for line in service.journal())


def test_process_has_no_rights(service: Service) -> None:
    service.start()
    status = service.box.path(f"/proc/{service.pid}/status").read_text()
    found = dict(line.split(":\t", 1) for line in status.splitlines())
    capabilities = {key: value for key, value in found.items() if key.startswith("Cap")}
    assert len(capabilities) == 5
    assert {int(value, 16) for value in capabilities.values()} == {0}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert "0" not in found["Uid"].split() + found["Gid"].split()


PROBE_FILE = "/etc/probe.py"
PROBE_UNIT = "feedd-probe.service"
# Only what is run differs from the daemon's unit, so that a change there is a change here.
PROBE_CHANGES = f"""[Service]
Type=oneshot
Restart=no
WatchdogSec=0
ExecStart=
ExecStart=/usr/bin/python3 -I {PROBE_FILE}
"""


def test_sandbox_holds(service: Service) -> None:
    box = service.box
    box.path(PROBE_FILE).write_text(Path(probe.__file__).read_text())
    outside = json.loads(
        box.run("systemd-run", "--wait", "--pipe", "--quiet", "/usr/bin/python3", PROBE_FILE).stdout
    )
    box.path(f"/etc/systemd/system/{PROBE_UNIT}").write_text(UNIT_FILE.read_text())
    with changed(PROBE_UNIT, box, PROBE_CHANGES):
        box.run("systemctl", "start", PROBE_UNIT)
    box.run("journalctl", "--sync")
    lines = box.run("journalctl", f"--unit={PROBE_UNIT}", "--identifier=python3", "--output=cat").stdout
    inside = json.loads(lines)
    # Without the sandbox all of it can be done, so that what fails inside is the sandbox's doing.
    assert set(outside["attempts"].values()) == {"done"}
    assert {name for name, outcome in inside["attempts"].items() if outcome == "done"} == set(probe.NEEDED)
    assert set(inside["attempts"]) == set(probe.NEEDED) | set(probe.FORBIDDEN)
    assert inside["writable"] == []
    status = inside["status"]
    assert {int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert int(status["Seccomp_filters"]) > int(outside["status"]["Seccomp_filters"])


def test_unit_is_sound_and_its_exposure_small(installed: Box) -> None:
    # Without recursive errors an unknown option is a warning.
    installed.run(
        "systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", f"/etc/systemd/system/{UNIT}"
    )
    installed.run("systemd-analyze", "security", f"--threshold={EXPOSURE_MAX}", UNIT)
    installed.run(
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={EXPOSURE_MAX}",
        f"{IN_BOX}/systemd/{UNIT}",
    )


def test_starts_with_the_machine_once_the_network_is_up(installed: Box) -> None:
    assert installed.run("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    assert "network-online.target" in installed.run("systemctl", "show", "--property=After", UNIT).stdout


@pytest.mark.parametrize("name", ["MemoryMax", "MemoryHigh", "TasksMax"])
def test_limits_are_set(installed: Box, name: str) -> None:
    value = installed.run("systemctl", "show", f"--property={name}", "--value", UNIT).stdout.strip()
    assert value.isdigit()
