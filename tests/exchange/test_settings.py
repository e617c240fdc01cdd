from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feedd.errors import SettingsError
from feedd.exchange import ExchangeSettings


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"symbols": ()}, "symbols"),
        ({"symbols": ("btcusdt",)}, "symbols"),
        ({"symbols": ("BTC/USDT",)}, "symbols"),
        ({"symbols": ("BTCUSDT", "BTCUSDT")}, "symbols"),
        ({"rate": -1.0}, "rate"),
        ({"rate": 2001.0}, "rate"),
        ({"speed": -1.0}, "speed"),
        ({"speed": 0.0}, "speed"),
        ({"rate": 2000.0, "speed": 2.0}, "speed"),
        ({"ping_interval": 0.0}, "ping_interval"),
        ({"lifetime": 0.0}, "lifetime"),
        ({"streams_max": 0}, "streams_max"),
        ({"shutdown_notice": 86400.0}, "shutdown_notice"),
    ],
)
def test_wrong_value_is_refused_and_named(wrong: dict[str, Any], key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        ExchangeSettings(**wrong)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_every_mistake_is_told() -> None:
    with pytest.raises(SettingsError) as caught:
        ExchangeSettings(symbols=(), rate=-1.0, buffer_max=0)
    assert [problem.key for problem in caught.value.problems] == ["symbols", "rate", "buffer_max"]


def test_symbols_beyond_latin_letters_are_fine() -> None:
    assert ExchangeSettings(symbols=("这是测试币456",)).symbols == ("这是测试币456",)


def test_speed_multiplies_a_markets_rate() -> None:
    assert ExchangeSettings(rate=10, speed=3).rate_in_effect == 30


def test_only_a_replay_can_go_unpaced() -> None:
    assert ExchangeSettings(replay=Path("session.txt"), speed=0).is_unpaced
    assert not ExchangeSettings(replay=Path("session.txt")).is_unpaced
    assert not ExchangeSettings().is_unpaced
