"""The list of stream names that settings and decoder share."""

from __future__ import annotations

import pytest

from feedd.venues.binance.spot.stream_names import (
    KLINE_INTERVALS,
    STREAM_NAMES,
    is_stream_name,
    nearest_stream_name,
)


def test_names_are_unique() -> None:
    assert len(set(STREAM_NAMES)) == len(STREAM_NAMES) == 17 + len(KLINE_INTERVALS)


@pytest.mark.parametrize(
    "name", ["trade", "aggTrade", "depth@100ms", "depth20@100ms", "kline_1s", "kline_1M", "ticker_4h"]
)
def test_documented_name_is_known(name: str) -> None:
    assert is_stream_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "Trade", "aggtrade", "bookticker", "depth@1000ms", "depth50", "kline_2s", "kline_", "btcusdt@trade"],
)
def test_any_other_name_is_unknown(name: str) -> None:
    assert not is_stream_name(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Trade", "trade"),
        ("aggtrade", "aggTrade"),
        ("bookticker", "bookTicker"),
        ("kline1s", "kline_1s"),
        ("kline_1m", "kline_1m"),
        ("depth@100", "depth@100ms"),
        ("wxyz", None),
        ("", None),
    ],
)
def test_nearest_name(name: str, nearest: str | None) -> None:
    assert nearest_stream_name(name) == nearest
