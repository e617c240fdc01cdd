"""What an operator is shown of the settings, and that all of it can be read again."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from feedd.config.describe import SettingChange, describe, differences, sample
from feedd.config.env_file import parse_env_file
from feedd.config.keys import KEYS
from feedd.config.resolve import Resolved
from feedd.config.settings import Settings
from tests.config.full_file import FULL, FULL_SETTINGS, NAME, resolved, settings


def test_describe_shows_every_key_and_its_origin() -> None:
    text = "FEEDD_SYMBOLS=btcusdt\nFEEDD_STALE_AFTER_SECONDS_BTCUSDT=2.50\nFEEDD_CSV_PATH='/my data'\n"
    lines = describe(resolved(text, {"FEEDD_RESUME": "manual"}, {"FLAG_REALTIME": "on"}))
    assert lines == [
        "FLAG_REALTIME=1  # command line",
        "FLAG_TRADING_HALTED=0  # default",
        f"FEEDD_SYMBOLS=BTCUSDT  # {NAME}:1",
        "FEEDD_VENUE=binance-spot  # default",
        "FEEDD_WS_URL=  # default",
        "FEEDD_REST_URL=  # default",
        "FEEDD_STREAMS=trade,bookTicker,kline_1s  # default",
        "FEEDD_LISTEN=127.0.0.1:9745  # default",
        "FEEDD_STALE_AFTER_SECONDS=10  # default",
        f"FEEDD_STALE_AFTER_SECONDS_BTCUSDT=2.5  # {NAME}:2",
        "FEEDD_LATENCY_LIMIT_SECONDS=1  # default",
        "FEEDD_RESUME_AFTER_SECONDS=5  # default",
        "FEEDD_RESUME=manual  # environment",
        f"FEEDD_CSV_PATH='/my data'  # {NAME}:3",
        "FEEDD_CSV_MINUTES=15  # default",
        "FEEDD_CSV_SPEED=1  # default",
        "FEEDD_LOG_LEVEL=info  # default",
        "FEEDD_LOG_FORMAT=text  # default",
        "FEEDD_CONNECT_BUDGET=240  # default",
        "FEEDD_ROTATE_AFTER_HOURS=23  # default",
        "FEEDD_ROTATE_WINDOW=  # default",
        "FEEDD_REDUNDANCY=1  # default",
        "FEEDD_SYMBOLS_PER_CONNECTION=1  # default",
        "FEEDD_EXCHANGE_STATUS_SECONDS=30  # default",
        "FEEDD_BACKFILL=0  # default",
        "FEEDD_ALERTMANAGER_URL=  # default",
        "FEEDD_RUNBOOK_URL=https://feedd.example/runbook.md  # default",
        "FEEDD_WEB_CONFIG=  # default",
        "FEEDD_CONSUMERS_MAX=1000  # default",
        "FEEDD_CONSUMER_QUEUE_BYTES=1048576  # default",
        "FEEDD_CONSUMER_QUEUE_MESSAGES=10000  # default",
    ]


@pytest.mark.parametrize("text", ["", FULL])
def test_description_is_an_env_file_for_the_same_settings(text: str) -> None:
    found = resolved(text)
    assert resolved("\n".join(describe(found))).settings == found.settings


@given(
    seconds=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    speed=st.floats(min_value=0, allow_infinity=False),
    path=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1),
)
def test_any_value_is_described_as_it_is_read(seconds: float, speed: float, path: str) -> None:
    assume("${" not in path)
    wanted = Settings(stale_after_seconds=seconds, csv_speed=speed, csv_path=Path(path))
    description = describe(Resolved(wanted, defaultdict(str), (), ()))
    assert settings("\n".join(description)) == wanted


def test_differences_name_what_changed() -> None:
    old = settings("FEEDD_SYMBOLS=BTCUSDT,ETHUSDT\nFEEDD_STALE_AFTER_SECONDS_ETHUSDT=5\n")
    new = settings("FLAG_REALTIME=1\nFEEDD_LISTEN=127.0.0.1:9746\nFEEDD_STALE_AFTER_SECONDS_BTCUSDT=7\n")
    changes = differences(old, new)
    assert changes == (
        SettingChange("FLAG_REALTIME", "0", "1", is_live=True),
        SettingChange("FEEDD_SYMBOLS", "BTCUSDT,ETHUSDT", "BTCUSDT", is_live=True),
        SettingChange("FEEDD_LISTEN", "127.0.0.1:9745", "127.0.0.1:9746", is_live=False),
        SettingChange("FEEDD_STALE_AFTER_SECONDS_BTCUSDT", "", "7", is_live=True),
        SettingChange("FEEDD_STALE_AFTER_SECONDS_ETHUSDT", "5", "", is_live=True),
    )
    assert str(changes[0]) == "FLAG_REALTIME: '0' -> '1'"


def test_equal_settings_have_no_differences() -> None:
    assert differences(FULL_SETTINGS, settings(FULL)) == ()


def test_sample_holds_every_key_and_says_nothing_but_the_defaults() -> None:
    text = sample()
    assert settings(text) == Settings()
    for key in KEYS:
        shown = key.name.replace("<SYMBOL>", "BTCUSDT")
        assert f"# {key.meaning}\n# Change it when {key.change_when}\n" in text
        assert text.count(f"\n{shown}=") + text.count(f"\n#{shown}=") == 1


def test_sample_with_every_key_enabled_says_the_defaults_too() -> None:
    enabled = sample().replace("\n#FEEDD_", "\nFEEDD_")
    assert settings(enabled) == Settings(stale_after_by_symbol={"BTCUSDT": 10})
    assert len(parse_env_file(enabled.encode(), NAME).entries) == len(KEYS)


def test_lines_of_the_sample_fit_a_terminal() -> None:
    assert max(map(len, sample().splitlines())) <= 110
