from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import orjson
import pytest

from feedd.exchange.candles import INTERVALS, SECOND
from feedd.exchange.market import SLOT, Market
from feedd.exchange.messages import MarketMessage, TimeUnit

START = 1_795_000_000_250_000
MS = (TimeUnit.MILLISECOND,)
MINUTE = 60 * SECOND
EVERYTHING = (
    *("trade", "aggTrade", "bookTicker", "depth", "depth@100ms", "depth5", "depth10@100ms", "depth20"),
    *(f"kline_{interval}" for interval in INTERVALS),
    *("miniTicker", "ticker", "ticker_1h", "ticker_4h", "ticker_1d", "avgPrice", "referencePrice"),
)


def run(
    kinds: Iterable[str],
    *,
    seconds: float = 3.0,
    seed: int = 1,
    rate: float = 50.0,
    step: int = SLOT,
    symbols: tuple[str, ...] = ("BTCUSDT",),
) -> list[MarketMessage]:
    market = Market(symbols, seed, rate)
    for symbol in symbols:
        market.watch(symbol, dict.fromkeys(kinds, MS))
    messages: list[MarketMessage] = []
    for now in range(START, START + int(seconds * SECOND) + 1, step):
        messages += market.advance(now)
    return messages


def payloads(messages: Iterable[MarketMessage], kind: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(message.payloads[TimeUnit.MILLISECOND]) for message in messages if message.kind == kind
    ]


def test_same_seed_and_times_give_the_same_bytes() -> None:
    assert run(EVERYTHING, seed=5) == run(EVERYTHING, seed=5)


def test_size_of_the_steps_does_not_matter() -> None:
    assert run(EVERYTHING, step=SLOT) == run(EVERYTHING, step=SECOND // 4)


def test_another_seed_gives_another_market() -> None:
    assert run(["trade"], seed=5) != run(["trade"], seed=6)


def test_symbols_of_one_seed_differ() -> None:
    messages = run(["trade"], symbols=("BTCUSDT", "ETHUSDT"))
    prices = {payload["s"]: payload["p"] for payload in payloads(messages, "trade")}
    assert prices["BTCUSDT"] != prices["ETHUSDT"]


def test_every_stream_speaks() -> None:
    # Long intervals close rarely, but while trades come they tell every other second how they stand.
    assert {message.kind for message in run(EVERYTHING)} == set(EVERYTHING)


def test_unknown_streams_never_speak() -> None:
    names = ["nonsense", "kline_7m", "depth7", "depth@250ms", "trade@100ms", "kline_1s@100ms", "blockTrade"]
    assert run(names) == []


def test_trade_ids_are_consecutive_and_the_rate_is_kept() -> None:
    trades = payloads(run(["trade"], seconds=20, rate=100), "trade")
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len(trades) == pytest.approx(2000, rel=0.1)


def test_trade_prices_and_quantities_are_texts_with_eight_decimals() -> None:
    for trade in payloads(run(["trade"]), "trade"):
        assert all(
            isinstance(trade[field], str) and len(trade[field].partition(".")[2]) == 8 for field in "pq"
        )


def test_aggregates_are_consecutive_and_cover_the_trades() -> None:
    messages = run(["trade", "aggTrade"], seconds=10)
    trades = {trade["t"]: trade for trade in payloads(messages, "trade")}
    aggregates = payloads(messages, "aggTrade")
    assert all(after["a"] == before["a"] + 1 for before, after in pairwise(aggregates))
    assert all(after["f"] == before["l"] + 1 for before, after in pairwise(aggregates))
    for aggregate in aggregates:
        fills = [trades[id] for id in range(aggregate["f"], aggregate["l"] + 1)]
        assert {(fill["p"], fill["T"], fill["m"]) for fill in fills} == {
            (aggregate["p"], aggregate["T"], aggregate["m"])
        }
        assert float(aggregate["q"]) == pytest.approx(sum(float(fill["q"]) for fill in fills))
    assert any(aggregate["l"] > aggregate["f"] for aggregate in aggregates)


@pytest.mark.parametrize(("kind", "pace"), [("depth@100ms", 100), ("depth", 1000)])
def test_depth_continues_without_a_hole_at_its_pace(kind: str, pace: int) -> None:
    updates = payloads(run([kind], seconds=10), kind)
    assert len(updates) >= 9000 // pace
    for before, after in pairwise(updates):
        assert after["U"] == before["u"] + 1
        assert after["u"] >= after["U"]
        assert after["E"] - before["E"] >= pace
    assert all(update["E"] % pace == 0 and (update["b"] or update["a"]) for update in updates)


def test_depth_applied_to_a_partial_book_gives_the_next_one() -> None:
    messages = run(["depth@100ms", "depth20@100ms"], seconds=10)
    books = payloads(messages, "depth20@100ms")
    updates = payloads(messages, "depth@100ms")
    assert books[0]["lastUpdateId"] == updates[0]["u"]
    bids, asks = dict(books[0]["bids"]), dict(books[0]["asks"])
    for update, book in zip(updates[1:], books[1:], strict=True):
        for side, changes in ((bids, update["b"]), (asks, update["a"])):
            side.update(changes)
            for price in [price for price, quantity in side.items() if float(quantity) == 0]:
                del side[price]
        assert (bids, asks) == (dict(book["bids"]), dict(book["asks"]))


def test_book_ticker_rises_in_the_ids_of_depth_and_runs_ahead_of_it() -> None:
    last_depth = last_ticker = 0
    for message in run(["bookTicker", "depth@100ms"], seconds=10):
        payload = orjson.loads(message.payloads[TimeUnit.MILLISECOND])
        assert last_depth < payload["u"]
        if message.kind == "bookTicker":
            assert last_ticker < payload["u"]
            assert float(payload["b"]) < float(payload["a"])
            assert "e" not in payload and "E" not in payload
            last_ticker = payload["u"]
        else:
            assert payload["u"] >= last_ticker
            last_depth = payload["u"]


def test_one_second_candles_tick_every_second_even_without_trades() -> None:
    candles = payloads(run(["kline_1s"], seconds=5, rate=0), "kline_1s")
    assert [candle["E"] for candle in candles] == [1_795_000_001_000 + 1000 * second for second in range(5)]
    for candle in candles:
        k = candle["k"]
        assert (k["n"], k["f"], k["L"], k["x"], k["T"]) == (0, -1, -1, True, k["t"] + 999)
        assert candle["E"] == k["T"] + 1


def test_one_second_candles_hold_all_trades_of_their_second() -> None:
    messages = run(["trade", "kline_1s"], seconds=5)
    trades = payloads(messages, "trade")
    for candle in payloads(messages, "kline_1s"):
        k = candle["k"]
        inside = [trade for trade in trades if k["t"] <= trade["T"] <= k["T"]]
        assert (k["f"], k["L"], k["n"]) == (inside[0]["t"], inside[-1]["t"], len(inside))
        assert (k["o"], k["c"]) == (inside[0]["p"], inside[-1]["p"])
        assert k["L"] - k["f"] + 1 == k["n"]


def test_longer_candles_close_once_and_speak_every_other_second() -> None:
    candles = payloads(run(["kline_1m"], seconds=70, rate=20), "kline_1m")
    closed = [candle for candle in candles if candle["k"]["x"]]
    assert [candle["E"] % 60_000 for candle in closed] == [0]
    assert all(candle["E"] % 2000 == 0 for candle in candles)
    assert len(candles) == 35


def test_longer_candles_without_trades_only_close() -> None:
    candles = payloads(run(["kline_1m"], seconds=130, rate=0), "kline_1m")
    assert [candle["k"]["x"] for candle in candles] == [True, True]
    assert [candle["k"]["n"] for candle in candles] == [0, 0]


def test_tickers_count_the_trades_they_name() -> None:
    for kind, window in (("ticker", 86_400_000), ("ticker_1h", 3_600_000), ("ticker_4h", 14_400_000)):
        for ticker in payloads(run([kind]), kind):
            assert ticker["L"] - ticker["F"] + 1 == ticker["n"]
            assert ticker["C"] - ticker["O"] == window


def test_event_times_are_never_ahead_and_never_go_back_within_a_stream() -> None:
    market = Market(("BTCUSDT",), 1, 200)
    market.watch("BTCUSDT", dict.fromkeys(EVERYTHING, MS))
    newest: dict[str, int] = {}
    for now in range(START, START + 5 * SECOND, SLOT):
        for message in market.advance(now):
            payload = orjson.loads(message.payloads[TimeUnit.MILLISECOND])
            if "E" in payload:
                assert newest.get(message.kind, 0) <= payload["E"] <= now // 1000
                assert payload["E"] >= (now - SLOT) // 1000
                newest[message.kind] = payload["E"]


def test_microseconds_are_told_only_to_those_who_asked() -> None:
    market = Market(("BTCUSDT",), 1, 50)
    market.watch("BTCUSDT", {"trade": (TimeUnit.MICROSECOND, TimeUnit.MILLISECOND), "kline_1s": MS})
    market.advance(START)
    for message in market.advance(START + 2 * SECOND):
        in_units = {unit: orjson.loads(payload) for unit, payload in message.payloads.items()}
        if message.kind == "kline_1s":
            assert list(in_units) == [TimeUnit.MILLISECOND]
        else:
            fine, coarse = in_units[TimeUnit.MICROSECOND], in_units[TimeUnit.MILLISECOND]
            assert {**fine, "E": fine["E"] // 1000, "T": fine["T"] // 1000} == coarse


def test_who_comes_back_finds_what_it_missed() -> None:
    market = Market(("BTCUSDT",), 1, 50)
    market.watch("BTCUSDT", {"trade": MS})
    market.advance(START)
    before = payloads(market.advance(START + SECOND), "trade")
    market.watch("BTCUSDT", {})
    market.advance(START + SECOND)
    assert market.advance(START + 3 * SECOND) == []
    market.watch("BTCUSDT", {"trade": MS})
    market.advance(START + 3 * SECOND)
    after = payloads(market.advance(START + 4 * SECOND), "trade")
    missed = after[0]["t"] - before[-1]["t"] - 1
    assert missed == pytest.approx(100, rel=0.2)
    kept = market.trades("BTCUSDT", START, TimeUnit.MILLISECOND, before[-1]["t"] + 1, missed)
    assert [trade["id"] for trade in kept] == list(range(before[-1]["t"] + 1, after[0]["t"]))


def test_market_that_nobody_watches_falls_asleep_and_wakes_with_its_ids_moved_on() -> None:
    market = Market(("BTCUSDT",), 1, 10)
    market.watch("BTCUSDT", {"trade": MS})
    market.advance(START)
    before = payloads(market.advance(START + SECOND), "trade")[-1]["t"]
    market.watch("BTCUSDT", {})
    market.advance(START + SECOND)
    assert market.next_due(START + SECOND) is not None
    asleep = START + 11 * MINUTE
    market.advance(asleep)
    assert market.next_due(asleep) is None
    woken = START + 71 * MINUTE
    market.watch("BTCUSDT", {"trade": MS})
    assert market.next_due(woken) == woken
    market.advance(woken)
    after = payloads(market.advance(woken + SECOND), "trade")[0]["t"]
    assert after - before == pytest.approx(71 * 60 * 10, rel=0.02)


def test_clock_that_leaps_ahead_brings_no_flood_but_moves_the_ids_on() -> None:
    market = Market(("BTCUSDT",), 1, 50)
    market.watch("BTCUSDT", dict.fromkeys(["trade", "depth@100ms", "kline_1s", "kline_1m"], MS))
    market.advance(START)
    early = market.advance(START + SECOND)
    before = payloads(early, "trade")[-1]["t"]
    assert market.advance(START + 60 * MINUTE) == []
    messages = market.advance(START + 60 * MINUTE + 2 * SECOND)
    trades = payloads(messages, "trade")
    assert payloads(messages, "depth@100ms")[0]["U"] > payloads(early, "depth@100ms")[-1]["u"] + 100_000
    assert trades[0]["t"] - before == pytest.approx(60 * 60 * 50, rel=0.02)
    assert [candle["k"]["n"] for candle in payloads(messages, "kline_1s")] == [
        len([trade for trade in trades if 0 <= trade["T"] - candle["k"]["t"] < 1000])
        for candle in payloads(messages, "kline_1s")
    ]
    assert all(payload["E"] * 1000 >= START + 60 * MINUTE for payload in trades)


def test_clock_that_is_set_back_does_not_silence_the_market() -> None:
    market = Market(("BTCUSDT",), 1, 50)
    market.watch("BTCUSDT", dict.fromkeys(["trade", "kline_1s"], MS))
    market.advance(START)
    before = payloads(market.advance(START + SECOND), "trade")[-1]["t"]
    market.advance(START - 60 * MINUTE)
    messages = market.advance(START - 60 * MINUTE + 2 * SECOND)
    assert payloads(messages, "trade")[0]["t"] == before + 1
    assert len(payloads(messages, "kline_1s")) == 2


def test_stream_that_is_watched_later_begins_at_that_time() -> None:
    market = Market(("BTCUSDT",), 1, 0)
    market.watch("BTCUSDT", {"trade": MS})
    market.advance(START)
    market.watch("BTCUSDT", {"kline_1s": MS})
    market.advance(START + 5 * SECOND)
    candles = payloads(market.advance(START + 8 * SECOND), "kline_1s")
    assert [candle["E"] for candle in candles] == [(START // SECOND + later) * 1000 for later in (6, 7, 8)]


def test_market_never_asked_for_is_never_made() -> None:
    market = Market(("BTCUSDT", "ETHUSDT"), 1, 10)
    assert market.next_due(START) is None
    assert market.advance(START) == []


def test_restarted_ids_begin_at_one_in_every_stream() -> None:
    market = Market(("BTCUSDT",), 1, 50)
    market.watch("BTCUSDT", dict.fromkeys(["trade", "aggTrade", "depth@100ms", "bookTicker", "kline_1s"], MS))
    market.advance(START)
    market.advance(START + SECOND)
    market.restart_ids("BTCUSDT", START + SECOND)
    messages = market.advance(START + 3 * SECOND)
    assert payloads(messages, "trade")[0]["t"] == 1
    assert payloads(messages, "aggTrade")[0]["a"] == 1
    assert payloads(messages, "depth@100ms")[0]["U"] == 1
    assert payloads(messages, "bookTicker")[0]["u"] < 20
    assert payloads(messages, "kline_1s")[0]["k"]["f"] == 1
    assert market.trades("BTCUSDT", START, TimeUnit.MILLISECOND, None, 1000)[0]["id"] == 1


def test_history_is_bounded_and_read_from_an_id_on() -> None:
    market = Market(tuple(f"S{number}" for number in range(5000)), 1, 2000)
    market.watch("S0", {"trade": MS})
    market.advance(START)
    market.advance(START + SECOND)
    newest = market.trades("S0", START, TimeUnit.MILLISECOND, None, 1000)
    assert len(newest) == 100
    ids = [trade["id"] for trade in newest]
    page = market.trades("S0", START, TimeUnit.MILLISECOND, ids[40], 10)
    assert [trade["id"] for trade in page] == ids[40:50]
    assert market.trades("S0", START, TimeUnit.MILLISECOND, 1, 2) == newest[:2]
    assert market.trades("S0", START, TimeUnit.MILLISECOND, ids[-1] + 1, 10) == []
    assert market.aggregates("S1", START, TimeUnit.MILLISECOND, None, 10) == []
