"""When a change of the env-file acts.

A kill switch acts at first sight, wherever it stands in the file. Everything else acts once the content has
been still for a while, so that a half-saved file changes nothing. A file that can't be read for a second
halts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from feedd.config.env_file import is_legible, kill_switch_in

STILL_SECONDS: Final = 0.2
"""Editors write a file in one go or replace it; what is slower than this is a person."""
UNREADABLE_SECONDS: Final = 1.0
"""A replaced file may be gone for a moment; longer than this nobody knows what it would say."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now."""

    halt: bool = False
    """A kill switch stands in the file: halt at once."""
    apply: bytes | None = None
    """A content that has come to rest, and is to be used."""
    unreadable: bool = False
    """The file has been unreadable for too long."""


@dataclass(slots=True)
class ChangeRule:
    """What was seen of the env-file. All times are monotonic seconds."""

    applied: bytes
    """The content that is in use, or was found to be wrong."""
    _seen: bytes = field(init=False)
    _changed_at: float = 0.0
    _unreadable_since: float | None = None
    _has_halted: bool = False
    """A halt at first sight is outstanding: even the old content must then be used anew to lift it."""

    def __post_init__(self) -> None:
        self._seen = self.applied

    def observe(self, raw: bytes | None, now: float) -> Decision:
        """Judge what the file holds now; None where it could not be read at all."""
        if raw is None or not is_legible(raw):
            return self._observe_unreadable(raw, now)
        if raw != self._seen or self._unreadable_since is not None:
            self._seen = raw
            self._changed_at = now
            self._unreadable_since = None
        if not self._is_news:
            return Decision()
        if now >= self._changed_at + STILL_SECONDS:
            return self._use(raw)
        return Decision(halt=self._halts(raw))

    def force(self, raw: bytes | None, now: float) -> Decision:
        """Judge the file when an operator asks for it: at once, and also where nothing has changed."""
        if raw is None or not is_legible(raw):
            return self._observe_unreadable(raw, now)
        self._unreadable_since = None
        return self._use(raw)

    def next_due(self, now: float) -> float | None:
        """Return in how many seconds time alone may change the verdict; None while it can't."""
        if self._unreadable_since is not None:
            due = self._unreadable_since + UNREADABLE_SECONDS
        elif self._is_news:
            due = self._changed_at + STILL_SECONDS
        else:
            return None
        return max(0.0, due - now)

    @property
    def _is_news(self) -> bool:
        return self._has_halted or self._seen != self.applied

    def _use(self, raw: bytes) -> Decision:
        self.applied = self._seen = raw
        self._has_halted = False
        return Decision(apply=raw)

    def _halts(self, raw: bytes) -> bool:
        halts = kill_switch_in(raw, half_saved=True)
        self._has_halted |= halts
        return halts

    def _observe_unreadable(self, raw: bytes | None, now: float) -> Decision:
        if self._unreadable_since is None:
            self._unreadable_since = now
        return Decision(
            halt=raw is not None and self._halts(raw),
            unreadable=now >= self._unreadable_since + UNREADABLE_SECONDS,
        )
