"""The timers that a piece of code arms, for a test to fire: no test waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True)
class Armed:
    """One call of `call_later`."""

    delay: float
    callback: Callable[..., object]
    arguments: tuple[Any, ...]
    handle: asyncio.TimerHandle

    def fire(self) -> None:
        """Do what the loop would do when the time has come."""
        if not self.handle.cancelled():
            self.callback(*self.arguments)


class Timers:
    """What is armed on the running loop, which never fires any of it by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self.armed: list[Armed] = []
        monkeypatch.setattr(self._loop, "call_later", self._arm)

    def _arm(
        self, delay: float, callback: Callable[..., object], *arguments: Any, context: object = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self._loop.time() + delay, callback, arguments, self._loop)
        self.armed.append(Armed(delay, callback, arguments, handle))
        return handle

    @property
    def waiting(self) -> list[Armed]:
        """Those that nobody has cancelled."""
        return [each for each in self.armed if not each.handle.cancelled()]
