"""What a person is told of a feed in one word, and why. Times are monotonic seconds."""

from __future__ import annotations

from typing import Final

from feedd.core.symbol_state import Session
from feedd.model import Reason, Standing

QUIET_GAPS: Final = 10.0
QUIET_SECONDS: Final = 1.0
"""Silence is worth a word when it is longer than this, and than ten usual gaps."""


def standing(session: Session, now: float) -> tuple[Standing, str]:
    """Return how the feed stands, and what that is taken from."""
    age, limit = session.freshness.age(now), session.freshness.limit
    if session.is_live and not session.is_connected:
        return Standing.DOWN, f"no connection, next attempt in {session.backoff_seconds:.0f} s"
    silence = f"no message for {age:.1f} s"
    if Reason.STALE in session.gate.causes:
        return Standing.STALE, f"{silence}, the limit is {limit:g} s"
    if session.is_live and age >= limit / 2.0:
        return Standing.SUSPECT, f"{silence}, half the limit of {limit:g} s"
    usual = session.usual_gap
    if usual is not None and age > max(QUIET_SECONDS, QUIET_GAPS * usual):
        return Standing.QUIET, f"{silence}, usually one every {usual:.2g} s"
    mute = [lane.stream.name for lane in session.lanes.values() if lane.rhythm.is_mute]
    return Standing.LIVE, f"mute: {', '.join(mute)}" if mute else ""
