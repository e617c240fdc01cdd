"""One row → one payload, or what is wrong with it: layouts, times, intervals, numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from feedd.model import InvalidReason
from feedd.sources.replay.csv_rows import (
    AGGREGATE_TRADES,
    BARS,
    KLINES,
    LAYOUTS,
    LONE_BAR_INTERVAL,
    TRADES,
    CsvTable,
    Layout,
    RecordedPayload,
    Unfit,
    interval_of,
    milliseconds,
    shown,
    split,
    table_of,
)
from feedd.venues.binance.spot.payloads import AggTrade, Candle, Kline, Trade
from feedd.venues.binance.spot.streams import KLINE_INTERVALS

SYMBOL = "SPY"
START = 1_740_000_000_000
"""2025-02-19 21:20:00 UTC, in ms."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
BAR = f"{START},450.10,450.55,449.90,450.20,1200"
TRADE = "51175358,17.80180000,5.69000000,101.29224200,1740000000123,True,False"
AGGREGATE_TRADE = "26129,0.01633102,4.70443515,27781,27790,1740000000123,False,True"
KLINE = "1740000000000,4.1507,4.1587,4.1506,4.1554,539.23,1740000059999,2240.398609,13,401.82,1669.98121300,0"
BAR_HEADER = "timestamp,open,high,low,close,volume"
TRADE_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
AGGREGATE_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)


def table_for(line: str) -> CsvTable:
    table = table_of(line.split(","), SYMBOL)
    assert table is not None
    return table


def payload_of(header: str, row: str, interval: str = "1m") -> RecordedPayload:
    """Read a row of the table that the header tells."""
    return table_for(header).reader(SYMBOL, interval)(row.split(","))


def candle_of(header: str, row: str, interval: str = "1m") -> Candle:
    payload = payload_of(header, row, interval)
    assert isinstance(payload, Kline)
    return payload.candle


def unfit(header: str, row: str) -> Unfit:
    with pytest.raises(Unfit) as refused:
        payload_of(header, row)
    assert str(refused.value) == f"expected {refused.value.expected}, found {refused.value.found}"
    return refused.value


def with_field(row: str, place: int, text: str) -> str:
    fields = row.split(",")
    fields[place] = text
    return ",".join(fields)


# --- fields


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"a,b,c\n", ["a", "b", "c"]),
        (b"a,b,c\r\n", ["a", "b", "c"]),
        (b" a, b ,c \n", [" a", " b ", "c "]),
        (b"a,,", ["a", "", ""]),
        (b"", [""]),
        (b'"a","b,c",d', ["a", "b,c", "d"]),
        (b'"a ""b""",c', ['a "b"', "c"]),
        (b'a,"never closed\n', ["a", "never closed"]),
        ("größer,1".encode(), ["größer", "1"]),
        (b"\xff,1", ["\\xff", "1"]),
    ],
)
def test_line_is_split_at_its_commas_but_not_within_quotes(line: bytes, fields: list[str]) -> None:
    assert split(line) == fields


def test_line_that_can_not_be_split_says_why() -> None:
    with pytest.raises(Unfit) as refused:
        split(b'"' + b"x" * 200_000)
    assert refused.value.expected == "fields separated by commas"
    assert "field larger than field limit" in refused.value.found


@given(st.binary(max_size=60))
@example(b'"\x00')
@example(b'"a"b,\r,"')
def test_any_line_is_split_or_refused(line: bytes) -> None:
    try:
        assert isinstance(split(line), list)
    except Unfit as refused:
        assert refused.expected == "fields separated by commas"


@pytest.mark.parametrize(
    ("text", "as_shown"),
    [("450.1", "'450.1'"), ("x" * 60, repr("x" * 60)), ("x" * 61, repr("x" * 60) + "…"), ("\x00", "'\\x00'")],
)
def test_text_is_shown_in_quotes_and_cut(text: str, as_shown: str) -> None:
    assert shown(text) == as_shown


# --- layouts


@pytest.mark.parametrize(
    ("line", "layout", "has_header"),
    [
        (BAR_HEADER, BARS, True),
        (TRADE_HEADER, TRADES, True),
        (AGGREGATE_HEADER, AGGREGATE_TRADES, True),
        (KLINE_HEADER, KLINES, True),
        (TRADE, TRADES, False),
        (AGGREGATE_TRADE, AGGREGATE_TRADES, False),
        (KLINE, KLINES, False),
        # a header may say it its own way
        ("Unix Timestamp,Open,High,Low,Close,Vol.", BARS, True),
        ("V,C,L,H,O,T", BARS, True),
        ("Trade ID,P,Q,T,M", TRADES, True),
        ("a,p,q,f,l,T,m", AGGREGATE_TRADES, True),
    ],
)
def test_table_is_known_by_its_header_or_by_a_row_that_fits(
    line: str, layout: Layout, has_header: bool
) -> None:
    table = table_for(line)
    assert (table.layout is layout, table.has_header) == (True, has_header)
    assert table.width == len(line.split(","))


@pytest.mark.parametrize(
    "line",
    [
        "",
        BAR,  # bars alone could be anything
        "timestamp,open,high,low,close",
        "id,price,qty,time",
        TRADE.removesuffix(",False"),
        with_field(TRADE, 4, "yesterday"),
        with_field(AGGREGATE_TRADE, 6, "maybe"),
        with_field(KLINE, 6, "1739999999999"),
        KLINE + ",0",
    ],
)
def test_line_of_no_known_table_shows_none(line: str) -> None:
    assert table_of(line.split(","), SYMBOL) is None


def test_header_of_klines_is_not_taken_for_one_of_bars() -> None:
    assert LAYOUTS.index(KLINES) < LAYOUTS.index(BARS), (
        "a header of klines has all that one of bars must have"
    )
    without_close_time = KLINE_HEADER.replace("close_time", "something")
    assert table_for(without_close_time).layout is BARS


def test_first_choice_of_a_name_wins_over_those_that_follow_it() -> None:
    assert candle_of(
        "date,unix,open,high,low,close,volume,timestamp", f"no,no,2,5,1,4,9,{START}"
    ).open_time == (START)
    assert candle_of("vol,timestamp,open,high,low,close,volume", f"no,{START},2,5,1,4,9").volume == "9"


@pytest.mark.parametrize(
    "order", [order for number, order in enumerate(permutations(range(6))) if not number % 60]
)
def test_columns_may_stand_in_any_order(order: tuple[int, ...]) -> None:
    header, row = BAR_HEADER.split(","), f"{START},2,5,1,4,9".split(",")
    candle = candle_of(",".join(header[place] for place in order), ",".join(row[place] for place in order))
    assert (candle.open_time, candle.open, candle.high) == (START, "2", "5")
    assert (candle.low, candle.close, candle.volume) == ("1", "4", "9")


@pytest.mark.parametrize(
    ("line", "of_candles", "tells_close_time", "stream"),
    [
        (BAR_HEADER, True, False, None),
        (KLINE_HEADER, True, True, None),
        (TRADE_HEADER, False, False, "trade"),
        (AGGREGATE_HEADER, False, False, "aggTrade"),
    ],
)
def test_table_knows_what_it_tells(
    line: str, of_candles: bool, tells_close_time: bool, stream: str | None
) -> None:
    table = table_for(line)
    assert (table.is_of_candles, table.tells_close_time) == (of_candles, tells_close_time)
    if stream is not None:
        assert table.stream_name == stream


# --- payloads


def test_trade_is_what_its_row_says_number_for_number() -> None:
    payload = payload_of(TRADE_HEADER, TRADE)
    assert isinstance(payload, Trade)
    assert (payload.symbol, payload.event, payload.trade_id) == (SYMBOL, "trade", 51175358)
    assert (payload.price, payload.quantity) == ("17.80180000", "5.69000000"), "numbers keep their text"
    assert payload.event_time == payload.trade_time == START + 123
    assert (payload.buyer_is_maker, payload.ignored) == (True, False)


def test_aggregate_trade_is_what_its_row_says() -> None:
    payload = payload_of(AGGREGATE_TRADE, AGGREGATE_TRADE)
    assert isinstance(payload, AggTrade)
    assert (payload.symbol, payload.event, payload.aggregate_id) == (SYMBOL, "aggTrade", 26129)
    assert (payload.price, payload.quantity) == ("0.01633102", "4.70443515")
    assert (payload.first_trade_id, payload.last_trade_id) == (27781, 27790)
    assert payload.event_time == payload.trade_time == START + 123
    assert (payload.buyer_is_maker, payload.ignored) == (False, True)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id,price,qty,time,is_buyer_maker", f"1,2,3,{START},true"),
        (AGGREGATE_HEADER, AGGREGATE_TRADE.removesuffix(",True")),
    ],
)
def test_best_match_is_left_out_where_no_column_has_it(header: str, row: str) -> None:
    payload = payload_of(header, row)
    assert isinstance(payload, Trade | AggTrade)
    assert payload.ignored is UNSET


def test_kline_is_what_its_row_says_and_is_told_when_it_closes() -> None:
    payload = payload_of(KLINE_HEADER, KLINE, "1m")
    assert isinstance(payload, Kline)
    candle = payload.candle
    assert (payload.event_time, payload.symbol, payload.event) == (START + MINUTE - 1, SYMBOL, "kline")
    assert (candle.open_time, candle.close_time) == (START, START + MINUTE - 1)
    assert (candle.open, candle.high, candle.low, candle.close) == ("4.1507", "4.1587", "4.1506", "4.1554")
    assert (candle.volume, candle.quote_volume, candle.trades) == ("539.23", "2240.398609", 13)
    assert (candle.taker_buy_volume, candle.taker_buy_quote_volume) == ("401.82", "1669.98121300")
    assert (candle.symbol, candle.interval, candle.is_closed) == (SYMBOL, "1m", True)
    assert (candle.first_trade_id, candle.last_trade_id) == (-1, -1), "no row has them"


def test_bar_is_a_closed_candle_that_says_nothing_of_trades() -> None:
    payload = payload_of(BAR_HEADER, BAR, "5m")
    assert isinstance(payload, Kline)
    candle = payload.candle
    assert (candle.open_time, candle.close_time) == (START, START + 5 * MINUTE - 1)
    assert payload.event_time == candle.close_time
    assert (candle.interval, candle.trades, candle.is_closed) == ("5m", 0, True)
    assert (candle.quote_volume, candle.taker_buy_volume) == ("0", "0")


@pytest.mark.parametrize(
    ("interval", "opens", "length"),
    [
        ("1s", "2025-02-19", 1_000),
        ("15m", "2025-02-19", 15 * MINUTE),
        ("4h", "2025-02-19", 4 * HOUR),
        ("3d", "2025-02-19", 3 * DAY),
        ("1w", "2025-02-17", 7 * DAY),
        ("1M", "2024-02-01", 29 * DAY),
        ("1M", "2025-02-01", 28 * DAY),
        ("1M", "2025-12-01", 31 * DAY),
    ],
)
def test_bar_closes_a_millisecond_before_the_next_one_opens(interval: str, opens: str, length: int) -> None:
    candle = candle_of(BAR_HEADER, f"{opens},1,2,1,2,3", interval)
    assert candle.close_time == candle.open_time + length - 1


# --- what is wrong with a row

TIME = "a time from 2001-09-09 to 2286 (ISO 8601 or epoch s, ms, us)"
PRICE, QUANTITY = "a price above 0", "a quantity of 0 or more"
WRONG, MISSING = InvalidReason.WRONG_TYPE, InvalidReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("place", "text", "expected", "found", "reason"),
    [
        (0, "yesterday", TIME, "'yesterday'", WRONG),
        (0, "", TIME, "nothing", MISSING),
        (1, "0", PRICE, "'0'", WRONG),
        (1, "-1", PRICE, "'-1'", WRONG),
        (1, "+1", PRICE, "'+1'", WRONG),
        (1, "nan", PRICE, "'nan'", WRONG),
        (1, "inf", PRICE, "'inf'", WRONG),
        (1, "1e999", PRICE, "'1e999'", WRONG),
        (1, "1,5", "6 fields", "7", WRONG),
        (1, "1_000", PRICE, "'1_000'", WRONG),
        (1, "0x10", PRICE, "'0x10'", WRONG),
        (1, "\u0661", PRICE, "'\u0661'", WRONG),
        (2, "", PRICE, "nothing", MISSING),
        (3, "   ", PRICE, "nothing", MISSING),
        (4, "1" * 70, None, None, None),
        (4, "x" * 70, PRICE, f"'{'x' * 60}'…", WRONG),
        (5, "-0", QUANTITY, "'-0'", WRONG),
        (5, "", QUANTITY, "nothing", MISSING),
        (5, "many", QUANTITY, "'many'", WRONG),
        (5, "0", None, None, None),
        (5, ".5", None, None, None),
        (5, "5.", None, None, None),
        (5, "1.5E-7", None, None, None),
    ],
)
def test_field_of_a_bar_is_a_number_of_its_kind_or_is_named(
    place: int, text: str, expected: str | None, found: str | None, reason: InvalidReason | None
) -> None:
    row = with_field(BAR, place, text)
    if expected is None:
        candle = candle_of(BAR_HEADER, row)
        assert text in (candle.close, candle.volume), "it keeps its text"
        return
    refused = unfit(BAR_HEADER, row)
    assert (refused.expected, refused.found, refused.reason) == (expected, found, reason)


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        (0, "-1", "an id or count"),
        (0, "1.0", "an id or count"),
        (0, "9223372036854775808", "an id or count"),
        (0, "10000000000000000000000", "an id or count"),
        (5, "maybe", "True or False"),
        (5, "1", "True or False"),
        (6, "", "True or False"),
    ],
)
def test_field_of_a_trade_is_of_its_kind_or_is_named(place: int, text: str, expected: str) -> None:
    refused = unfit(TRADE_HEADER, with_field(TRADE, place, text))
    assert refused.expected == expected
    assert refused.found == ("nothing" if not text else f"'{text}'")


def test_largest_id_is_one() -> None:
    payload = payload_of(TRADE_HEADER, with_field(TRADE, 0, f"{2**63 - 1}"))
    assert isinstance(payload, Trade)
    assert payload.trade_id == 2**63 - 1


@pytest.mark.parametrize("text", ["true", "True", "TRUE", " true ", "tRuE"])
def test_truth_may_be_written_in_any_case(text: str) -> None:
    payload = payload_of(TRADE_HEADER, with_field(with_field(TRADE, 5, text), 6, text))
    assert isinstance(payload, Trade)
    assert (payload.buyer_is_maker, payload.ignored) == (True, True)


def test_kline_that_closes_before_it_opens_is_none() -> None:
    for closes in (START, START - 1):
        refused = unfit(KLINE_HEADER, with_field(KLINE, 6, str(closes)))
        assert refused.expected == "a close time after the open time"
        assert refused.found == f"'{closes}'"


@pytest.mark.parametrize(
    ("row", "found", "reason"), [(BAR.removesuffix(",1200"), "5", MISSING), (f"{BAR},1", "7", WRONG)]
)
def test_row_has_as_many_fields_as_the_table(row: str, found: str, reason: InvalidReason) -> None:
    refused = unfit(BAR_HEADER, row)
    assert (refused.expected, refused.found, refused.reason) == ("6 fields", found, reason)


# --- times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1740000000", START),
        ("1740000000.5", START + 500),
        ("1740000000.1239", START + 123),
        ("1740000000.", START),
        ("1740000000123.9", START + 123),
        ("1740000000123999", START + 123),
        ("1740000000123999999", START + 123),
        ("2025-02-19T21:20:00Z", START),
        ("20250219T212000+0000", START),
        ("2025-02-19 16:20:00.001-05:00", START + 1),
        ("2025-02-19", START - 21 * HOUR - 20 * MINUTE),
        ("  1740000000\t", START),
        ("1000000000", 1_000_000_000_000),
        ("2286-07-27T23:59:59.999Z", 9_989_999_999_999),
    ],
)
def test_time_is_read_in_any_usual_form(text: str, time: int) -> None:
    assert milliseconds(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "174000000",
        "17400000001",
        "-1740000000",
        "01740000000",
        "1740000000,5",
        "2001-09-08",
        "2286-07-28T00:00:00Z",
        "9999999999",
        "2025-02-30",
        "2025-02-19T25:00",
        "19.02.2025",
        "2025-W08-3",
        "2025-02-19T21:20:00 UTC",
        "",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(Unfit) as refused:
        milliseconds(text)
    assert refused.value.expected == TIME


@given(st.datetimes(datetime(2001, 9, 10), datetime(2286, 1, 1)))  # noqa: DTZ001  # made UTC below
def test_any_time_is_the_same_in_every_form(when: datetime) -> None:
    when = when.replace(tzinfo=UTC, microsecond=when.microsecond // 1000 * 1000)
    time = round(when.timestamp() * 1000)
    forms = (
        when.isoformat(),
        when.isoformat(" ").removesuffix("+00:00"),
        f"{time}",
        f"{time}999",
        f"{time // 1000}.{time % 1000:03}",
    )
    assert {milliseconds(form) for form in forms} == {time}


# --- intervals


def bars(*minutes: float) -> list[Candle]:
    """Return bars that open so many minutes after the start."""
    return [candle_of(BAR_HEADER, with_field(BAR, 0, str(START + round(each * MINUTE)))) for each in minutes]


@pytest.mark.parametrize("interval", [name for name in KLINE_INTERVALS if name != "1M"])
def test_every_interval_of_binance_is_known_by_two_bars(interval: str) -> None:
    first = candle_of(BAR_HEADER, BAR, interval)
    second = candle_of(BAR_HEADER, with_field(BAR, 0, str(first.close_time + 1)), interval)
    assert interval_of([first, second], closes_are_told=False) == interval


@pytest.mark.parametrize(
    ("minutes", "interval"),
    [
        ([], LONE_BAR_INTERVAL),
        ([0], LONE_BAR_INTERVAL),
        ([0, 0], LONE_BAR_INTERVAL),
        ([0, 5, 10], "5m"),
        ([0, 5, 20, 25], "5m"),
        ([0, 28 * 1440], "1M"),
        ([0, 31 * 1440], "1M"),
        ([5, 0, 5, 10], "5m"),
        ([0, 2, 7, 12, 17], "5m"),
    ],
)
def test_interval_is_the_smallest_distance_that_binance_has(minutes: list[float], interval: str) -> None:
    assert interval_of(bars(*minutes), closes_are_told=False) == interval


@pytest.mark.parametrize("minutes", [[0, 2], [0, 2, 4, 9], [0, 45], [0, 0.75, 1.75]])
def test_bars_at_another_distance_are_named(minutes: list[float]) -> None:
    with pytest.raises(Unfit) as refused:
        interval_of(bars(*minutes), closes_are_told=False)
    assert refused.value.expected.startswith("bars at one of Binance's intervals (1s, 1m, ")
    assert refused.value.found == f"bars {(minutes[1] - minutes[0]) * 60:g} s apart"


def test_interval_of_klines_is_told_by_any_of_them_alone() -> None:
    hour = candle_of(KLINE_HEADER, with_field(KLINE, 6, str(START + HOUR - 1)))
    assert interval_of([hour], closes_are_told=True) == "1h"
    assert interval_of([], closes_are_told=True) == LONE_BAR_INTERVAL
    odd = candle_of(KLINE_HEADER, with_field(KLINE, 6, str(START + 50_000 - 1)))
    with pytest.raises(Unfit) as refused:
        interval_of([odd], closes_are_told=True)
    assert refused.value.found == "bars 50 s apart"
