from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.exchange.candles import INTERVALS, SECOND, CandleBuilder, bounds, candle_from
from feedd.exchange.tape import TapeTrade


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        ("1s", at(2026, 12, 31, 23, 59, 58), at(2026, 12, 31, 23, 59, 59)),
        ("5m", at(2026, 12, 31, 23, 55), at(2027, 1, 1)),
        ("8h", at(2026, 12, 31, 16), at(2027, 1, 1)),
        ("1d", at(2026, 12, 31), at(2027, 1, 1)),
        ("1w", at(2026, 12, 28), at(2027, 1, 4)),  # a Monday
        ("1M", at(2026, 12, 1), at(2027, 1, 1)),
    ],
)
def test_bounds_are_where_binance_has_them(interval: str, start: int, end: int) -> None:
    assert bounds(interval, at(2026, 12, 31, 23, 59, 58) + 123_456) == (start, end)


@given(st.sampled_from(INTERVALS), st.integers(0, at(2200, 1, 1)))
def test_bounds_hold_their_time_and_meet_the_next(interval: str, time: int) -> None:
    start, end = bounds(interval, time)
    assert start <= time < end
    assert bounds(interval, end)[0] == end
    assert bounds(interval, end - 1) == (start, end)


def trade(id: int, price: int, quantity: int, time: int, is_buyer_maker: bool = False) -> TapeTrade:
    return TapeTrade(id, price, quantity, time, is_buyer_maker)


def test_empty_candle_names_no_trade() -> None:
    candle = CandleBuilder(0, 1, 5, 5, 5, 5)
    assert (candle.first, candle.last, candle.count, candle.mean_price) == (-1, -1, 0, 5)


def test_candle_adds_up_its_trades() -> None:
    candle = CandleBuilder(0, SECOND, 9, 9, 9, 9)
    for each in (trade(4, 10, 3, 1), trade(5, 14, 1, 2, True), trade(6, 8, 2, 3)):
        candle.add_trade(each)
    assert (candle.open, candle.high, candle.low, candle.close) == (10, 14, 8, 8)
    assert (candle.first, candle.last, candle.count) == (4, 6, 3)
    assert (candle.quantity, candle.turnover) == (6, 60)
    assert (candle.taker_quantity, candle.taker_turnover) == (5, 46)
    assert candle.mean_price == 10


def test_candle_from_history_takes_only_its_own_trades() -> None:
    history = [trade(id, 10 + id, 1, id * SECOND // 2) for id in range(6)]
    candle = candle_from("1s", 2 * SECOND + 700_000, 99, reversed(history))
    assert (candle.start, candle.first, candle.last, candle.open) == (2 * SECOND, 4, 5, 14)


def test_candle_from_no_history_stands_at_the_price() -> None:
    candle = candle_from("1m", 5, 99, [])
    assert (candle.open, candle.close, candle.count) == (99, 99, 0)
