"""What an operator can decide, as frozen values: `resolve` makes them, everything else reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from feedd.model import Listen, LogFormat, LogLevel, ResumePolicy, RotateWindow, VenueName

_LOOPBACK = Listen("127.0.0.1", 9745)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can decide, checked. The defaults are the documented ones."""

    realtime: bool = False
    """True: live Binance feed. False: static CSV data, which never passes for live."""
    trading_halted: bool = False
    """The kill switch."""
    symbols: tuple[str, ...] = ("BTCUSDT",)
    """Upper case, at least one, no duplicates."""
    venue: VenueName = VenueName.BINANCE_SPOT
    ws_urls: tuple[str, ...] = ()
    """`ws(s)://host[:port]`, several for the same streams, or none for the venue's own."""
    rest_url: str | None = None
    """`http(s)://host[:port]`, or None for the venue's own."""
    streams: tuple[str, ...] = ("trade", "bookTicker", "kline_1s")
    """Names without the symbol, at least one, no duplicates."""
    listen: Listen = _LOOPBACK
    stale_after_seconds: float = 10.0
    stale_after_by_symbol: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Only the symbols that differ from `stale_after_seconds`; read it through `stale_after`."""
    latency_limit_seconds: float = 1.0
    resume_after_seconds: float = 5.0
    resume: ResumePolicy = ResumePolicy.AUTO
    csv_path: Path | None = None
    csv_minutes: float = 15.0
    csv_speed: float = 1.0
    """How many times faster than recorded; 0 means as fast as it reads."""
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.TEXT
    connect_budget: int = 240
    """Connection attempts per 5 minutes for the whole process, at most 300."""
    rotate_after_hours: float = 23.0
    rotate_window: RotateWindow | None = None
    """None: planned renewals may happen at any time of day."""
    redundancy: int = 1
    """Connections per symbol, 1 or 2."""
    symbols_per_connection: int = 1
    exchange_status_seconds: float = 30.0
    backfill: bool = False
    alertmanager_url: str | None = None
    """`http(s)://host[:port][/prefix]` without a slash at the end, or None."""
    runbook_url: str = "https://feedd.example/runbook.md"
    """As in alerts/feedd.rules.yaml, and nobody's."""
    web_config: Path | None = None
    consumers_max: int = 1000
    consumer_queue_bytes: int = 1_048_576
    consumer_queue_messages: int = 10_000

    def stale_after(self, symbol: str) -> float:
        """Return after how many seconds without market data `symbol` counts as stale."""
        return self.stale_after_by_symbol.get(symbol, self.stale_after_seconds)
