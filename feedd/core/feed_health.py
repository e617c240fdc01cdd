"""What a person is told of a feed in one word, and why. Times are monotonic seconds."""

from __future__ import annotations

from typing import Final

from feedd.core.symbol_state import SymbolState
from feedd.model import FeedHealth, Reason

QUIET_GAPS: Final = 10.0
QUIET_SECONDS: Final = 1.0
"""Silence is worth a word when it is longer than this, and than ten usual gaps."""


def standing(symbol_state: SymbolState, now: float) -> tuple[FeedHealth, str]:
    """Return how the feed stands, and what that is taken from."""
    age, limit = symbol_state.age(now), symbol_state.stale_after
    if symbol_state.is_live and not symbol_state.is_connected:
        return FeedHealth.DOWN, f"no connection, next attempt in {symbol_state.backoff_seconds:.0f} s"
    silence = f"no message for {age:.1f} s"
    if Reason.STALE in symbol_state.gate.causes:
        return FeedHealth.STALE, f"{silence}, the limit is {limit:g} s"
    if symbol_state.is_live and age >= limit / 2.0:
        return FeedHealth.SUSPECT, f"{silence}, half the limit of {limit:g} s"
    usual = symbol_state.mean_interval
    if usual is not None and age > max(QUIET_SECONDS, QUIET_GAPS * usual):
        return FeedHealth.QUIET, f"{silence}, usually one every {usual:.2g} s"
    mute = [
        stream_state.stream.name
        for stream_state in symbol_state.streams.values()
        if stream_state.mute_detector.is_mute
    ]
    return FeedHealth.LIVE, f"mute: {', '.join(mute)}" if mute else ""
