"""The commands that set a flag, against a running daemon: the flag is edited, and the daemon confirms."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from feedd.cli.daemon_address import by_url
from feedd.cli.flag_commands import FLAG_COMMANDS, NotConfirmedError, set_and_confirm, set_flag
from feedd.errors import SettingsError
from feedd.exchange import Exchange
from tests.running import SYMBOLS, EnvFile, Running, running_on
from tests.test_daemon import BARS, EXCHANGE

HALT, RESUME, ROLLBACK, REALTIME = FLAG_COMMANDS


@asynccontextmanager
async def chain(folder: Path) -> AsyncIterator[tuple[Exchange, EnvFile, Running]]:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(folder, exchange)
        env_file.set(FEEDD_CSV_PATH=str(folder))
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            yield exchange, env_file, feedd


async def test_halt_and_resume_are_confirmed(tmp_path: Path) -> None:
    reported: list[str] = []
    async with chain(tmp_path) as (_, env_file, feedd):
        await set_and_confirm(HALT, env_file.path, by_url(feedd.url, None, None), 5.0, reported.append)
        assert all(feedd.symbol_state(symbol).gate.halted for symbol in SYMBOLS)
        assert "FLAG_TRADING_HALTED=1\n" in env_file.path.read_text()
        await set_and_confirm(RESUME, env_file.path, by_url(feedd.url, None, None), 5.0, reported.append)
        assert not any(feedd.symbol_state(symbol).gate.halted for symbol in SYMBOLS)
    assert reported[0] == f"FLAG_TRADING_HALTED=1 in {env_file.path}"
    assert reported[1].startswith(f"confirmed by the daemon at {feedd.url} after ")


async def test_rollback_proves_that_trading_resumes_on_static_data_and_realtime_goes_back(
    tmp_path: Path,
) -> None:
    for symbol in SYMBOLS:
        (tmp_path / f"{symbol}.csv").write_text(BARS)
    reported: list[str] = []
    async with chain(tmp_path) as (_, env_file, feedd):
        await set_and_confirm(ROLLBACK, env_file.path, by_url(feedd.url, None, None), 5.0, reported.append)
        assert (await feedd.get_json("/gate?allow=static"))[0] == 200
        await set_and_confirm(REALTIME, env_file.path, by_url(feedd.url, None, None), 5.0, reported.append)
        await feedd.until_open()
        assert (await feedd.get_json("/gate"))[0] == 200


async def test_rollback_without_data_is_not_confirmed_and_says_why(tmp_path: Path) -> None:
    async with chain(tmp_path) as (_, env_file, feedd):
        with pytest.raises(NotConfirmedError, match=r"trading has not resumed: BTCUSDT \(starting"):
            await set_and_confirm(ROLLBACK, env_file.path, by_url(feedd.url, None, None), 1.5, lambda _: None)


async def test_realtime_without_an_exchange_is_not_confirmed(tmp_path: Path) -> None:
    async with chain(tmp_path) as (exchange, env_file, feedd):
        env_file.set(FLAG_REALTIME="0")
        await feedd.until(lambda feedd: not feedd.daemon.state.settings.realtime)
        exchange.set_fault("http", status=503)
        with pytest.raises(NotConfirmedError, match="not connected: BTCUSDT, ETHUSDT"):
            await set_and_confirm(REALTIME, env_file.path, by_url(feedd.url, None, None), 1.5, lambda _: None)


async def test_resume_against_a_kill_switch_in_the_environment_is_not_confirmed(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path, FLAG_TRADING_HALTED="1") as feedd:
            with pytest.raises(NotConfirmedError, match="look at its environment"):
                await set_and_confirm(
                    RESUME, env_file.path, by_url(feedd.url, None, None), 1.0, lambda _: None
                )


async def test_absent_daemon_is_not_confirmed_but_the_flag_is_set(tmp_path: Path) -> None:
    env_file = tmp_path / "feedd.env"
    env_file.write_text("FLAG_REALTIME=1\n")
    with pytest.raises(NotConfirmedError, match=r"FLAG_TRADING_HALTED=1 is set, but .* no daemon answers"):
        await set_and_confirm(HALT, env_file, by_url("http://127.0.0.1:9", None, None), 0.3, lambda _: None)
    assert env_file.read_text() == "FLAG_REALTIME=1\nFLAG_TRADING_HALTED=1\n"


async def test_missing_env_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.env"):
        await set_and_confirm(
            HALT, tmp_path / "none.env", by_url("http://127.0.0.1:9", None, None), 0.3, lambda _: None
        )


def test_flag_is_set_and_everything_else_is_kept(tmp_path: Path) -> None:
    real = tmp_path / "real.env"
    real.write_bytes(b"# desk 7\r\nFLAG_TRADING_HALTED=0 # calm\r\nOTHER=\xff\r\n")
    real.chmod(0o640)
    link = tmp_path / "feedd.env"
    link.symlink_to(real)
    set_flag(link, "FLAG_TRADING_HALTED", "1")
    assert real.read_bytes() == b"# desk 7\r\nFLAG_TRADING_HALTED=1 # calm\r\nOTHER=\xff\r\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["feedd.env", "real.env"]


def test_file_that_can_not_be_written_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / "feedd.env"
    env_file.write_text("FLAG_TRADING_HALTED=0\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        set_flag(env_file, "FLAG_TRADING_HALTED", "1")
    assert env_file.read_text() == "FLAG_TRADING_HALTED=0\n"
    assert [path.name for path in tmp_path.iterdir()] == ["feedd.env"]
