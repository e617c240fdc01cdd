"""The messages of Binance spot's streams, field by field, as the wire has them.

Source: Binance spot docs, web-socket-streams.md, "Detailed Stream information". Prices and quantities are
JSON strings, ids and times integers, times in milliseconds. A field that Binance tells clients to ignore may
be absent; every other one must be there with its type, or the message is not trusted.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Milliseconds = Annotated[int, Meta(ge=1_000_000_000_000, lt=10_000_000_000_000)]
"""A time between 2001 and 2286: a change of unit must not pass for a latency of centuries."""
Identifier = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Without the upper bound the two JSON libraries would differ on what a longer number is."""
IdentifierOrNone = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
"""-1 where the candle or window holds no trade."""
Level = tuple[str, str]
"""Price and quantity."""
Ignored = bool | str | int | UnsetType


class NamedEvent(Struct, frozen=True, gc=False):
    """What every message with an event name carries as well."""

    event_time: Milliseconds = field(name="E")
    symbol: str = field(name="s")


class Trade(NamedEvent, frozen=True):
    """`<symbol>@trade`: one trade; ids step by one."""

    event: Literal["trade"] = field(name="e")
    trade_id: Identifier = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: Milliseconds = field(name="T")
    buyer_is_maker: bool = field(name="m")
    ignored: Ignored = field(name="M", default=UNSET)


class AggTrade(NamedEvent, frozen=True):
    """`<symbol>@aggTrade`: one taker order's trades at one price; its ids step by one."""

    event: Literal["aggTrade"] = field(name="e")
    aggregate_id: Identifier = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: Identifier = field(name="f")
    last_trade_id: Identifier = field(name="l")
    trade_time: Milliseconds = field(name="T")
    buyer_is_maker: bool = field(name="m")
    ignored: Ignored = field(name="M", default=UNSET)


class BookTicker(Struct, frozen=True, gc=False):
    """`<symbol>@bookTicker`: best bid and ask. No event time; update ids rise, and skip."""

    event_time: ClassVar[None] = None

    update_id: Identifier = field(name="u")
    symbol: str = field(name="s")
    bid_price: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask_price: str = field(name="a")
    ask_quantity: str = field(name="A")


class Depth(NamedEvent, frozen=True):
    """`<symbol>@depth[@100ms]`: changes of the book; `first_update_id` follows the last `last_update_id`."""

    event: Literal["depthUpdate"] = field(name="e")
    first_update_id: Identifier = field(name="U")
    last_update_id: Identifier = field(name="u")
    bids: list[Level] = field(name="b")
    asks: list[Level] = field(name="a")


class PartialDepth(Struct, frozen=True, gc=False):
    """`<symbol>@depth<levels>[@100ms]`: the top of the book. Neither symbol nor event time."""

    event_time: ClassVar[None] = None
    symbol: ClassVar[None] = None

    last_update_id: Identifier = field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


class Candle(Struct, frozen=True, gc=False):
    """The candle inside a kline message."""

    open_time: Milliseconds = field(name="t")
    close_time: Milliseconds = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    first_trade_id: IdentifierOrNone = field(name="f")
    last_trade_id: IdentifierOrNone = field(name="L")
    open: str = field(name="o")
    close: str = field(name="c")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    trades: Identifier = field(name="n")
    is_closed: bool = field(name="x")
    quote_volume: str = field(name="q")
    taker_buy_volume: str = field(name="V")
    taker_buy_quote_volume: str = field(name="Q")
    ignored: Ignored = field(name="B", default=UNSET)


class Kline(NamedEvent, frozen=True):
    """`<symbol>@kline_<interval>`."""

    event: Literal["kline"] = field(name="e")
    candle: Candle = field(name="k")


class MiniTicker(NamedEvent, frozen=True):
    """`<symbol>@miniTicker`."""

    event: Literal["24hrMiniTicker"] = field(name="e")
    close: str = field(name="c")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")


class WindowTicker(NamedEvent, frozen=True):
    """`<symbol>@ticker_<1h|4h|1d>`: a rolling window's statistics."""

    event: Literal["1hTicker", "4hTicker", "1dTicker"] = field(name="e")
    price_change: str = field(name="p")
    price_change_percent: str = field(name="P")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    last_price: str = field(name="c")
    weighted_average_price: str = field(name="w")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    open_time: Milliseconds = field(name="O")
    close_time: Milliseconds = field(name="C")
    first_trade_id: IdentifierOrNone = field(name="F")
    last_trade_id: IdentifierOrNone = field(name="L")
    trades: Identifier = field(name="n")


class Ticker(NamedEvent, frozen=True):
    """`<symbol>@ticker`: the last 24 hours' statistics."""

    event: Literal["24hrTicker"] = field(name="e")
    price_change: str = field(name="p")
    price_change_percent: str = field(name="P")
    weighted_average_price: str = field(name="w")
    previous_close: str = field(name="x")
    last_price: str = field(name="c")
    last_quantity: str = field(name="Q")
    bid_price: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask_price: str = field(name="a")
    ask_quantity: str = field(name="A")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    open_time: Milliseconds = field(name="O")
    close_time: Milliseconds = field(name="C")
    first_trade_id: IdentifierOrNone = field(name="F")
    last_trade_id: IdentifierOrNone = field(name="L")
    trades: Identifier = field(name="n")


class AveragePrice(NamedEvent, frozen=True):
    """`<symbol>@avgPrice`."""

    event: Literal["avgPrice"] = field(name="e")
    interval: str = field(name="i")
    price: str = field(name="w")
    last_trade_time: Milliseconds = field(name="T")


Payload = (
    Trade
    | AggTrade
    | BookTicker
    | Depth
    | PartialDepth
    | Kline
    | MiniTicker
    | Ticker
    | WindowTicker
    | AveragePrice
)
"""Any of them."""
