"""Each timed stream on a market's state that the test moves by hand."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import pytest

from feedd.exchange.book import Book
from feedd.exchange.candles import DAY, INTERVALS, SECOND
from feedd.exchange.messages import TimeUnit
from feedd.exchange.tape import TapeTrade
from feedd.exchange.timed_streams import (
    DepthStream,
    KlineStream,
    MarketState,
    PartialDepthStream,
    SummaryStream,
    TimedStream,
    make_timed_stream,
)

START = 1_795_000_020 * SECOND
"""The beginning of a minute."""


class Rig:
    """One symbol's state, and its streams, which are told of each trade as the market tells them."""

    def __init__(self) -> None:
        book = Book(Random(7), best_bid=50_000, update_id=100)
        self.state = MarketState("BTCUSDT", book, deque(maxlen=100), deque(maxlen=100), START)
        self.streams: list[TimedStream] = []
        self._last_id = 0

    def stream(self, kind: str) -> TimedStream:
        made = make_timed_stream(self.state, kind)
        assert made is not None
        self.streams.append(made)
        return made

    def trade(self, at: int, price: int = 50_000, quantity: int = 100_000) -> None:
        self._last_id += 1
        trade = TapeTrade(self._last_id, price, quantity, at, is_buyer_maker=False)
        self.state.advance_to(at)
        self.state.add_trade(trade)
        for stream in self.streams:
            stream.add_trade(trade)


def payload(stream: TimedStream, due: int) -> dict[str, Any]:
    build = stream.tick(due)
    assert build is not None
    return build(TimeUnit.MILLISECOND.value)


# --- the state


def test_state_without_trades_has_the_price_of_the_book() -> None:
    rig = Rig()
    assert (rig.state.last_price, rig.state.last_time) == (50_000, START)


def test_trade_moves_the_last_price_and_time() -> None:
    rig = Rig()
    rig.trade(START + 5, price=50_003)
    assert (rig.state.last_price, rig.state.last_time) == (50_003, START + 5)
    assert [trade.id for trade in rig.state.trades] == [1]
    assert rig.state.day.count == 1


def test_reset_state_keeps_nothing_but_the_price() -> None:
    rig = Rig()
    rig.trade(START + 5, price=50_003)
    rig.state.reset()
    assert (len(rig.state.trades), rig.state.day.count, rig.state.last_price) == (0, 0, 50_003)


# --- which stream a name makes


@pytest.mark.parametrize(
    ("kind", "type_", "period"),
    [
        ("depth", DepthStream, SECOND),
        ("depth@100ms", DepthStream, SECOND // 10),
        ("depth5", PartialDepthStream, SECOND),
        ("depth20@100ms", PartialDepthStream, SECOND // 10),
        *((f"kline_{interval}", KlineStream, SECOND) for interval in INTERVALS),
        ("miniTicker", SummaryStream, SECOND),
        ("ticker_4h", SummaryStream, SECOND),
        ("avgPrice", SummaryStream, SECOND),
        ("referencePrice", SummaryStream, SECOND),
    ],
)
def test_name_makes_its_stream_with_its_period(kind: str, type_: type[object], period: int) -> None:
    stream = Rig().stream(kind)
    assert isinstance(stream, type_)
    assert stream.period == period


@pytest.mark.parametrize(
    "kind", ["trade", "nonsense", "depth7", "depth@250ms", "kline_7m", "kline_1s@100ms", "ticker@100ms", ""]
)
def test_name_of_no_timed_stream_makes_none(kind: str) -> None:
    assert make_timed_stream(Rig().state, kind) is None


# --- depth


def test_depth_sends_nothing_until_a_level_changes() -> None:
    rig = Rig()
    depth = rig.stream("depth")
    assert depth.tick(START) is None
    rig.state.book.trade(1, is_bid=True)
    assert payload(depth, START)["U"] == 101
    assert depth.tick(START) is None


def test_depth_updates_follow_each_other_without_a_gap() -> None:
    rig = Rig()
    depth = rig.stream("depth@100ms")
    last = 100
    for _ in range(20):
        rig.state.book.trade(1, is_bid=True)
        update = payload(depth, START)
        assert update["U"] == last + 1
        last = update["u"]
    assert last == rig.state.book.update_id


def test_payload_that_is_built_late_has_the_changes_up_to_its_tick_only() -> None:
    rig = Rig()
    depth = rig.stream("depth")
    rig.state.book.trade(1, is_bid=True)
    last = rig.state.book.update_id
    build = depth.tick(START)
    rig.state.book.trade(1, is_bid=True)
    assert build is not None
    assert build(1)["u"] == last


def test_closed_depth_stream_collects_no_more() -> None:
    rig = Rig()
    depth = rig.stream("depth")
    depth.close()
    rig.state.book.trade(1, is_bid=True)
    assert depth.tick(START) is None


def test_partial_depth_sends_its_levels_whenever_any_level_changed() -> None:
    rig = Rig()
    partial = rig.stream("depth5")
    first = payload(partial, START)
    assert (len(first["bids"]), len(first["asks"])) == (5, 5)
    assert first["bids"][0][0] == "500.00000000"
    assert partial.tick(START) is None
    rig.state.book.trade(1, is_bid=True)
    assert payload(partial, START)["lastUpdateId"] == rig.state.book.update_id


# --- klines


def test_open_kline_is_sent_at_even_seconds_if_trades_came() -> None:
    rig = Rig()
    kline = rig.stream("kline_1m")
    assert kline.tick(START + 2 * SECOND) is None
    rig.trade(START + 2 * SECOND + 1)
    assert kline.tick(START + 3 * SECOND) is None
    assert payload(kline, START + 4 * SECOND)["k"]["x"] is False
    assert kline.tick(START + 6 * SECOND) is None


def test_kline_closes_at_its_end_and_the_next_one_is_empty_at_the_last_price() -> None:
    rig = Rig()
    kline = rig.stream("kline_1m")
    rig.trade(START + SECOND, price=50_007)
    closed = payload(kline, START + 60 * SECOND)["k"]
    assert (closed["x"], closed["n"], closed["t"]) == (True, 1, START // 1000)
    following = payload(kline, START + 120 * SECOND)["k"]
    assert (following["x"], following["n"], following["t"]) == (True, 0, START // 1000 + 60_000)
    assert following["o"] == following["c"] == "500.07000000"


def test_kline_of_a_second_is_sent_every_second_with_trades_or_without() -> None:
    rig = Rig()
    kline = rig.stream("kline_1s")
    for second in range(1, 4):
        assert payload(kline, START + second * SECOND)["k"]["x"] is True


def test_kline_that_begins_late_counts_the_trades_of_its_interval_that_are_kept() -> None:
    rig = Rig()
    rig.trade(START - SECOND)
    rig.trade(START + SECOND)
    rig.trade(START + 2 * SECOND)
    kline = rig.stream("kline_1m")
    candle = payload(kline, START + 4 * SECOND)["k"]
    assert (candle["n"], candle["f"], candle["L"]) == (2, 2, 3)


def test_reset_kline_forgets_its_trades() -> None:
    rig = Rig()
    kline = rig.stream("kline_1m")
    rig.trade(START + SECOND)
    rig.state.advance_to(START + 70 * SECOND)
    kline.reset()
    assert kline.tick(START + 72 * SECOND) is None
    closed = payload(kline, START + 120 * SECOND)["k"]
    assert (closed["n"], closed["t"]) == (0, START // 1000 + 60_000)


# --- summaries


def test_summaries_are_of_the_state_at_the_time_they_are_built() -> None:
    rig = Rig()
    rig.trade(START + SECOND, price=50_010, quantity=300_000)
    due = START + 2 * SECOND
    assert payload(rig.stream("miniTicker"), due)["c"] == "500.10000000"
    assert payload(rig.stream("ticker"), due)["Q"] == "3.00000000"
    assert payload(rig.stream("avgPrice"), due)["T"] == (START + SECOND) // 1000
    assert payload(rig.stream("referencePrice"), due)["r"] == "500.10000000"


@pytest.mark.parametrize(("kind", "hours"), [("ticker_1h", 1), ("ticker_4h", 4), ("ticker_1d", 24)])
def test_window_ticker_has_the_length_of_its_name(kind: str, hours: int) -> None:
    document = payload(Rig().stream(kind), START)
    assert document["e"] == f"{kind.removeprefix('ticker_')}Ticker"
    assert document["C"] - document["O"] == hours * DAY // 24 // 1000


def test_ticker_without_trades_has_no_newest_quantity() -> None:
    document = payload(Rig().stream("ticker"), START)
    assert (document["Q"], document["n"], document["F"]) == ("0.00000000", 0, -1)
