"""The limits that the exchange enforces on its clients. Pure; times are seconds.

The rules decide; whoever holds the socket acts on the decision. Binance spot docs: web-socket-streams.md,
General and Limits; rest-api.md, IP Limits.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from feedd.exchange.settings import ExchangeSettings


class Action(StrEnum):
    """What is to be done to a connection because of its age."""

    PING = "ping"
    NOTICE = "notice"
    """Send the notice that the connection will end."""
    PONG_TIMEOUT = "pong_timeout"
    LIFETIME = "lifetime"


class ConnectionRules:
    """One connection's inbound rate limit, pings, pong deadline and lifetime."""

    def __init__(self, settings: ExchangeSettings, opened: float) -> None:
        self._settings = settings
        self._inbound: deque[float] = deque()
        self._next_ping = opened + settings.ping_interval
        self._unanswered: dict[bytes, float] = {}
        self._end = opened + settings.lifetime
        self._notice = math.inf if settings.shutdown_notice is None else self._end - settings.shutdown_notice

    def admit_inbound(self, now: float) -> bool:
        """Count one frame from the client, be it ping, pong or text; False if it is one too many."""
        while self._inbound and self._inbound[0] <= now - 1.0:
            self._inbound.popleft()
        self._inbound.append(now)
        return len(self._inbound) <= self._settings.inbound_per_second

    def note_ping(self, payload: bytes, now: float) -> None:
        """Note that a ping went out."""
        self._unanswered[payload] = now
        self._next_ping = now + self._settings.ping_interval

    def accept_pong(self, payload: bytes) -> bool:
        """Count a pong; False if it copies no ping. It answers the ping it copies and all pings before it."""
        if payload not in self._unanswered:
            return False
        for each in list(self._unanswered):
            del self._unanswered[each]
            if each == payload:
                break
        return True

    @property
    def due(self) -> float:
        """When `next_action` next returns an action."""
        return min(self._next_ping, self._pong_due, self._notice, self._end)

    def next_action(self, now: float) -> Action | None:
        """Return an action that is due; to be called again until it returns None."""
        if now >= self._notice:
            self._notice = math.inf
            return Action.NOTICE
        if now >= self._end:
            return Action.LIFETIME
        if now >= self._pong_due:
            return Action.PONG_TIMEOUT
        if now >= self._next_ping:
            return Action.PING
        return None

    @property
    def _pong_due(self) -> float:
        oldest = next(iter(self._unanswered.values()), math.inf)
        return oldest + self._settings.pong_deadline


class ConnectLimit:
    """The limit of handshakes by one address in a time window. Refused attempts count too."""

    def __init__(self, attempts: int, window: float) -> None:
        self._attempts = attempts
        self._window = window
        self._by_address: dict[str, deque[float]] = {}

    def attempt(self, address: str, now: float) -> int | None:
        """Count an attempt; return None if it is allowed, else the seconds to wait."""
        self._forget(now)
        times = self._by_address.setdefault(address, deque(maxlen=self._attempts))
        is_full = len(times) == self._attempts and times[0] > now - self._window
        wait = math.ceil(times[0] + self._window - now) if is_full else None
        times.append(now)
        return wait

    def _forget(self, now: float) -> None:
        for address in [each for each, times in self._by_address.items() if times[-1] <= now - self._window]:
            del self._by_address[address]


@dataclass(frozen=True, slots=True)
class WeightUsage:
    """The weight that an address has used in its minute."""

    used: int
    retry_after: int | None
    """Seconds to wait if that exceeds the limit, else None."""


class WeightLimit:
    """The request weight that one address may use in a clock minute (UTC)."""

    def __init__(self, weight: int) -> None:
        self._weight = weight
        self._minute = 0
        self._used: dict[str, int] = {}

    def spend(self, address: str, weight: int, wall: float) -> WeightUsage:
        """Count a request, also one that is refused."""
        minute = int(wall // 60)
        if minute != self._minute:
            self._minute = minute
            self._used.clear()
        used = self._used[address] = self._used.get(address, 0) + weight
        is_over = used > self._weight
        return WeightUsage(used, max(1, math.ceil((minute + 1) * 60 - wall)) if is_over else None)
