"""The settings as values: their documented defaults, and that nobody changes them."""

from __future__ import annotations

import dataclasses

import pytest

from feedd.config.keys import KEYS
from feedd.config.settings import Settings
from feedd.model import Listen, LogFormat, LogLevel, ResumePolicy, VenueName
from tests.config.full_file import FULL_SETTINGS


def test_table_covers_exactly_the_fields_of_settings() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert [key.field for key in KEYS] == fields
    assert len({key.name for key in KEYS}) == len(KEYS)


def test_defaults_are_the_documented_ones() -> None:
    assert Settings() == Settings(
        realtime=False,
        trading_halted=False,
        symbols=("BTCUSDT",),
        venue=VenueName.BINANCE_SPOT,
        ws_urls=(),
        rest_url=None,
        streams=("trade", "bookTicker", "kline_1s"),
        listen=Listen("127.0.0.1", 9745),
        stale_after_seconds=10,
        stale_after_by_symbol={},
        latency_limit_seconds=1,
        resume_after_seconds=5,
        resume=ResumePolicy.AUTO,
        csv_path=None,
        csv_minutes=15,
        csv_speed=1,
        log_level=LogLevel.INFO,
        log_format=LogFormat.TEXT,
        connect_budget=240,
        rotate_after_hours=23,
        rotate_window=None,
        redundancy=1,
        symbols_per_connection=1,
        exchange_status_seconds=30,
        backfill=False,
        alertmanager_url=None,
        web_config=None,
        consumers_max=1000,
        consumer_queue_bytes=1_048_576,
        consumer_queue_messages=10_000,
    )


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().realtime = True  # type: ignore[misc] # the point of the test


def test_stale_after_of_a_symbol() -> None:
    assert FULL_SETTINGS.stale_after("ETHUSDT") == 2.5
    assert FULL_SETTINGS.stale_after("BTCUSDT") == 20
