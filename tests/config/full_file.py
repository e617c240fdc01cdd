"""An env-file with every key, what it means, and the way from a text to settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from feedd.config.env_file import parse_env_file
from feedd.config.resolve import Resolved, resolve
from feedd.config.settings import Settings
from feedd.model import Listen, LogFormat, LogLevel, ResumePolicy, RotateWindow, VenueName

NAME = "/etc/feedd/feedd.env"

FULL = """\
# a comment
FLAG_REALTIME=yes
export FLAG_TRADING_HALTED=off   # not today

FEEDD_SYMBOLS=btcusdt, ETHUSDT
FEEDD_VENUE='binance-spot-demo'
FEEDD_WS_URL=ws://127.0.0.1:9000
FEEDD_REST_URL="http://127.0.0.1:9001"
FEEDD_STREAMS=trade,depth@100ms
FEEDD_LISTEN=0.0.0.0:9746
FEEDD_STALE_AFTER_SECONDS=20
FEEDD_STALE_AFTER_SECONDS_ethusdt=2.5
FEEDD_LATENCY_LIMIT_SECONDS=0.25
FEEDD_RESUME_AFTER_SECONDS=6
FEEDD_RESUME=manual
FEEDD_CSV_PATH=/data/my csv
FEEDD_CSV_MINUTES=30
FEEDD_CSV_SPEED=0
FEEDD_LOG_LEVEL=warning
FEEDD_LOG_FORMAT=json
FEEDD_CONNECT_BUDGET=120
FEEDD_ROTATE_AFTER_HOURS=12.5
FEEDD_ROTATE_WINDOW=23:00-01:00
FEEDD_REDUNDANCY=2
FEEDD_SYMBOLS_PER_CONNECTION=4
FEEDD_EXCHANGE_STATUS_SECONDS=15
FEEDD_BACKFILL=on
FEEDD_ALERTMANAGER_URL=http://127.0.0.1:9093/
FEEDD_RUNBOOK_URL=https://wiki/feedd
FEEDD_WEB_CONFIG=/etc/feedd/web.yml
FEEDD_CONSUMERS_MAX=10
FEEDD_CONSUMER_QUEUE_BYTES=65536
FEEDD_CONSUMER_QUEUE_MESSAGES=500
"""

FULL_SETTINGS = Settings(
    realtime=True,
    trading_halted=False,
    symbols=("BTCUSDT", "ETHUSDT"),
    venue=VenueName.BINANCE_SPOT_DEMO,
    ws_urls=("ws://127.0.0.1:9000",),
    rest_url="http://127.0.0.1:9001",
    streams=("trade", "depth@100ms"),
    listen=Listen("0.0.0.0", 9746),
    stale_after_seconds=20,
    stale_after_by_symbol={"ETHUSDT": 2.5},
    latency_limit_seconds=0.25,
    resume_after_seconds=6,
    resume=ResumePolicy.MANUAL,
    csv_path=Path("/data/my csv"),
    csv_minutes=30,
    csv_speed=0,
    log_level=LogLevel.WARNING,
    log_format=LogFormat.JSON,
    connect_budget=120,
    rotate_after_hours=12.5,
    rotate_window=RotateWindow(23 * 60, 60),
    redundancy=2,
    symbols_per_connection=4,
    exchange_status_seconds=15,
    backfill=True,
    alertmanager_url="http://127.0.0.1:9093",
    runbook_url="https://wiki/feedd",
    web_config=Path("/etc/feedd/web.yml"),
    consumers_max=10,
    consumer_queue_bytes=65_536,
    consumer_queue_messages=500,
)


def resolved(
    text: str | bytes = "",
    environ: Mapping[str, str] = MappingProxyType({}),
    arguments: Mapping[str, str] = MappingProxyType({}),
) -> Resolved:
    raw = text if isinstance(text, bytes) else text.encode()
    return resolve(parse_env_file(raw, NAME), environ, arguments)


def settings(text: str | bytes, **environ: str) -> Settings:
    return resolved(text, environ).settings
