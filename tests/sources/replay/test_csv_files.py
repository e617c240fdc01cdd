"""CSV files → the messages that Binance would have sent: formats, bad rows, archives, memory."""

from __future__ import annotations

import gzip
import io
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import feedd
from feedd.errors import FeeddError
from feedd.model import InvalidReason
from feedd.sources.replay import csv_files
from feedd.sources.replay.csv_files import BadRow, CsvRecording, Row, UnusableFile, find_file
from feedd.venues.binance.common.control_replies import Drifted
from feedd.venues.binance.spot.decode import SpotDecoder

SYMBOL = "SPY"
START = 1_740_000_000_000
"""2025-02-19 21:20:00 UTC, in ms."""
BAR_HEADER = "timestamp,open,high,low,close,volume"
TRADE = "51175358,17.80180000,5.69000000,101.29224200,1740000000123,True,False"
AGGREGATE_TRADE = "26129,0.01633102,4.70443515,27781,27790,1740000000123,False,True"
KLINE = "1740000000000,4.1507,4.1587,4.1506,4.1554,539.23,1740000059999,2240.398609,13,401.82,1669.98121300,0"
BAR_DATA = orjson.loads(
    """{"e":"kline","E":1740000059999,"s":"SPY","k":{"t":1740000000000,"T":1740000059999,"s":"SPY","i":"1m",
    "f":-1,"L":-1,"o":"450.10","c":"450.20","h":"450.55","l":"449.90","v":"1200","n":0,"x":true,"q":"0","V":"0",
    "Q":"0","B":"0"}}"""
)
TRADE_DATA = orjson.loads(
    """{"e":"trade","E":1740000000123,"s":"SPY","t":51175358,"p":"17.80180000","q":"5.69000000",
    "T":1740000000123,"m":true}"""
)
AGGREGATE_TRADE_DATA = orjson.loads(
    """{"e":"aggTrade","E":1740000000123,"s":"SPY","a":26129,"p":"0.01633102","q":"4.70443515","f":27781,
    "l":27790,"T":1740000000123,"m":false}"""
)
KLINE_DATA = orjson.loads(
    """{"e":"kline","E":1740000059999,"s":"SPY","k":{"t":1740000000000,"T":1740000059999,"s":"SPY","i":"1m",
    "f":-1,"L":-1,"o":"4.1507","c":"4.1554","h":"4.1587","l":"4.1506","v":"539.23","n":13,"x":true,
    "q":"2240.398609","V":"401.82","Q":"1669.98121300","B":"0"}}"""
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Rows = list[Row | BadRow]


def bar(minute: float, *, seconds: float = 60.0) -> str:
    """A bar's row, so many minutes (or other units) after the start."""
    return f"{START + round(minute * seconds * 1000)},450.10,450.55,449.90,450.20,1200"


def bars(*minutes: float) -> list[str]:
    return [bar(minute) for minute in minutes]


def trade(number: int, time: int | None = None) -> str:
    return f"{number},17.80,5.69,101.29,{START + number if time is None else time},true,true"


def write(folder: Path, *lines: str, name: str = "SPY.csv") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@contextmanager
def opened(path: Path) -> Iterator[CsvRecording]:
    recording = CsvRecording(path, SYMBOL)
    try:
        yield recording
    finally:
        recording.close()


def read(path: Path, batch: int = 7) -> tuple[str, Rows]:
    """Return a file's stream and all its rows."""
    with opened(path) as recording:
        rows: Rows = []
        while some := recording.read(batch):
            assert len(some) <= batch
            rows += some
        assert recording.read(batch) == []
        return recording.subscription.wire_name, rows


def good(rows: Rows) -> list[Row]:
    return [row for row in rows if isinstance(row, Row)]


def bad(rows: Rows) -> list[BadRow]:
    return [row for row in rows if isinstance(row, BadRow)]


def message(row: Row) -> Any:
    return orjson.loads(row.raw)


def refusal(path: Path) -> str:
    with pytest.raises(UnusableFile) as refused:
        CsvRecording(path, SYMBOL)
    return str(refused.value)


# Finding


@pytest.mark.parametrize(
    ("present", "found"),
    [
        (("SPY.csv",), "SPY.csv"),
        (("SPY.csv.gz",), "SPY.csv.gz"),
        (("SPY.zip",), "SPY.zip"),
        (("spy.CSV",), "spy.CSV"),
        (("QQQ.csv", "Spy.Csv.Gz", "SPYG.csv"), "Spy.Csv.Gz"),
        (("SPY.zip", "SPY.csv.gz", "SPY.csv"), "SPY.csv"),
        (("SPY.csv", "Spy.csv", "spy.csv"), "SPY.csv"),
        (("spy.csv", "SPY.zip"), "spy.csv"),
    ],
)
def test_symbols_file_is_found_in_a_folder(tmp_path: Path, present: tuple[str, ...], found: str) -> None:
    for name in present:
        write(tmp_path, name=name)
    assert find_file(tmp_path, "SPY", is_only_symbol=False) == tmp_path / found


def test_folder_by_a_files_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "SPY.csv").mkdir()
    write(tmp_path, name="SPY.zip")
    assert find_file(tmp_path, "SPY", is_only_symbol=True) == tmp_path / "SPY.zip"


def test_one_file_is_its_symbols_or_the_only_symbols(tmp_path: Path) -> None:
    path = write(tmp_path, name="spy.csv")
    assert find_file(path, "SPY", is_only_symbol=False) == path
    assert find_file(path, "QQQ", is_only_symbol=True) == path
    with pytest.raises(UnusableFile) as refused:
        find_file(path, "QQQ", is_only_symbol=False)
    assert str(refused.value) == (
        f"{path}: expected QQQ.csv, QQQ.csv.gz or QQQ.zip, as this is one file for several symbols"
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("there", "expected SPY.csv, SPY.csv.gz or SPY.zip in this folder, found none"),
        ("nowhere", "expected a file or a folder with SPY.csv, SPY.csv.gz or SPY.zip, found none"),
        ("x" * 300, "File name too long"),
    ],
)
def test_missing_file_is_an_error_that_names_the_path(tmp_path: Path, name: str, complaint: str) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UnusableFile) as refused:
        find_file(tmp_path / name, "SPY", is_only_symbol=True)
    assert str(refused.value) == f"{tmp_path / name}: {complaint}"
    assert isinstance(refused.value, FeeddError)


def test_unset_path_is_an_error_that_names_the_key() -> None:
    with pytest.raises(
        UnusableFile, match=r"^FEEDD_CSV_PATH is not set: expected a file or a folder with SPY"
    ):
        find_file(None, "SPY", is_only_symbol=True)


# Formats


def test_bar_becomes_a_closed_kline(tmp_path: Path) -> None:
    wire_name, rows = read(write(tmp_path, BAR_HEADER, *bars(0, 1)))
    assert wire_name == "spy@kline_1m"
    assert message(good(rows)[0]) == {"stream": wire_name, "source": "static", "data": BAR_DATA}
    assert [row.time for row in good(rows)] == [START + 59_999, START + 119_999]


@pytest.mark.parametrize(
    ("stream", "data", "lines"),
    [
        ("trade", TRADE_DATA | {"M": False}, [TRADE]),
        ("trade", TRADE_DATA | {"M": False}, ["id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch", TRADE]),
        (
            "trade",
            TRADE_DATA,
            [
                "id,price,qty,quote_qty,time,is_buyer_maker",
                "51175358,17.80180000,5.69000000,1,1740000000123,TRUE",
            ],
        ),
        ("aggTrade", AGGREGATE_TRADE_DATA | {"M": True}, [AGGREGATE_TRADE]),
        (
            "aggTrade",
            AGGREGATE_TRADE_DATA | {"M": True},
            [
                "aggId,price,qty,firstId,lastId,time,isBuyerMaker,isBestMatch",
                AGGREGATE_TRADE,
            ],
        ),
        (
            "aggTrade",
            AGGREGATE_TRADE_DATA,
            [
                "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker",
                AGGREGATE_TRADE.removesuffix(",True"),
            ],
        ),
        ("kline_1m", KLINE_DATA, [KLINE]),
        (
            "kline_1m",
            KLINE_DATA,
            [
                "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
                "taker_buy_volume,taker_buy_quote_volume,ignore",
                KLINE,
            ],
        ),
        (
            "kline_1m",
            KLINE_DATA,
            [
                "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
                "Taker buy base asset volume,Taker buy quote asset volume,Ignore",
                KLINE,
            ],
        ),
    ],
)
@pytest.mark.parametrize("unit", ["ms", "us"])
def test_binances_dumps_are_read(
    tmp_path: Path, stream: str, data: dict[str, Any], lines: list[str], unit: str
) -> None:
    if unit == "us":  # as spot's dumps have it from 2025 on
        micro = {str(time): f"{time}{tail}" for time, tail in _microseconds()}
        lines = [",".join(micro.get(field, field) for field in line.split(",")) for line in lines]
    wire_name, rows = read(write(tmp_path, *lines))
    assert wire_name == f"spy@{stream}"
    assert [message(row) for row in good(rows)] == [{"stream": wire_name, "source": "static", "data": data}]
    assert not bad(rows)


def _microseconds() -> list[tuple[int, str]]:
    return [(START, "000"), (START + 123, "456"), (START + 59_999, "999")]


@pytest.mark.parametrize(
    "header",
    [
        "timestamp,open,high,low,close,volume",
        "Time,Open,High,Low,Close,Volume",
        "DATETIME,OPEN,HIGH,LOW,CLOSE,VOL",
        "date,o,h,l,c,v",
        "open time,Open Price,High Price,Low Price,Close Price,Vol.",
        '"Open_Time","Open","High","Low","Close","Volume"',
        " unix , open, high, low, close, volume",
        "\ufefftimestamp,open,high,low,close,volume",
    ],
)
def test_header_may_say_it_its_own_way(tmp_path: Path, header: str) -> None:
    _, rows = read(write(tmp_path, header, bar(0)))
    candle = message(good(rows)[0])["data"]["k"]
    assert [candle[key] for key in "tohlcv"] == [START, "450.10", "450.55", "449.90", "450.20", "1200"]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("volume,close,low,high,open,time", f"9,4,1,5,2,{START}"),
        (",time,open,high,low,close,adj close,volume", f"0,{START},2,5,1,4,4,9"),
        ("unix,date,symbol,open,high,low,close,Volume BTC,volume", "no,2025-02-19 21:20,S,2,5,1,4,7,9"),
        ("time,open,high,low,close,volume,close_time,note", f'{START},2,5,1,4,9,,"a ""note"", quoted"'),
        ("time,open,high,low,close,volume,note", f"{START}, 2,5 ,1,4,9,größer\r"),
    ],
)
def test_columns_may_stand_in_any_order_among_others(tmp_path: Path, header: str, row: str) -> None:
    _, rows = read(write(tmp_path, header, row))
    candle = message(good(rows)[0])["data"]["k"]
    assert [candle[key] for key in "tohlcv"] == [START, "2", "5", "1", "4", "9"]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1740000000", START),
        ("1740000000.0", START),
        ("1740000000.5", START + 500),
        ("1740000000.", START),
        ("1740000000123", START + 123),
        ("1740000000123.9", START + 123),
        ("1740000000123999", START + 123),
        ("1740000000123999999", START + 123),
        ("2025-02-19T21:20:00Z", START),
        ("2025-02-19 21:20:00", START),
        ("2025-02-19 21:20", START),
        ("2025-02-19T21:20:00.123456", START + 123),
        ("2025-02-19T16:20:00-05:00", START),
        ("2025-02-19 22:20:00.001+01:00", START + 1),
        ("20250219T212000Z", START),
        ("2025-02-19", START - (21 * 60 + 20) * 60_000),
        ("20250219", START - (21 * 60 + 20) * 60_000),
        (" 1740000000 ", START),
    ],
)
def test_time_is_read_in_any_usual_form(tmp_path: Path, text: str, milliseconds: int) -> None:
    _, rows = read(write(tmp_path, BAR_HEADER, f"{text},1,2,1,2,0"))
    assert message(good(rows)[0])["data"]["k"]["t"] == milliseconds


@pytest.mark.parametrize(
    ("minutes", "interval"),
    [
        ([0], "1m"),
        ([0, 1 / 60], "1s"),
        ([0, 1, 2], "1m"),
        ([0, 3, 6], "3m"),
        ([0, 60], "1h"),
        ([0, 12 * 60], "12h"),
        ([0, 24 * 60, 4 * 24 * 60], "1d"),
        ([0, 7 * 24 * 60], "1w"),
        ([0, 31 * 24 * 60, 59 * 24 * 60], "1M"),
        ([0, 5, 6, 9], "1m"),
        ([0, 0.75, 1.75, 2.75], "1m"),
        ([0, 0, 1], "1m"),
    ],
)
def test_interval_is_the_bars_smallest_distance_that_binance_has(
    tmp_path: Path, minutes: list[float], interval: str
) -> None:
    wire_name, _ = read(write(tmp_path, BAR_HEADER, *bars(*minutes)))
    assert wire_name == f"spy@kline_{interval}"


@pytest.mark.parametrize("month", ["2024-02-01", "2025-02-01", "2025-01-01", "2025-04-01"])
def test_monthly_bar_ends_with_its_month(tmp_path: Path, month: str) -> None:
    days = {"2024-02-01": 29, "2025-02-01": 28, "2025-01-01": 31, "2025-04-01": 30}[month]
    after = "2025-05-01" if month == "2025-04-01" else f"{month[:5]}{int(month[5:7]) + 1:02d}-01"
    wire_name, rows = read(write(tmp_path, BAR_HEADER, *(f"{date},1,2,1,2,3" for date in (month, after))))
    candle = message(good(rows)[0])["data"]["k"]
    assert (wire_name, candle["T"] + 1 - candle["t"]) == ("spy@kline_1M", days * 86_400_000)


@pytest.mark.parametrize(
    ("minutes", "found"), [([0, 1 / 6, 2 / 6, 8 / 6], 10), ([0, 45], 2700), ([0, 0.75, 1.75], 45)]
)
def test_bars_at_no_interval_of_binance_are_an_error(
    tmp_path: Path, minutes: list[float], found: int
) -> None:
    path = write(tmp_path, BAR_HEADER, *bars(*minutes))
    assert refusal(path).startswith(f"{path}: expected bars at one of Binance's intervals (1s, 1m, ")
    assert refusal(path).endswith(f"), found bars {found} s apart")


@pytest.mark.parametrize(
    "lines", [[BAR_HEADER, *bars(0, 1, 2)], [trade(1), trade(2)], [AGGREGATE_TRADE], [KLINE]]
)
def test_every_message_decodes_to_its_own_frame_and_says_static(tmp_path: Path, lines: list[str]) -> None:
    with opened(write(tmp_path, *lines)) as recording:
        decoder = SpotDecoder([recording.subscription])
        for row in good(recording.read(100)):
            assert decoder.decode(row.raw) == Drifted(row.frame, ("source",))
            assert row.time == row.frame.data.event_time


# Bad rows


@pytest.mark.parametrize(
    ("row", "complaint", "reason"),
    [
        ("1,2,3", "expected 6 fields, found 3", InvalidReason.MISSING_FIELD),
        (bar(1) + ",7", "expected 6 fields, found 7", InvalidReason.WRONG_TYPE),
        (f"{START},,3,1,2,5", "expected a price above 0, found nothing", InvalidReason.MISSING_FIELD),
        (
            f"{START},2,3,1,2, ",
            "expected a quantity of 0 or more, found nothing",
            InvalidReason.MISSING_FIELD,
        ),
        (
            ",2,3,1,2,5",
            "expected a time from 2001-09-09 to 2286 (ISO 8601 or epoch s, ms, us), found nothing",
            InvalidReason.MISSING_FIELD,
        ),
        *(
            (
                f"{START},{price},3,1,2,5",
                f"expected a price above 0, found {price!r}",
                InvalidReason.WRONG_TYPE,
            )
            for price in (
                "-1",
                "NaN",
                "nan",
                "inf",
                "1e999",
                "0",
                "0.00",
                "1_0",
                "٣",
                "+1",
                "abc",
                "$5",
                "1.2.3",
            )
        ),
        *(
            (
                f"{START},1,3,1,2,{volume}",
                f"expected a quantity of 0 or more, found {volume!r}",
                InvalidReason.WRONG_TYPE,
            )
            for volume in ("-1", "NaN", "1e999")
        ),
        *(
            (
                f"{time},1,3,1,2,5",
                f"expected a time from 2001-09-09 to 2286 (ISO 8601 or epoch s, ms, us), found {time!r}",
                InvalidReason.WRONG_TYPE,
            )
            for time in (
                *(
                    "02/19/2025",
                    "2025-02-30",
                    "2025-13-01T00:00",
                    "1999-12-31",
                    "2290-01-01",
                    "9999999999999",
                ),
                *(
                    "174000000",
                    "17400000000",
                    "0740000000",
                    "1.74e9",
                    "2025-02-19x21:20",
                    "now",
                    "٢٠٢٥-01-01",
                ),
            )
        ),
        (
            f"{START},{'x' * 100},3,1,2,5",
            f"expected a price above 0, found '{'x' * 60}'…",
            InvalidReason.WRONG_TYPE,
        ),
        ('"' + bar(1), "expected 6 fields, found 1", InvalidReason.MISSING_FIELD),
        (
            f'"{START}"\r,1,3,1,2,5',
            "expected fields separated by commas, found new-line character seen in unquoted field"
            " - do you need to open the file in universal-newline mode?",
            InvalidReason.WRONG_TYPE,
        ),
        ("\x00", "expected 6 fields, found 1", InvalidReason.MISSING_FIELD),
        (
            "x" * 17_000,
            "expected a line of at most 16384 bytes, found a longer one",
            InvalidReason.WRONG_TYPE,
        ),
        (
            "x" * 40_000,
            "expected a line of at most 16384 bytes, found a longer one",
            InvalidReason.WRONG_TYPE,
        ),
    ],
)
def test_bad_bar_is_named_by_file_and_line_and_the_rest_goes_on(
    tmp_path: Path, row: str, complaint: str, reason: InvalidReason
) -> None:
    path = write(tmp_path, BAR_HEADER, bar(0), "", row, bar(1))
    _, rows = read(path)
    assert [str(found) for found in bad(rows)] == [f"{path}:4: {complaint}"]
    assert [found.reason for found in bad(rows)] == [reason]
    assert bad(rows)[0].line.strip()[:100] == row.encode().strip()[:100]
    assert [found.time for found in good(rows)] == [START + 59_999, START + 119_999]


@pytest.mark.parametrize(
    ("lines", "place", "replacement", "complaint"),
    [
        ([trade(1), trade(2), trade(3)], 0, "-1", "expected an id or count, found '-1'"),
        ([trade(1), trade(2), trade(3)], 0, "1.5", "expected an id or count, found '1.5'"),
        ([trade(1), trade(2), trade(3)], 0, str(2**63), f"expected an id or count, found '{2**63}'"),
        ([trade(1), trade(2), trade(3)], 5, "yes", "expected True or False, found 'yes'"),
        ([trade(1), trade(2), trade(3)], 6, "", "expected True or False, found nothing"),
        ([AGGREGATE_TRADE] * 3, 4, "x", "expected an id or count, found 'x'"),
        ([KLINE] * 1 + [KLINE] * 2, 8, "", "expected an id or count, found nothing"),
        (
            [KLINE] * 3,
            6,
            "1740000000000",
            "expected a close time after the open time, found '1740000000000'",
        ),
        ([KLINE] * 3, 10, "-2", "expected a quantity of 0 or more, found '-2'"),
    ],
)
def test_bad_row_of_a_dump_is_named(
    tmp_path: Path, lines: list[str], place: int, replacement: str, complaint: str
) -> None:
    fields = lines[1].split(",")
    fields[place] = replacement
    path = write(tmp_path, lines[0], ",".join(fields), lines[2])
    _, rows = read(path)
    assert str(bad(rows)[0]) == f"{path}:2: {complaint}"


@pytest.mark.parametrize(
    ("times", "bad_lines"),
    [
        ([1, 2, 2, 3], []),
        ([5, 7, 6, 8, 9], [3]),
        ([5, 4, 6, 7], [2]),
        ([5, 6, 7, 4], [4]),
        ([5, 6, 1, 2, 7, 8], [3, 4]),
        ([5, 99, 6, 7], [2]),
        ([99, 5, 6, 7], [1]),
        ([5, 99, 98, 6, 7], [2, 3]),
        ([5, 99, 6, 6, 99], [2]),
        ([5, 6, 99], []),
        ([5, 99, 6], [3]),
    ],
)
def test_row_out_of_time_is_bad_and_the_rows_around_it_are_not(
    tmp_path: Path, times: list[int], bad_lines: list[int]
) -> None:
    lines = [trade(number, START + 1000 * time) for number, time in enumerate(times)]
    path = write(tmp_path, *lines)
    _, rows = read(path)
    assert sorted(row.place for row in bad(rows)) == [f"{path}:{number}" for number in bad_lines]
    played = [row.time for row in good(rows)]
    assert played == sorted(played)


@pytest.mark.parametrize(
    ("times", "complaint"),
    [
        ((5, 7, 6, 8), "expected a time after that of the row before, found an earlier one"),
        ((5, 9, 6, 7), "expected a time before those of the next rows, found a later one"),
    ],
)
def test_row_out_of_time_says_so(tmp_path: Path, times: tuple[int, ...], complaint: str) -> None:
    _, rows = read(write(tmp_path, *(trade(number, START + time) for number, time in enumerate(times))))
    assert [str(row).partition(": ")[2] for row in bad(rows)] == [complaint]


def test_bar_repeated_is_bad_but_trades_may_share_a_time(tmp_path: Path) -> None:
    path = write(tmp_path, BAR_HEADER, *bars(0, 1, 1, 2))
    assert [row.place for row in bad(read(path)[1])] == [f"{path}:4"]
    assert not bad(read(write(tmp_path, trade(1, START), trade(2, START)))[1])


def test_rows_before_the_format_shows_itself_are_bad(tmp_path: Path) -> None:
    path = write(tmp_path, "# exported", "oops", TRADE)
    _, rows = read(path)
    assert [row.place for row in bad(rows)] == [f"{path}:1", f"{path}:2"]
    path = write(tmp_path, "# exported", BAR_HEADER, bar(0), BAR_HEADER, bar(1))
    _, rows = read(path)
    assert [row.place for row in bad(rows)] == [f"{path}:1", f"{path}:4"]
    assert len(good(rows)) == 2


# Unusable files


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "nothing"),
        ("\n \n", "nothing"),
        ("hello\n", "'hello'"),
        ("timestamp,open,high,low,close\n1740000000,1,2,1,2\n", "'timestamp,open,high,low,close'"),
        ("1,2,3,4,5,6,7\n", "'1,2,3,4,5,6,7'"),
        ("1740000000,1,2,1,2,100\n", "'1740000000,1,2,1,2,100'"),
        ("\x00\x01", "'\\x00\\x01'"),
        ("x" * 20_000, f"'{'x' * 60}'…"),
    ],
)
def test_file_of_no_known_format_is_an_error(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "SPY.csv"
    path.write_text(content)
    assert refusal(path) == (
        f"{path}: expected a header with timestamp, open, high, low, close, volume"
        f" or rows of Binance's trades (7 fields), aggTrades (8) or klines (12), found {found}"
    )


def test_format_must_show_itself_soon(tmp_path: Path) -> None:
    noise = ["noise"] * (csv_files.HEAD_LINES - 1)
    assert len(bad(read(write(tmp_path, *noise, TRADE))[1])) == len(noise)
    assert "found 'noise'" in refusal(write(tmp_path, *noise, "noise", TRADE))


def test_file_without_a_good_row_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, BAR_HEADER)
    assert refusal(path) == f"{path}: no good row at its beginning: no rows after its header"
    path = write(tmp_path, BAR_HEADER, "1993-01-29,1,2,1,2,3")
    assert refusal(path).startswith(
        f"{path}: no good row at its beginning: {path}:2: expected a time from 2001-09-09 to 2286"
    )


def test_file_that_vanished_or_is_a_folder_is_an_error(tmp_path: Path) -> None:
    assert refusal(tmp_path / "SPY.csv") == f"{tmp_path}/SPY.csv: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path}: Is a directory"


# Archives


def zipped(content: bytes, *names: str, compression: int = ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with ZipFile(packed, "w", compression) as archive:
        for name in names or ("SPY-trades-2025-02-19.csv",):
            archive.writestr(name, b"" if name.endswith("/") else content)
    return packed.getvalue()


MANY_TRADES = "".join(f"{trade(number)}\n" for number in range(3_000)).encode()


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("SPY.csv", MANY_TRADES),
        ("SPY.csv.gz", gzip.compress(MANY_TRADES)),
        ("SPY.CSV.GZ", gzip.compress(MANY_TRADES[:5_000]) + gzip.compress(MANY_TRADES[5_000:])),
        ("SPY.zip", zipped(MANY_TRADES)),
        ("SPY.ZIP", zipped(MANY_TRADES, "folder/", "folder/SPY.csv")),
    ],
)
def test_packed_file_is_read_like_a_plain_one(tmp_path: Path, name: str, packed: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(packed)
    _, rows = read(path, batch=256)
    assert [message(row)["data"]["t"] for row in good(rows)] == list(range(3_000))


def _encrypted(packed: bytes) -> bytes:
    """Set the flag that says so, in the member's own header and in the directory."""
    directory = packed.index(b"PK\x01\x02")
    flagged = bytearray(packed)
    flagged[6] |= 1
    flagged[directory + 8] |= 1
    return bytes(flagged)


def _of_unknown_compression(packed: bytes) -> bytes:
    directory = packed.index(b"PK\x01\x02")
    changed = bytearray(packed)
    changed[8] = changed[directory + 10] = 99
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "packed", "complaint"),
    [
        ("SPY.csv.gz", MANY_TRADES, "Not a gzipped file (b'0,')"),
        ("SPY.csv.gz", gzip.compress(b"")[:5], "Compressed file ended before the end-of-stream marker"),
        ("SPY.zip", MANY_TRADES, "File is not a zip file"),
        ("SPY.zip", b"", "File is not a zip file"),
        ("SPY.zip", zipped(MANY_TRADES)[:-30], "File is not a zip file"),
        ("SPY.zip", zipped(MANY_TRADES, "a.csv", "b.csv"), "expected one file in it, found 2"),
        ("SPY.zip", zipped(b"", "folder/"), "expected one file in it, found 0"),
        ("SPY.zip", _encrypted(zipped(MANY_TRADES)), "is encrypted, password required"),
        ("SPY.zip", _of_unknown_compression(zipped(MANY_TRADES)), "compression method"),
    ],
)
def test_damaged_archive_is_an_error_that_names_the_path(
    tmp_path: Path, name: str, packed: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(packed)
    text = refusal(path)
    assert text.startswith(f"{path}: ")
    assert complaint in text


@pytest.mark.parametrize(
    ("name", "packed", "complaint"),
    [
        (
            "SPY.csv.gz",
            gzip.compress(MANY_TRADES)[:-2_000],
            "Compressed file ended before the end-of-stream marker was reached",
        ),
        ("SPY.csv.gz", gzip.compress(MANY_TRADES)[:-8] + bytes(8), "CRC check failed"),
        ("SPY.zip", zipped(MANY_TRADES, compression=0).replace(b"2999,17.80", b"2999,17.90"), "Bad CRC-32"),
    ],
)
def test_archive_damaged_further_on_is_read_up_to_there(
    tmp_path: Path, name: str, packed: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(packed)
    with opened(path) as recording:
        rows = recording.read(10_000)
        assert recording.read(1) == []
        assert recording.damage is not None
        assert complaint in recording.damage
    assert 200 < len(good(rows)) <= 3_000
    assert len(bad(rows)) <= 1


# Any bytes


def account(path: Path, content: bytes) -> None:
    """Read a file of any bytes: it is refused, or every row of it comes out once."""
    path.write_bytes(content)
    try:
        _, rows = read(path)
    except UnusableFile as refused:
        assert str(path) in str(refused)
        return
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    headers = sum(bool(line.strip(b" \t\n\r\x0b\x0c")) for line in lines) - len(rows)
    assert headers in (0, 1)
    assert not headers or BAR_HEADER.encode() in content
    times = [row.time for row in good(rows)]
    assert times == sorted(times)
    for row in good(rows):
        assert message(row)["source"] == "static"
    for place in bad(rows):
        assert place.place.startswith(f"{path}:")


TEXT_FIELDS = st.one_of(
    st.sampled_from(
        [
            *("", "0", "1", "-1", "NaN", "True", "false", '"', '"1,2"', "1740000000", "1740000000123"),
            *("2025-02-19 21:20", "2025-02-19T21:21:00Z", "450.10", "٣", "\x00", "\r"),
        ]
    ),
    st.text(max_size=5),
)
ROWS = st.one_of(
    st.lists(TEXT_FIELDS, min_size=5, max_size=13).map(",".join),
    st.integers(0, 5).map(bar),
    st.integers(0, 5).map(trade),
    st.sampled_from([TRADE, AGGREGATE_TRADE, KLINE, BAR_HEADER, ""]),
)


@UNHURRIED
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.lists(ROWS, max_size=8).map(lambda rows: "\n".join(rows).encode("utf-8", "surrogatepass")),
        st.lists(ROWS, max_size=8).map(
            lambda rows: "\n".join([BAR_HEADER, *rows]).encode("utf-8", "surrogatepass")
        ),
    )
)
@example(content=f"{BAR_HEADER}\n{bar(0)}\n\ufeff{bar(1)}\n".encode())
@example(content=b"\xef\xbb\xbf")
def test_any_bytes_are_refused_or_come_out_row_by_row(tmp_path: Path, content: bytes) -> None:
    account(tmp_path / "SPY.csv", content)


SMALL = "".join(f"{line}\n" for line in (BAR_HEADER, *bars(*range(30)))).encode()
PACKED: dict[str, Callable[[bytes], bytes]] = {"SPY.csv.gz": gzip.compress, "SPY.zip": zipped}


@UNHURRIED
@given(
    name=st.sampled_from(list(PACKED)),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 30),
)
def test_any_archive_is_refused_or_read(
    tmp_path: Path, name: str, changes: list[tuple[int, int]], cut: int
) -> None:
    packed = bytearray(PACKED[name](SMALL))
    for place, value in changes:
        packed[place % len(packed)] = value
    path = tmp_path / name
    path.write_bytes(packed[: len(packed) - cut])
    try:
        _, rows = read(path)
    except UnusableFile as refused:
        assert str(path) in str(refused)
    else:
        assert good(rows)


# Memory


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """200,000 rows would fill 100 MB if they were kept.

    Measured once: 5 million trades (388 MB) read in 29 s, with 18.1 MB resident before and 18.5 MB after.
    """
    path = tmp_path / "SPY.csv"
    with path.open("w") as file:
        file.writelines(f"{trade(number)}\n" for number in range(200_000))
    with opened(path) as recording:
        recording.read(10_000)
        before = peak = resident_bytes()
        while recording.read(256):
            peak = max(peak, resident_bytes())
    assert peak - before < 4_000_000


def test_bad_rows_are_not_kept(tmp_path: Path) -> None:
    with opened(write(tmp_path, TRADE, *["oops"] * 5_000)) as recording:
        assert len(recording.read(100)) == 100


# The sample


@pytest.mark.parametrize("symbol", ["SPY", "QQQ"])
def test_sample_ships_half_an_hour_of_bars(symbol: str) -> None:
    folder = Path(feedd.__file__).parent / "samples"
    wire_name, rows = read(find_file(folder, symbol, is_only_symbol=False))
    assert wire_name == "spy@kline_1m"
    assert len(good(rows)) == len(rows) == 30
    for row in good(rows):
        candle = message(row)["data"]["k"]
        low, opened_at, closed_at, high = (float(candle[key]) for key in "loch")
        assert low <= min(opened_at, closed_at) <= max(opened_at, closed_at) <= high
