"""The events of a strategy's feed: market messages with names in whole words, and what was missed of them.

Prices and quantities are what the feed was asked for, `Decimal` or the exchange's own text (`str`). Times end
in `_ms`: milliseconds since the epoch, by the exchange's clock. Each class says which stream it comes from;
what the fields mean is in Binance's spot documentation, web-socket-streams.md.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Generic, TypeVar

from msgspec import Struct, field

Number = TypeVar("Number", bound=Decimal | str)
"""A price or a quantity."""


class Trade(Struct, Generic[Number], frozen=True, gc=False):
    """`trade`: one trade. Ids step by one."""

    symbol: str = field(name="s")
    trade_id: int = field(name="t")
    price: Number = field(name="p")
    quantity: Number = field(name="q")
    trade_time_ms: int = field(name="T")
    event_time_ms: int = field(name="E")
    buyer_is_maker: bool = field(name="m")
    """Whether the seller took the price that a buyer had put up."""


class AggTrade(Struct, Generic[Number], frozen=True, gc=False):
    """`aggTrade`: the trades of one taker's order at one price. Ids step by one."""

    symbol: str = field(name="s")
    aggregate_id: int = field(name="a")
    price: Number = field(name="p")
    quantity: Number = field(name="q")
    first_trade_id: int = field(name="f")
    last_trade_id: int = field(name="l")
    trade_time_ms: int = field(name="T")
    event_time_ms: int = field(name="E")
    buyer_is_maker: bool = field(name="m")


class BookTicker(Struct, Generic[Number], frozen=True, gc=False):
    """`bookTicker`: the best bid and ask. Without a time; update ids rise, and skip."""

    symbol: str = field(name="s")
    update_id: int = field(name="u")
    bid_price: Number = field(name="b")
    bid_quantity: Number = field(name="B")
    ask_price: Number = field(name="a")
    ask_quantity: Number = field(name="A")


class Depth(Struct, Generic[Number], frozen=True, gc=False):
    """`depth`, `depth@100ms`: changes of the book, as (price, quantity); quantity 0 takes the level away."""

    symbol: str = field(name="s")
    first_update_id: int = field(name="U")
    """One more than the last message's `last_update_id`."""
    last_update_id: int = field(name="u")
    bids: tuple[tuple[Number, Number], ...] = field(name="b")
    asks: tuple[tuple[Number, Number], ...] = field(name="a")
    event_time_ms: int = field(name="E")


class PartialDepth(Struct, Generic[Number], frozen=True, gc=False):
    """`depth5`, `depth10`, `depth20`, also `@100ms`: the best levels, (price, quantity). Without a time."""

    symbol: str
    last_update_id: int
    bids: tuple[tuple[Number, Number], ...]
    asks: tuple[tuple[Number, Number], ...]


class Kline(Struct, Generic[Number], frozen=True, gc=False):
    """`kline_<interval>`: a candle so far, or for good when `is_closed`."""

    symbol: str
    interval: str
    """`1s`, `1m`, `1h`…"""
    open_time_ms: int
    close_time_ms: int
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    quote_volume: Number
    trades: int
    is_closed: bool
    event_time_ms: int


class MiniTicker(Struct, Generic[Number], frozen=True, gc=False):
    """`miniTicker`: the last 24 hours in short."""

    symbol: str = field(name="s")
    open: Number = field(name="o")
    high: Number = field(name="h")
    low: Number = field(name="l")
    close: Number = field(name="c")
    volume: Number = field(name="v")
    quote_volume: Number = field(name="q")
    event_time_ms: int = field(name="E")


class WindowTicker(Struct, Generic[Number], frozen=True, gc=False):
    """`ticker_1h`, `ticker_4h`, `ticker_1d`: a rolling window's statistics."""

    symbol: str = field(name="s")
    window: str = field(name="e")
    """`1hTicker`, `4hTicker` or `1dTicker`."""
    price_change: Number = field(name="p")
    price_change_percent: Number = field(name="P")
    open: Number = field(name="o")
    high: Number = field(name="h")
    low: Number = field(name="l")
    last_price: Number = field(name="c")
    weighted_average_price: Number = field(name="w")
    volume: Number = field(name="v")
    quote_volume: Number = field(name="q")
    open_time_ms: int = field(name="O")
    close_time_ms: int = field(name="C")
    trades: int = field(name="n")
    event_time_ms: int = field(name="E")


class Ticker(Struct, Generic[Number], frozen=True, gc=False):
    """`ticker`: the last 24 hours' statistics."""

    symbol: str = field(name="s")
    price_change: Number = field(name="p")
    price_change_percent: Number = field(name="P")
    open: Number = field(name="o")
    high: Number = field(name="h")
    low: Number = field(name="l")
    last_price: Number = field(name="c")
    last_quantity: Number = field(name="Q")
    bid_price: Number = field(name="b")
    bid_quantity: Number = field(name="B")
    ask_price: Number = field(name="a")
    ask_quantity: Number = field(name="A")
    weighted_average_price: Number = field(name="w")
    volume: Number = field(name="v")
    quote_volume: Number = field(name="q")
    open_time_ms: int = field(name="O")
    close_time_ms: int = field(name="C")
    trades: int = field(name="n")
    event_time_ms: int = field(name="E")


class AveragePrice(Struct, Generic[Number], frozen=True, gc=False):
    """`avgPrice`: the average price of the last minutes."""

    symbol: str = field(name="s")
    interval: str = field(name="i")
    price: Number = field(name="w")
    last_trade_time_ms: int = field(name="T")
    event_time_ms: int = field(name="E")


class Missed(Struct, frozen=True, gc=False):
    """Messages of one stream that this feed did not get. It comes before the first message after them."""

    symbol: str
    stream: str
    """`trade`, `kline_1s`…"""
    first: int | None
    """The first id that was missed: of trades (`trade`), aggregates (`aggTrade`) or book updates (`depth`).

    None where the stream's ids can't tell (all others): something may have been missed, or nothing.
    """
    last: int | None
    seconds: float
    """How long this feed was without a connection; 0 when the messages never came to feedd either."""

    @property
    def count(self) -> int | None:
        """How many ids were missed; None if that can't be known."""
        return None if self.first is None or self.last is None else self.last - self.first + 1


MarketEvent = (
    Trade[Number]
    | AggTrade[Number]
    | BookTicker[Number]
    | Depth[Number]
    | PartialDepth[Number]
    | Kline[Number]
    | MiniTicker[Number]
    | WindowTicker[Number]
    | Ticker[Number]
    | AveragePrice[Number]
)
Event = MarketEvent[Number] | Missed
"""What iterating over a feed yields."""
