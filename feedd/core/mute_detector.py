"""How often a stream usually speaks, and whether it has gone mute while its siblings speak.

Learned from looks at its count, now and then, so that a message costs nothing. Times are monotonic seconds.
"""

from __future__ import annotations

from typing import Final

MUTE_GAPS: Final = 20.0
"""Silence of this many usual gaps is not a stream's own quiet any more."""
FIRST_WORD_SECONDS: Final = 60.0
"""A stream that has not said a word for so long while its siblings speak may never do."""
_WEIGHT = 0.1


class MuteDetector:
    """The rhythm of one stream."""

    __slots__ = ("_looked_at", "_messages", "is_mute", "mean_interval", "mutes")

    def __init__(self) -> None:
        self.mean_interval: float | None = None
        """Mean seconds between two messages, the newest ones counting most; None before it is known."""
        self.is_mute = False
        self.mutes = 0
        """How often it went mute."""
        self._messages = 0
        self._looked_at: float | None = None

    def observe(self, messages: int, now: float) -> None:
        """Learn from the count of messages so far."""
        if self._looked_at is None:
            self._messages, self._looked_at = messages, now
            return
        if messages > self._messages and now > self._looked_at:
            gap = (now - self._looked_at) / (messages - self._messages)
            usual = gap if self.mean_interval is None else self.mean_interval
            self.mean_interval = usual + (gap - usual) * _WEIGHT
            self._messages, self._looked_at = messages, now

    def judge(self, silent_for: float, has_spoken: bool, siblings_speak: bool, stale_after: float) -> bool:
        """Decide whether the stream is mute. Returns whether that has changed."""
        was_mute = self.is_mute
        self.is_mute = siblings_speak and silent_for >= self._patience(has_spoken, stale_after)
        self.mutes += self.is_mute and not was_mute
        return self.is_mute != was_mute

    def forget(self) -> None:
        """Begin anew with another source; the count stays."""
        self.mean_interval = self._looked_at = None
        self.is_mute = False

    def _patience(self, has_spoken: bool, stale_after: float) -> float:
        if not has_spoken:
            return max(stale_after, FIRST_WORD_SECONDS)
        return max(stale_after, MUTE_GAPS * (self.mean_interval or 0.0))
