"""One row of a CSV file → one of Binance's payloads, or Unfit, which says what is wrong with it.

A file's table is known by its header, whatever the order and case of the names, or, as Binance's public data
has none, by a row that fits. Numbers keep their text. It knows nothing of files, streams or the other rows.

Source of the dumps' columns: github.com/binance/binance-public-data, README; spot's times are microseconds
from 2025 on. The futures' dumps have a header.
"""

from __future__ import annotations

import csv
import math
import re
from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from msgspec import UNSET

from feedd.model import InvalidReason
from feedd.venues.binance.spot.payloads import AggTrade, Candle, Kline, Trade
from feedd.venues.binance.spot.streams import KLINE_INTERVALS

RecordedPayload = Trade | AggTrade | Kline
Read = Callable[[Sequence[str]], RecordedPayload]
"""Turns a row's fields into a payload. Raises Unfit."""

MONTH: Final = "1M"
LONE_BAR_INTERVAL: Final = "1m"
"""What a single bar is taken for: it has no neighbour to tell its interval by."""

_DAY_MS: Final = 86_400_000
_EARLIEST_MS: Final = 1_000_000_000_000
_LATEST_MS: Final = 9_990_000_000_000
"""A candle that opens before it closes within what Binance's messages can say (payloads.Milliseconds)."""
_A_TIME: Final = "a time from 2001-09-09 to 2286 (ISO 8601 or epoch s, ms, us)"
_EPOCH_MS: Final = {10: (1000, 1), 13: (1, 1), 16: (1, 1_000), 19: (1, 1_000_000)}
"""Digits of an epoch between 2001 and 2286 in s, ms, us, ns: what to multiply and to divide by."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FOUND_CHARACTERS: Final = 60

_is_number = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_is_identifier = re.compile(r"[0-9]{1,19}").fullmatch
_is_epoch = re.compile(r"([1-9](?:[0-9]{9}|[0-9]{12}|[0-9]{15}|[0-9]{18}))(?:\.([0-9]*))?").fullmatch
_is_iso = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}(?:[Tt ][0-9:.,]+(?:Z|[+-][0-9:]+)?)?").fullmatch
_BOOLEANS: Final = {"true": True, "false": False, "True": True, "False": False}
_LARGEST_IDENTIFIER: Final = 2**63 - 1


class Unfit(Exception):
    """A row is not what its table asks for."""

    def __init__(self, expected: str, found: str, reason: InvalidReason = InvalidReason.WRONG_TYPE) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Layout:
    """A kind of table."""

    reader: Callable[[str, Mapping[str, int], str], Read]
    """Makes a reader of rows from the symbol, the columns' places and, for candles, the interval."""
    names: Mapping[str, tuple[str, ...]]
    """Each column that is used, and what a header may call it, the first choice first."""
    optional: frozenset[str] = frozenset()
    bare: tuple[str, ...] | None = None
    """All the columns in the order of Binance's dumps without header."""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """One file's layout: which column stands where."""

    layout: Layout
    columns: Mapping[str, int]
    width: int
    has_header: bool

    @property
    def is_of_candles(self) -> bool:
        return self.layout in (KLINES, BARS)

    @property
    def tells_close_time(self) -> bool:
        return self.layout is KLINES

    @property
    def stream_name(self) -> str:
        """The stream of anything but candles."""
        return "trade" if self.layout is TRADES else "aggTrade"

    def reader(self, symbol: str, interval: str) -> Read:
        """Return what reads this table's rows."""
        read = self.layout.reader(symbol, self.columns, interval)
        width = self.width

        def read_row(row: Sequence[str]) -> RecordedPayload:
            if len(row) != width:
                reason = InvalidReason.MISSING_FIELD if len(row) < width else InvalidReason.WRONG_TYPE
                raise Unfit(f"{width} fields", f"{len(row)}", reason)
            return read(row)

        return read_row


def split(line: bytes) -> list[str]:
    """Return a line's fields. Raises Unfit."""
    text = line.decode("utf-8", "backslashreplace").strip("\r\n")
    if '"' not in text:
        return text.split(",")
    # Each line by itself: a quote that is never closed must not swallow the rows after it.
    try:
        return next(csv.reader((text,)), [])
    except csv.Error as error:
        raise Unfit("fields separated by commas", str(error)) from None


def table_of(row: Sequence[str], symbol: str) -> CsvTable | None:
    """Return the table that a row shows itself to be the header or a row of."""
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in row]
    for layout in LAYOUTS:
        table = _by_header(layout, names) or _by_fit(layout, row, symbol)
        if table is not None:
            return table
    return None


def _by_header(layout: Layout, names: Sequence[str]) -> CsvTable | None:
    columns = {}
    for column, choices in layout.names.items():
        found = next((name for name in choices if name in names), None)
        if found is not None:
            columns[column] = names.index(found)
        elif column not in layout.optional:
            return None
    return CsvTable(layout, columns, len(names), has_header=True)


def _by_fit(layout: Layout, row: Sequence[str], symbol: str) -> CsvTable | None:
    if layout.bare is None or len(row) != len(layout.bare):
        return None
    columns = {column: place for place, column in enumerate(layout.bare)}
    table = CsvTable(layout, columns, len(row), has_header=False)
    try:
        table.reader(symbol, LONE_BAR_INTERVAL)(row)
    except Unfit:
        return None
    return table


def interval_of(candles: Sequence[Candle], closes_are_told: bool) -> str:
    """Return the interval of a file's first candles. Raises Unfit where it is none of Binance's."""
    if closes_are_told:
        spans = [candle.close_time + 1 - candle.open_time for candle in candles]
    else:
        pairs = pairwise(candles)
        spans = [later.open_time - bar.open_time for bar, later in pairs if later.open_time > bar.open_time]
    if not spans:
        return LONE_BAR_INTERVAL
    # Gaps only make distances greater. A few smaller ones may come from a first bar that is out of step.
    fitting = {span: name for span in spans if (name := _interval_of_span(span)) is not None}
    smallest = min(fitting, default=math.inf)
    if sum(span < smallest for span in spans) * 2 >= len(spans):
        known = ", ".join(KLINE_INTERVALS)
        raise Unfit(f"bars at one of Binance's intervals ({known})", f"bars {min(spans) / 1000:g} s apart")
    return fitting[min(fitting)]


def _interval_of_span(milliseconds: int) -> str | None:
    if milliseconds % _DAY_MS == 0 and 28 <= milliseconds // _DAY_MS <= 31:
        return MONTH
    return _INTERVALS.get(milliseconds)


def milliseconds(text: str) -> int:
    """Return the UTC time in a text, in ms since 1970. Raises Unfit."""
    text = text.strip()
    epoch = _is_epoch(text)
    if epoch is not None:
        digits, fraction = epoch[1], epoch[2]
        multiplier, divisor = _EPOCH_MS[len(digits)]
        value = int(digits) * multiplier // divisor
        # A fraction of anything smaller than a second is below the millisecond.
        value += int(f"{fraction}000"[:3]) if fraction and multiplier == 1000 else 0
    else:
        value = _from_iso(text)
    if not _EARLIEST_MS <= value < _LATEST_MS:
        raise _unfit(_A_TIME, text)
    return value


def _from_iso(text: str) -> int:
    if _is_iso(text) is None:
        raise _unfit(_A_TIME, text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _unfit(_A_TIME, text) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _price(text: str) -> str:
    text = text.strip()
    if _is_number(text) is not None and 0.0 < float(text) < math.inf:
        return text
    raise _unfit("a price above 0", text)


def _quantity(text: str) -> str:
    text = text.strip()
    if _is_number(text) is not None and float(text) < math.inf:
        return text
    raise _unfit("a quantity of 0 or more", text)


def _identifier(text: str) -> int:
    text = text.strip()
    if _is_identifier(text) is not None and int(text) <= _LARGEST_IDENTIFIER:
        return int(text)
    raise _unfit("an id or count", text)


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text)
    if value is None:
        value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise _unfit("True or False", text.strip())
    return value


def _unfit(expected: str, text: str) -> Unfit:
    if not text:
        return Unfit(expected, "nothing", InvalidReason.MISSING_FIELD)
    return Unfit(expected, shown(text))


def shown(text: str) -> str:
    """Return a text as an error message shows it."""
    cut = "…" if len(text) > _FOUND_CHARACTERS else ""
    return f"{text[:_FOUND_CHARACTERS]!r}{cut}"


def _trade_reader(symbol: str, columns: Mapping[str, int], _: str) -> Read:
    identity, price, quantity = columns["id"], columns["price"], columns["quantity"]
    time, buyer_is_maker, best_match = columns["time"], columns["buyer_is_maker"], columns.get("best_match")

    def read(row: Sequence[str]) -> Trade:
        trade_time = milliseconds(row[time])
        return Trade(
            event_time=trade_time,
            symbol=symbol,
            event="trade",
            trade_id=_identifier(row[identity]),
            price=_price(row[price]),
            quantity=_quantity(row[quantity]),
            trade_time=trade_time,
            buyer_is_maker=_boolean(row[buyer_is_maker]),
            ignored=UNSET if best_match is None else _boolean(row[best_match]),
        )

    return read


def _aggregate_trade_reader(symbol: str, columns: Mapping[str, int], _: str) -> Read:
    identity, price, quantity = columns["id"], columns["price"], columns["quantity"]
    first, last = columns["first"], columns["last"]
    time, buyer_is_maker, best_match = columns["time"], columns["buyer_is_maker"], columns.get("best_match")

    def read(row: Sequence[str]) -> AggTrade:
        trade_time = milliseconds(row[time])
        return AggTrade(
            event_time=trade_time,
            symbol=symbol,
            event="aggTrade",
            aggregate_id=_identifier(row[identity]),
            price=_price(row[price]),
            quantity=_quantity(row[quantity]),
            first_trade_id=_identifier(row[first]),
            last_trade_id=_identifier(row[last]),
            trade_time=trade_time,
            buyer_is_maker=_boolean(row[buyer_is_maker]),
            ignored=UNSET if best_match is None else _boolean(row[best_match]),
        )

    return read


def _bar_reader(symbol: str, columns: Mapping[str, int], interval: str) -> Read:
    time, volume = columns["time"], columns["volume"]
    open_, high, low, close = (columns[name] for name in _PRICES)

    def read(row: Sequence[str]) -> Kline:
        open_time = milliseconds(row[time])
        candle = Candle(
            open_time=open_time,
            close_time=_close_time(open_time, interval),
            symbol=symbol,
            interval=interval,
            first_trade_id=-1,
            last_trade_id=-1,
            open=_price(row[open_]),
            close=_price(row[close]),
            high=_price(row[high]),
            low=_price(row[low]),
            volume=_quantity(row[volume]),
            trades=0,
            is_closed=True,
            quote_volume="0",
            taker_buy_volume="0",
            taker_buy_quote_volume="0",
            ignored="0",
        )
        return Kline(event_time=candle.close_time, symbol=symbol, event="kline", candle=candle)

    return read


def _kline_reader(symbol: str, columns: Mapping[str, int], interval: str) -> Read:
    time, closes_at, trades = columns["time"], columns["close_time"], columns["trades"]
    volumes = [columns[name] for name in _VOLUMES]
    volume, quote_volume, taker_buy_volume, taker_buy_quote_volume = volumes
    open_, high, low, close = (columns[name] for name in _PRICES)

    def read(row: Sequence[str]) -> Kline:
        open_time, close_time = milliseconds(row[time]), milliseconds(row[closes_at])
        if close_time <= open_time:
            raise _unfit("a close time after the open time", row[closes_at])
        candle = Candle(
            open_time=open_time,
            close_time=close_time,
            symbol=symbol,
            interval=interval,
            first_trade_id=-1,
            last_trade_id=-1,
            open=_price(row[open_]),
            close=_price(row[close]),
            high=_price(row[high]),
            low=_price(row[low]),
            volume=_quantity(row[volume]),
            trades=_identifier(row[trades]),
            is_closed=True,
            quote_volume=_quantity(row[quote_volume]),
            taker_buy_volume=_quantity(row[taker_buy_volume]),
            taker_buy_quote_volume=_quantity(row[taker_buy_quote_volume]),
            ignored="0",
        )
        return Kline(event_time=close_time, symbol=symbol, event="kline", candle=candle)

    return read


def _close_time(open_time: int, interval: str) -> int:
    if interval == MONTH:
        opened = datetime.fromtimestamp(open_time / 1000, UTC)
        return open_time + monthrange(opened.year, opened.month)[1] * _DAY_MS - 1
    return open_time + _SPANS[interval] - 1


_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": _DAY_MS, "w": 7 * _DAY_MS}
_SPANS: Final = {name: int(name[:-1]) * _UNITS[name[-1]] for name in KLINE_INTERVALS if name != MONTH}
_INTERVALS: Final = {span: name for name, span in _SPANS.items()}

_PRICES: Final = ("open", "high", "low", "close")
_VOLUMES: Final = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")

_PRICE_NAMES: Final = {"price": ("price", "p")}
_QUANTITY_NAMES: Final = {"quantity": ("quantity", "qty", "q")}
_TIME_NAMES: Final = {"time": ("time", "timestamp", "transacttime", "tradetime", "t")}
_MAKER_NAMES: Final = {
    "buyer_is_maker": ("isbuyermaker", "buyerismaker", "wasthebuyerthemaker", "m"),
    "best_match": ("isbestmatch", "bestmatch", "wasthetradethebestpricematch"),
}
_BAR_NAMES: Final = {
    "time": (
        *("opentime", "timestamp", "datetime", "time", "date", "starttime"),
        *("unix", "unixtime", "unixtimestamp", "ts", "t"),
    ),
    "open": ("open", "openprice", "o"),
    "high": ("high", "highprice", "h"),
    "low": ("low", "lowprice", "l"),
    "close": ("close", "closeprice", "last", "c"),
    "volume": ("volume", "vol", "basevolume", "v"),
}

TRADES: Final = Layout(
    _trade_reader,
    {"id": ("id", "tradeid")} | _PRICE_NAMES | _QUANTITY_NAMES | _TIME_NAMES | _MAKER_NAMES,
    optional=frozenset({"best_match"}),
    bare=("id", "price", "quantity", "quote_quantity", "time", "buyer_is_maker", "best_match"),
)
AGGREGATE_TRADES: Final = Layout(
    _aggregate_trade_reader,
    {
        "id": ("aggid", "aggtradeid", "aggregatetradeid", "a"),
        "first": ("firstid", "firsttradeid", "f"),
        "last": ("lastid", "lasttradeid", "l"),
    }
    | _PRICE_NAMES
    | _QUANTITY_NAMES
    | _TIME_NAMES
    | _MAKER_NAMES,
    optional=frozenset({"best_match"}),
    bare=("id", "price", "quantity", "first", "last", "time", "buyer_is_maker", "best_match"),
)
KLINES: Final = Layout(
    _kline_reader,
    _BAR_NAMES
    | {
        "close_time": ("closetime",),
        "quote_volume": ("quotevolume", "quoteassetvolume"),
        "trades": ("count", "numberoftrades", "trades"),
        "taker_buy_volume": ("takerbuyvolume", "takerbuybasevolume", "takerbuybaseassetvolume", "takerbase"),
        "taker_buy_quote_volume": ("takerbuyquotevolume", "takerbuyquoteassetvolume", "takerquote"),
    },
    bare=(
        *("time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trades"),
        *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
    ),
)
BARS: Final = Layout(_bar_reader, _BAR_NAMES)

LAYOUTS: Final = (KLINES, AGGREGATE_TRADES, TRADES, BARS)
"""From the most demanding: a header of klines has all that one of bars must have."""
EXPECTED: Final = (
    "a header with timestamp, open, high, low, close, volume"
    " or rows of Binance's trades (7 fields), aggTrades (8) or klines (12)"
)
