"""The rules that a consumer's connection has to keep, as Binance makes its clients keep them.

Source: Binance spot docs, web-socket-streams.md, "General WSS information" and "Websocket Limits". Times are
monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientRules:
    """What a consumer has to keep to."""

    messages_per_second: int = 5
    """Pings and pongs count as well as requests."""
    ping_seconds: float = 20.0
    """How often it is pinged."""
    pong_seconds: float = 60.0
    """How long a ping may stay without its answer."""


class ClientLimits:
    """How fast one consumer speaks, and whether it answers pings."""

    def __init__(self, rules: ClientRules) -> None:
        self._rules = rules
        self._heard: deque[float] = deque(maxlen=rules.messages_per_second)
        self._unanswered: dict[bytes, float] = {}

    def may_speak(self, now: float) -> bool:
        """Count a message from the consumer; False if it is one too many within a second."""
        is_full = len(self._heard) == self._rules.messages_per_second and self._heard[0] > now - 1.0
        self._heard.append(now)
        return not is_full

    def pinged(self, payload: bytes, now: float) -> None:
        """Note a ping that was sent."""
        self._unanswered[payload] = now

    def ponged(self, payload: bytes) -> None:
        """Note a pong: one that copies a ping's payload answers it, and all that were sent before it."""
        if payload in self._unanswered:
            sent_at = self._unanswered[payload]
            self._unanswered = {ping: at for ping, at in self._unanswered.items() if at > sent_at}

    def is_silent(self, now: float) -> bool:
        """Say whether a ping has been without an answer for too long."""
        return any(now - sent_at >= self._rules.pong_seconds for sent_at in self._unanswered.values())
