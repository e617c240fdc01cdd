"""What happens when the env-file changes: the flags at once, the settings if all of them are right.

The kill switch counts even in a file with mistakes, and a file that can't be read halts as well. What the
daemon has to do for it stands behind `Reloadable`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from feedd.config.change_rule import Decision
from feedd.config.describe import SettingChange, differences
from feedd.config.env_file import kill_switch_in
from feedd.config.resolve import Resolved
from feedd.config.settings import Settings
from feedd.config.watcher import EnvFileWatch
from feedd.core.daemon_state import DaemonState
from feedd.errors import SettingsError
from feedd.logs import fields

log = logging.getLogger(__name__)


class Reloadable(Protocol):
    """What a reload acts on: the daemon."""

    async def apply_settings(self, new: Settings) -> None:
        """Make every part follow these settings."""

    def reload_web_config(self) -> None:
        """Read the web config and its certificates again."""

    @property
    def is_web_config_valid(self) -> bool:
        """Whether the web config that was read last could be used."""

    def emit_changes(self) -> None:
        """Announce what has changed at any gate."""

    def reloaded(self) -> None:
        """Take note that a reload that was asked for is complete."""


class ConfigReloader:
    """Carries out what the env-file says while the daemon runs."""

    def __init__(
        self,
        state: DaemonState,
        watch: EnvFileWatch | None,
        target: Reloadable,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; without a `watch` there is no env-file, and settings never change."""
        self._state = state
        self._watch = watch
        self._target = target
        self._monotonic = monotonic

    async def run(self) -> None:
        """Follow the env-file until cancelled; ends at once where there is none."""
        if self._watch is None:
            return
        async for decision, was_asked in self._watch.decisions():
            await self.carry_out(decision, was_asked)

    def force(self) -> None:
        """Have everything read anew now, and latched halts let go: what an operator asks for by SIGHUP."""
        if self._watch is not None:
            self._watch.force()
            return
        log.warning("there is no env-file to read; it was not given at the start")
        self._target.reload_web_config()
        self._state.note_reload(self._target.is_web_config_valid)
        self._finish()

    async def carry_out(self, decision: Decision, was_asked: bool) -> None:
        """Do what was decided about a content of the env-file."""
        self._act_on_flags(decision)
        before = self._state.settings.web_config
        if decision.apply is not None:
            await self._apply(decision.apply)
        is_other_file = before != self._state.settings.web_config
        if was_asked and not is_other_file:
            # Certificates are renewed under the same name.
            self._target.reload_web_config()
        if (was_asked or is_other_file) and not self._target.is_web_config_valid:
            self._state.reload_failed()
        if was_asked:
            self._finish()

    def _act_on_flags(self, decision: Decision) -> None:
        now = self._monotonic()
        if decision.halt and not self._state.kill_switch:
            log.warning("the kill switch stands in the env-file: trading is halted in every symbol")
            self._state.set_kill_switch(True, now)
        if decision.unreadable != self._state.flags_unreadable:
            path = None if self._watch is None else self._watch.path
            if decision.unreadable:
                log.error(
                    "the env-file can't be read: trading is halted in every symbol", extra=fields(path=path)
                )
            else:
                log.info("the env-file can be read again", extra=fields(path=path))
            self._state.set_flags_unreadable(decision.unreadable, now)
        self._target.emit_changes()

    async def _apply(self, raw: bytes) -> None:
        """Use a content of the env-file; of one with mistakes only a kill switch counts."""
        assert self._watch is not None
        try:
            resolved = self._watch.resolve(raw)
        except SettingsError as error:
            self._state.reload_failed()
            for problem in error.problems:
                log.error("the env-file is wrong; the last good settings stay", extra=fields(problem=problem))
            self._act_on_flags(Decision(halt=kill_switch_in(raw)))
            return
        changes = differences(self._state.settings, resolved.settings)
        for change in changes:
            _log_change(change)
        log_findings(resolved)
        await self._target.apply_settings(resolved.settings)
        log.info("env-file read", extra=fields(changes=len(changes)))
        self._state.reload_succeeded(self._monotonic())

    def _finish(self) -> None:
        for symbol, reasons in self._state.rearm(self._monotonic()).items():
            log.warning(
                "a latched halt can't be lifted while its causes last",
                extra=fields(symbol=symbol, reasons=reasons),
            )
        self._target.emit_changes()
        self._target.reloaded()


def log_findings(resolved: Resolved) -> None:
    """Log what an operator must see of how the settings came about."""
    for finding in (*resolved.warnings, *resolved.conflicts):
        log.warning("%s", finding)


def _log_change(change: SettingChange) -> None:
    if change.is_live:
        log.info("setting changed", extra=fields(key=change.key, old=change.old, new=change.new))
    else:
        log.warning(
            "setting needs a restart to change",
            extra=fields(key=change.key, old=change.old, new=change.new),
        )
