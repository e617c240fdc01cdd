"""An exchange and a daemon of a drill's own, for a drill that is not against a running daemon.

They run on free loopback ports with thresholds so short that the whole list takes less than a minute, and
with an env-file that may be edited.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from feedd.config.watcher import Configuration
from feedd.daemon import Daemon
from feedd.exchange import Exchange, ExchangeSettings

SYMBOLS: Final = tuple(
    f"{base}USDT"
    for base in (
        "BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "TRX", "AVAX",
        "LINK", "DOT", "LTC", "UNI", "ATOM", "NEAR", "APT", "ARB",
    )
)  # fmt: skip
"""One for each case that runs at the same time, so that pauses before reconnecting stay short, and one to
which nothing is done."""

EXCHANGE: Final = ExchangeSettings(symbols=SYMBOLS, rate=30.0, ping_interval=1.0, pong_deadline=5.0)
"""It pings every second: a daemon that did not answer would lose every connection."""

THRESHOLDS: Final = {
    "FEEDD_STALE_AFTER_SECONDS": "2",
    "FEEDD_LATENCY_LIMIT_SECONDS": "0.7",
    "FEEDD_RESUME_AFTER_SECONDS": "0.4",
    "FEEDD_EXCHANGE_STATUS_SECONDS": "0.5",
}


@dataclass(frozen=True, slots=True)
class DrillSandbox:
    """A daemon that may be broken in every way."""

    url: str
    env_file: Path


@asynccontextmanager
async def open_sandbox() -> AsyncIterator[DrillSandbox]:
    """Run an exchange and a daemon that watches it."""
    with TemporaryDirectory(prefix="feedd-drill-") as folder:
        env_file = Path(folder) / "feedd.env"
        async with Exchange(EXCHANGE) as exchange:
            _write_env_file(env_file, exchange)
            configuration = Configuration(env_file, {}, {})
            resolved, raw = configuration.load()
            daemon = Daemon(resolved.settings, configuration=configuration, env_file=raw)
            stop = asyncio.Event()
            running = asyncio.create_task(daemon.run(stop))
            try:
                yield DrillSandbox(f"http://{await daemon.listening()}", env_file)
            finally:
                stop.set()
                await running


def _write_env_file(path: Path, exchange: Exchange) -> None:
    keys = {
        "FLAG_REALTIME": "1",
        "FEEDD_LISTEN": "127.0.0.1:0",
        "FEEDD_SYMBOLS": ",".join(SYMBOLS),
        "FEEDD_WS_URL": exchange.ws_url,
        "FEEDD_REST_URL": exchange.rest_url,
        **THRESHOLDS,
    }
    path.write_text("".join(f"{key}={value}\n" for key, value in keys.items()), "utf-8")
