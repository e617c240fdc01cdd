"""The env-file as it changes on a disk: real files, the folder's own news, and a clock that the test sets."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from feedd.config.change_rule import STILL_SECONDS, UNREADABLE_SECONDS, Decision
from feedd.config.watcher import Configuration, EnvFileWatch
from feedd.errors import SettingsError
from feedd.model import ResumePolicy

NEVER = 3600.0
"""Polled so rarely that only the folder's news can wake the watch."""
OLD = b"FEEDD_RESUME=auto\n"
NEW = b"FEEDD_RESUME=manual\n"
HALT = b"FLAG_TRADING_HALTED=1\n"


class Watched:
    """A watch that runs, on a clock that stands still unless the test moves it."""

    def __init__(self, path: Path, poll_seconds: float) -> None:
        self.now = 100.0
        self.watch = EnvFileWatch(
            Configuration(path, {}, {}), path, OLD, lambda: self.now, poll_seconds=poll_seconds
        )
        self.decisions = self.watch.decisions()

    async def until(self, is_wanted: Callable[[Decision], bool]) -> Decision:
        """Return the first decision of that kind; nothing was asked for on the way to it."""
        async for decision, was_asked in self.decisions:
            assert not was_asked
            if is_wanted(decision):
                return decision
        raise AssertionError("the watch ended")

    async def forced(self) -> Decision:
        """Have the file read, and return what came of it."""
        self.watch.force()
        decision, was_asked = await anext(self.decisions)
        assert was_asked
        return decision


@asynccontextmanager
async def watched(path: Path, poll_seconds: float = NEVER) -> AsyncIterator[Watched]:
    watch = Watched(path, poll_seconds)
    await watch.forced()  # after this the folder is watched
    try:
        yield watch
    finally:
        await watch.decisions.aclose()  # type: ignore[attr-defined] # it is an async generator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "feedd.env"
    path.write_bytes(OLD)
    return path


def write(path: Path, raw: bytes = NEW) -> None:
    path.write_bytes(raw)


def remove(path: Path) -> None:
    path.unlink()


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace(path: Path) -> None:
    other = path.with_name("4913.swp")
    other.write_bytes(NEW)
    other.replace(path)


def write_through_a_link(path: Path) -> None:
    path.unlink()
    other = path.with_name("release-2.env")
    other.write_bytes(NEW)
    path.symlink_to(other)


@pytest.mark.parametrize("change", [write, replace, write_through_a_link])
async def test_change_is_seen_when_the_folder_tells_and_applied_once_it_is_still(
    path: Path, change: Callable[[Path], None]
) -> None:
    async with watched(path) as watch:
        change(path)
        assert await watch.until(lambda _: path.read_bytes() == NEW) == Decision()
        watch.now += STILL_SECONDS
        assert await watch.until(lambda decision: decision.apply is not None) == Decision(apply=NEW)


async def test_kill_switch_halts_before_the_file_is_still(path: Path) -> None:
    async with watched(path) as watch:
        write(path, HALT)
        assert (await watch.until(lambda decision: decision.halt)).apply is None


async def test_neighbour_in_the_folder_changes_nothing(path: Path) -> None:
    async with watched(path) as watch:
        write(path.with_name("other.env"), HALT)
        assert await watch.until(lambda _: True) == Decision()


async def test_file_that_is_gone_for_long_is_unreadable_until_it_is_back(path: Path) -> None:
    async with watched(path) as watch:
        remove(path)
        assert await watch.until(lambda _: True) == Decision()
        watch.now += UNREADABLE_SECONDS
        assert await watch.until(lambda decision: decision.unreadable) == Decision(unreadable=True)
        write(path, OLD)
        assert await watch.until(lambda decision: not decision.unreadable) == Decision()


async def test_file_that_nobody_may_read_is_unreadable(path: Path) -> None:
    put_a_folder(path)
    async with watched(path) as watch:
        watch.now += UNREADABLE_SECONDS
        assert (await watch.until(lambda decision: decision.unreadable)).apply is None


async def test_forced_reading_applies_what_has_not_changed(path: Path) -> None:
    async with watched(path) as watch:
        assert await watch.forced() == Decision(apply=OLD)


async def test_forced_reading_does_not_wait_for_the_file_to_be_still(path: Path) -> None:
    async with watched(path) as watch:
        write(path)
        assert await watch.forced() == Decision(apply=NEW)


async def test_file_is_polled_where_the_folder_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("feedd"), "propagate", True)
    path = tmp_path / "mounted later" / "feedd.env"
    async with watched(path, poll_seconds=0.001) as watch:
        assert "the env-file's folder can't be watched; the file is read twice a second" in caplog.messages
        path.parent.mkdir()
        write(path)
        await watch.until(lambda _: path.exists())
        watch.now += STILL_SECONDS
        assert await watch.until(lambda decision: decision.apply is not None) == Decision(apply=NEW)


async def test_file_is_read_between_the_folders_news_as_well(path: Path) -> None:
    async with watched(path, poll_seconds=0.001) as watch:
        os.utime(path.parent)
        assert await watch.until(lambda _: True) == Decision()
        assert await watch.until(lambda _: True) == Decision()


async def test_nothing_runs_on_when_the_watch_ends(path: Path) -> None:
    async with watched(path):
        assert len(asyncio.all_tasks()) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_configuration_is_loaded_with_the_content_it_came_from(path: Path) -> None:
    configuration = Configuration(path, {"FEEDD_RESUME": "manual"}, {"FEEDD_REDUNDANCY": "2"})
    found, raw = configuration.load()
    assert raw == OLD
    assert (found.settings.resume, found.settings.redundancy) == (ResumePolicy.AUTO, 2)
    assert found.origins["FEEDD_RESUME"] == f"{path}:1"


def test_another_content_is_resolved_as_the_files(path: Path) -> None:
    found = Configuration(path, {}, {}).resolve(NEW)
    assert found.settings.resume is ResumePolicy.MANUAL
    assert found.origins["FEEDD_RESUME"] == f"{path}:1"


def test_configuration_without_a_file_holds_the_environment() -> None:
    found, raw = Configuration(None, {"FEEDD_RESUME": "manual"}, {}).load()
    assert raw == b""
    assert found.settings.resume is ResumePolicy.MANUAL


def test_configuration_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        Configuration(tmp_path / "none.env", {}, {}).load()


def test_watch_resolves_what_it_was_given(path: Path) -> None:
    watch = EnvFileWatch(Configuration(path, {}, {"FEEDD_REDUNDANCY": "2"}), path, OLD)
    assert watch.resolve(NEW).settings.redundancy == 2
