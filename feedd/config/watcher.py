"""The env-file as it changes: what it says now, and when to look again.

The folder is watched, not the file, because editors replace files. Twice a second the file is read all the
same: some file systems tell nobody of a change, and a kill switch must not depend on being told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from asyncinotify import Inotify, Mask

from feedd.config.change_rule import ChangeRule, Decision
from feedd.config.env_file import parse_env_file
from feedd.config.resolve import Resolved, read_env_file, resolve
from feedd.logs import fields

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
_NEWS = (
    Mask.CLOSE_WRITE | Mask.MODIFY | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.CREATE | Mask.DELETE | Mask.ATTRIB
)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where a daemon's settings come from."""

    path: Path | None
    environ: Mapping[str, str]
    arguments: Mapping[str, str]

    def load(self) -> tuple[Resolved, bytes]:
        """Read and resolve. Raises SettingsError, also for a file that can't be read."""
        raw = b"" if self.path is None else read_env_file(self.path)
        return self.resolve(raw), raw

    def resolve(self, raw: bytes) -> Resolved:
        """Resolve with that content of the file. Raises SettingsError."""
        file = None if self.path is None else parse_env_file(raw, str(self.path))
        return resolve(file, self.environ, self.arguments)


class EnvFileWatch:
    """Looks at one env-file, and yields a decision whenever there may be something to do."""

    def __init__(
        self,
        configuration: Configuration,
        path: Path,
        raw: bytes,
        monotonic: Callable[[], float] = time.monotonic,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Watch the configuration's file at `path`, whose content `raw` is in use."""
        self.path = path
        self._configuration = configuration
        self._rule = ChangeRule(raw)
        self._monotonic = monotonic
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._is_asked = False

    def resolve(self, raw: bytes) -> Resolved:
        """Resolve the settings with that content of the file. Raises SettingsError."""
        return self._configuration.resolve(raw)

    def force(self) -> None:
        """Have the file read now, whether or not it has changed."""
        self._is_asked = True
        self._wake.set()

    async def decisions(self) -> AsyncIterator[tuple[Decision, bool]]:
        """Yield what to do, for ever, and whether it was asked for."""
        watching = asyncio.create_task(self._watch_folder())
        try:
            while True:
                await self._pause()
                raw = await asyncio.to_thread(self._read)
                asked, self._is_asked = self._is_asked, False
                judge = self._rule.force if asked else self._rule.observe
                yield judge(raw, self._monotonic()), asked
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _pause(self) -> None:
        due = self._rule.next_due(self._monotonic())
        try:
            async with asyncio.timeout(self._poll_seconds if due is None else min(due, self._poll_seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except OSError:
            return None

    async def _watch_folder(self) -> None:
        try:
            with Inotify() as inotify:
                inotify.add_watch(self.path.parent, _NEWS)
                async for _ in inotify:
                    self._wake.set()
        except OSError as error:
            log.warning(
                "the env-file's folder can't be watched; the file is read twice a second",
                extra=fields(folder=self.path.parent, error=error),
            )
