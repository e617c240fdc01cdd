"""What a content of the env-file does to a daemon: flags at once, settings only if all of them are right."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from feedd.config.change_rule import Decision
from feedd.config.settings import Settings
from feedd.config.watcher import Configuration, EnvFileWatch
from feedd.config_reload import ConfigReloader
from feedd.core.daemon_state import DaemonState
from feedd.model import DisconnectReason, Reason, ResumePolicy

GOOD = b"FLAG_REALTIME=1\nFEEDD_LATENCY_LIMIT_SECONDS=3\n"
NOW = 500.0


@dataclass
class Target:
    """What stands in for the daemon: carries settings to the state, and notes what it is asked for."""

    state: DaemonState
    is_web_config_valid: bool = True
    asked: list[str] = field(default_factory=list)
    becomes_valid: bool = True
    """What the next reading of the web config finds."""

    async def apply_settings(self, new: Settings) -> None:
        old = self.state.settings
        self.state.apply_settings(new, NOW)
        self.asked.append("apply")
        if old.web_config != new.web_config:
            self.reload_web_config()

    def reload_web_config(self) -> None:
        self.asked.append("web config")
        self.is_web_config_valid = self.becomes_valid

    def emit_changes(self) -> None:
        self.asked.append("emit")

    def reloaded(self) -> None:
        self.asked.append("reloaded")


class Rig:
    """A reloader with a real state behind it, and a clock that stands."""

    def __init__(self, path: Path | None) -> None:
        self.state = DaemonState(Settings(realtime=True), 100.0, 0.0)
        self.target = Target(self.state)
        self.watch = None
        if path is not None:
            self.watch = EnvFileWatch(Configuration(path, {}, {}), path, b"")
        self.reloader = ConfigReloader(self.state, self.watch, self.target, lambda: NOW)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.state.symbols["BTCUSDT"].gate.reasons

    async def carry_out(self, was_asked: bool = False, **decision: Any) -> list[str]:
        """Carry a decision out; returns what the daemon was asked for."""
        self.target.asked.clear()
        await self.reloader.carry_out(Decision(**decision), was_asked)
        return self.target.asked


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "feedd.env")


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[dict[str, Any]]:
    return [getattr(record, "fields", {}) for record in caplog.records if text in record.getMessage()]


async def test_kill_switch_halts_at_once_and_is_said_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        assert await rig.carry_out(halt=True) == ["emit"]
    assert Reason.KILL_SWITCH in rig.reasons
    assert len(said(caplog, "the kill switch stands in the env-file")) == 1


async def test_nothing_that_was_decided_lifts_the_kill_switch_but_other_settings(rig: Rig) -> None:
    await rig.carry_out(halt=True)
    await rig.carry_out()
    assert rig.state.kill_switch
    await rig.carry_out(apply=GOOD)
    assert not rig.state.kill_switch


async def test_unreadable_file_halts_until_it_can_be_read(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        await rig.carry_out(unreadable=True)
    assert Reason.FLAGS_UNREADABLE in rig.reasons
    await rig.carry_out()
    assert not rig.state.flags_unreadable
    assert rig.watch is not None
    for text in ("the env-file can't be read", "the env-file can be read again"):
        assert said(caplog, text) == [{"path": rig.watch.path}]


async def test_good_content_is_applied_and_every_change_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    raw = GOOD + b"FEEDD_LISTEN=127.0.0.1:1\n"
    assert await rig.carry_out(apply=raw) == ["emit", "apply"]
    assert rig.state.settings.latency_limit_seconds == 3.0
    assert (rig.state.last_reload_successful, rig.state.last_reload_success_at) == (True, NOW)
    assert [fields["key"] for fields in said(caplog, "setting changed")] == ["FEEDD_LATENCY_LIMIT_SECONDS"]
    assert [fields["key"] for fields in said(caplog, "needs a restart")] == ["FEEDD_LISTEN"]
    assert said(caplog, "env-file read") == [{"changes": 2}]


async def test_bad_content_changes_nothing_and_each_mistake_is_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    before = rig.state.settings
    raw = b"FLAG_REALTIME=1\nFEEDD_LATENCY_LIMIT_SECONDS=soon\nFEEDD_RESUME=perhaps\n"
    assert "apply" not in await rig.carry_out(apply=raw)
    assert rig.state.settings is before
    assert (rig.state.last_reload_successful, rig.state.last_reload_success_at) == (False, 100.0)
    assert len(said(caplog, "the env-file is wrong; the last good settings stay")) == 2
    await rig.carry_out(apply=GOOD)
    assert rig.state.last_reload_successful


async def test_kill_switch_in_a_bad_content_counts(rig: Rig) -> None:
    await rig.carry_out(apply=b"FLAG_TRADING_HALTED=1\nFEEDD_RESUME=perhaps\n")
    assert Reason.KILL_SWITCH in rig.reasons
    assert rig.state.settings.trading_halted is False


async def test_what_was_asked_for_reads_the_web_config_and_says_when_it_is_done(rig: Rig) -> None:
    assert await rig.carry_out(was_asked=True, apply=GOOD) == [
        "emit", "apply", "web config", "emit", "reloaded",
    ]  # fmt: skip


@pytest.mark.parametrize("was_asked", [False, True])
async def test_other_web_config_is_read_once(rig: Rig, tmp_path: Path, was_asked: bool) -> None:
    raw = GOOD + f"FEEDD_WEB_CONFIG={tmp_path / 'web.yml'}\n".encode()
    asked = await rig.carry_out(was_asked=was_asked, apply=raw)
    assert asked.count("web config") == 1
    assert rig.state.last_reload_successful


@pytest.mark.parametrize("was_asked", [False, True])
async def test_wrong_web_config_makes_the_reload_a_failed_one(
    rig: Rig, tmp_path: Path, was_asked: bool
) -> None:
    rig.target.becomes_valid = False
    raw = GOOD + f"FEEDD_WEB_CONFIG={tmp_path / 'web.yml'}\n".encode()
    await rig.carry_out(was_asked=was_asked, apply=raw)
    assert not rig.state.last_reload_successful
    assert rig.state.settings.latency_limit_seconds == 3.0


async def test_wrong_web_config_from_before_is_no_failure_of_what_does_not_touch_it(rig: Rig) -> None:
    rig.target.is_web_config_valid = False
    await rig.carry_out(apply=GOOD)
    assert rig.state.last_reload_successful


async def test_latched_halt_is_lifted_only_by_what_was_asked_for(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    symbol = rig.state.symbols["BTCUSDT"]
    await rig.carry_out(apply=GOOD + b"FEEDD_RESUME=manual\n")
    assert rig.state.settings.resume is ResumePolicy.MANUAL
    symbol.connected(NOW)
    symbol.gate.began(NOW)
    symbol.disconnected(DisconnectReason.RESET, NOW)
    assert Reason.LATCHED in rig.reasons
    await rig.carry_out()
    assert said(caplog, "can't be lifted") == []
    await rig.carry_out(was_asked=True)
    assert said(caplog, "can't be lifted") == [{"symbol": "BTCUSDT", "reasons": (Reason.DISCONNECTED,)}]
    symbol.connected(NOW)
    symbol.gate.good(NOW)
    symbol.gate.good(NOW + 100.0)
    await rig.carry_out(was_asked=True)
    assert Reason.LATCHED not in rig.reasons


@pytest.mark.parametrize("is_valid", [True, False])
async def test_without_an_env_file_the_web_config_is_all_there_is_to_read(
    is_valid: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(None)
    rig.target.becomes_valid = is_valid
    rig.reloader.force()
    assert rig.target.asked == ["web config", "emit", "reloaded"]
    assert rig.state.last_reload_successful is is_valid
    assert len(said(caplog, "there is no env-file to read")) == 1
    await rig.reloader.run()  # which ends at once


async def test_what_is_asked_for_reads_the_file_however_it_looks(tmp_path: Path) -> None:
    path = tmp_path / "feedd.env"
    path.write_bytes(GOOD)
    rig = Rig(path)
    assert rig.watch is not None
    rig.reloader.force()
    async with aclosing(rig.watch.decisions()) as decisions:  # type: ignore[type-var]  # a generator
        decision, was_asked = await anext(decisions)
    assert (decision.apply, was_asked) == (GOOD, True)
