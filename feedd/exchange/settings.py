"""The settings of an embedded exchange. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from feedd.errors import Problem, SettingsError

RATE_MAX = 2000.0


@dataclass(frozen=True)
class ExchangeSettings:
    """The market's settings, and the rules that the exchange enforces on its clients.

    The rules' defaults are those of Binance spot (docs: web-socket-streams.md, General and Limits).

    Raises:
        SettingsError: a value that no exchange could run with.
    """

    symbols: tuple[str, ...] = ("BTCUSDT",)
    """In capitals. A replay brings its own symbols and ignores these."""
    seed: int = 1
    rate: float = 10.0
    """Trades a second and symbol; 0 is a symbol that nobody trades."""
    speed: float = 1.0
    """Market: multiplies the rate. Replay: 2.0 is twice as fast, 0 as fast as the clients read."""
    replay: Path | None = None
    ping_interval: float = 20.0
    pong_deadline: float = 60.0
    lifetime: float = 86400.0
    shutdown_notice: float | None = None
    """Seconds before a connection's lifetime ends at which `serverShutdown` is sent; None sends none."""
    inbound_per_second: int = 5
    streams_max: int = 1024
    connects_max: int = 300
    connects_window: float = 300.0
    weight_per_minute: int = 6000
    buffer_max: int = 16 * 1024 * 1024
    """Bytes that a client may leave unread before it is cut."""

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise SettingsError(problems)

    def _problems(self) -> Iterator[Problem]:
        for symbol in self.symbols:
            if not symbol or symbol != symbol.upper() or any(mark in symbol for mark in "@/! \t\n"):
                yield _problem("symbols", symbol, "names in capitals without spaces, '@', '/' or '!'")
        if not self.symbols or len(set(self.symbols)) != len(self.symbols):
            yield _problem("symbols", ",".join(self.symbols), "at least one symbol, each named once")
        if not 0 <= self.rate <= RATE_MAX:
            yield _problem("rate", self.rate, f"0 to {RATE_MAX:g} trades a second")
        if self.speed < 0 or (self.speed == 0 and self.replay is None):
            yield _problem("speed", self.speed, "more than 0, or 0 for a replay as fast as it goes")
        elif self.replay is None and self.rate <= RATE_MAX < self.rate_in_effect:
            yield _problem("speed", self.speed, f"rate times speed of at most {RATE_MAX:g} trades a second")
        for key in ("ping_interval", "pong_deadline", "lifetime", "connects_window"):
            if getattr(self, key) <= 0:
                yield _problem(key, getattr(self, key), "more than 0 seconds")
        for key in ("inbound_per_second", "streams_max", "connects_max", "weight_per_minute", "buffer_max"):
            if getattr(self, key) < 1:
                yield _problem(key, getattr(self, key), "1 or more")
        if self.shutdown_notice is not None and not 0 <= self.shutdown_notice < self.lifetime:
            yield _problem("shutdown_notice", self.shutdown_notice, "0 or more, and less than the lifetime")

    @property
    def is_unpaced(self) -> bool:
        """Whether a recording is sent as fast as the clients read."""
        return self.replay is not None and self.speed == 0

    @property
    def rate_in_effect(self) -> float:
        """Trades a second and symbol once the speed is counted in."""
        return self.rate * self.speed


def _problem(key: str, found: object, expected: str) -> Problem:
    return Problem(place="exchange", key=key, found=str(found), expected=expected)
