"""Each payload has the fields of Binance spot's documents, in their units and formats."""

from __future__ import annotations

from random import Random

import pytest

from feedd.exchange import payloads
from feedd.exchange.book import Book, TopOfBook
from feedd.exchange.candles import DAY, SECOND, CandleBuilder
from feedd.exchange.tape import TapeAggregate, TapeTrade

MS, US = 1000, 1
TIME = 1_795_000_000_123_456
TRADE = TapeTrade(id=7, price=4_321_05, quantity=150_001, time=TIME, is_buyer_maker=True)
AGGREGATE = TapeAggregate(
    id=3, first=7, last=9, price=4_321_05, quantity=200_000, time=TIME, is_buyer_maker=False
)
TOP = TopOfBook(bid=100, bid_quantity=1, ask=101, ask_quantity=200_000)


def candle() -> CandleBuilder:
    """Return a minute with two trades: one unit bought at 100.00, two sold at 103.00."""
    built = CandleBuilder(60 * SECOND, 120 * SECOND, 0, 0, 0, 0)
    built.add_trade(TapeTrade(11, 100_00, 100_000, 61 * SECOND, is_buyer_maker=False))
    built.add_trade(TapeTrade(12, 103_00, 200_000, 62 * SECOND, is_buyer_maker=True))
    return built


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (payloads.price_text(5), "0.05000000"),
        (payloads.price_text(1234_50), "1234.50000000"),
        (payloads.quantity_text(1), "0.00001000"),
        (payloads.quantity_text(12_300_001), "123.00001000"),
        # 1234.50 times 0.00001: a product counts hundredths times hundred-thousandths.
        (payloads.turnover_text(1234_50 * 1), "0.01234500"),
        (payloads.turnover_text(1234_50 * 12_300_001), "151843.51234500"),
    ],
)
def test_numbers_are_texts_with_eight_decimals(text: str, expected: str) -> None:
    assert text == expected


def test_trade_has_its_time_twice_and_in_the_unit_asked_for() -> None:
    assert payloads.trade("BTCUSDT", TRADE, MS) == {
        "e": "trade",
        "E": 1_795_000_000_123,
        "s": "BTCUSDT",
        "t": 7,
        "p": "4321.05000000",
        "q": "1.50001000",
        "T": 1_795_000_000_123,
        "m": True,
        "M": True,
    }
    assert payloads.trade("BTCUSDT", TRADE, US)["T"] == TIME


def test_aggregate_trade_is_the_rest_entry_with_event_and_symbol() -> None:
    entry = payloads.rest_aggregate(AGGREGATE, MS)
    assert entry == {
        "a": 3,
        "p": "4321.05000000",
        "q": "2.00000000",
        "f": 7,
        "l": 9,
        "T": 1_795_000_000_123,
        "m": False,
        "M": True,
    }
    event = {"e": "aggTrade", "E": 1_795_000_000_123, "s": "BTCUSDT"}
    assert payloads.aggregate_trade("BTCUSDT", AGGREGATE, MS) == event | entry


def test_rest_trade_has_the_long_names_and_the_turnover() -> None:
    assert payloads.rest_trade(TRADE, MS) == {
        "id": 7,
        "price": "4321.05000000",
        "qty": "1.50001000",
        "quoteQty": "6481.61821050",
        "time": 1_795_000_000_123,
        "isBuyerMaker": True,
        "isBestMatch": True,
    }


def test_book_ticker_has_neither_event_nor_time() -> None:
    assert payloads.book_ticker("BTCUSDT", 42, TOP) == {
        "u": 42,
        "s": "BTCUSDT",
        "b": "1.00000000",
        "B": "0.00001000",
        "a": "1.01000000",
        "A": "2.00000000",
    }


def test_depth_update_lists_changed_levels_and_a_removed_one_as_zero() -> None:
    changes = Book(Random(1), best_bid=100, update_id=41).collect_changes()
    changes.bids[100] = 0
    changes.asks[101] = 300_000
    assert payloads.depth_update("BTCUSDT", changes, 44, TIME, MS) == {
        "e": "depthUpdate",
        "E": 1_795_000_000_123,
        "s": "BTCUSDT",
        "U": 42,
        "u": 44,
        "b": [["1.00000000", "0.00000000"]],
        "a": [["1.01000000", "3.00000000"]],
    }


def test_partial_depth_keeps_the_order_of_the_levels() -> None:
    assert payloads.partial_depth(42, [(101, 1), (100, 2)], [(102, 3)]) == {
        "lastUpdateId": 42,
        "bids": [["1.01000000", "0.00001000"], ["1.00000000", "0.00002000"]],
        "asks": [["1.02000000", "0.00003000"]],
    }


def test_kline_has_sums_of_all_trades_and_of_those_that_takers_bought() -> None:
    document = payloads.kline("BTCUSDT", "1m", candle(), True, TIME, MS)
    assert {field: document[field] for field in "eEs"} == {
        "e": "kline",
        "E": 1_795_000_000_123,
        "s": "BTCUSDT",
    }
    assert document["k"] == {
        "t": 60_000,
        "T": 119_999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 11,
        "L": 12,
        "o": "100.00000000",
        "c": "103.00000000",
        "h": "103.00000000",
        "l": "100.00000000",
        "v": "3.00000000",
        "n": 2,
        "x": True,
        "q": "306.00000000",
        "V": "1.00000000",
        "Q": "100.00000000",
        "B": "0",
    }


def test_kline_in_microseconds_ends_one_microsecond_before_the_next() -> None:
    document = payloads.kline("BTCUSDT", "1m", candle(), False, TIME, US)
    assert (document["k"]["T"], document["k"]["x"]) == (119_999_999, False)


def test_mini_ticker_is_the_day_in_short() -> None:
    assert payloads.mini_ticker("BTCUSDT", candle(), TIME, MS) == {
        "e": "24hrMiniTicker",
        "E": 1_795_000_000_123,
        "s": "BTCUSDT",
        "c": "103.00000000",
        "o": "100.00000000",
        "h": "103.00000000",
        "l": "100.00000000",
        "v": "3.00000000",
        "q": "306.00000000",
    }


def test_window_ticker_has_the_change_the_average_and_the_bounds_of_its_window() -> None:
    document = payloads.window_ticker("1hTicker", "BTCUSDT", candle(), 3600 * SECOND, TIME, MS)
    assert document["e"] == "1hTicker"
    assert (document["p"], document["P"], document["w"]) == ("3.00000000", "3.000", "102.00000000")
    assert (document["O"], document["C"]) == (1_794_996_400_123, 1_795_000_000_123)
    assert (document["F"], document["L"], document["n"]) == (11, 12, 2)


def test_price_that_fell_is_a_negative_change() -> None:
    fallen = CandleBuilder(0, DAY, 200_00, 150_00, 200_00, 150_00)
    document = payloads.window_ticker("1dTicker", "BTCUSDT", fallen, DAY, TIME, MS)
    assert (document["p"], document["P"]) == ("-50.00000000", "-25.000")


def test_day_ticker_is_a_window_ticker_of_a_day_with_the_best_prices() -> None:
    document = payloads.day_ticker("BTCUSDT", candle(), 5, TOP, TIME, MS)
    window = payloads.window_ticker("24hrTicker", "BTCUSDT", candle(), DAY, TIME, MS)
    assert document == window | {
        "x": "100.00000000",
        "Q": "0.00005000",
        "b": "1.00000000",
        "B": "0.00001000",
        "a": "1.01000000",
        "A": "2.00000000",
    }


def test_average_price_has_the_time_of_the_last_trade_apart_from_its_own() -> None:
    assert payloads.average_price("BTCUSDT", candle(), 62 * SECOND, TIME, MS) == {
        "e": "avgPrice",
        "E": 1_795_000_000_123,
        "s": "BTCUSDT",
        "i": "5m",
        "w": "102.00000000",
        "T": 62_000,
    }


def test_reference_price_has_its_only_time_under_a_small_t() -> None:
    assert payloads.reference_price("BTCUSDT", 100_01, TIME, MS) == {
        "e": "referencePrice",
        "s": "BTCUSDT",
        "r": "100.01000000",
        "t": 1_795_000_000_123,
    }
