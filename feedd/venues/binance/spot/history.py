"""What REST still knows of trades that a stream skipped, and as which messages they are handed on.

Source: Binance spot docs, rest-api.md, "Old trade lookup" and "Compressed/Aggregate trades list". Neither
tells a trade's event time; the trade's own time stands for it, which on spot is the same to a millisecond or
two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

import msgspec
from msgspec import UNSET, Struct, field

from feedd.errors import DecodeError
from feedd.model import InvalidReason, StreamKind
from feedd.venues.binance.spot.payloads import Identifier, Ignored, Milliseconds
from feedd.venues.venue import History

PAGE_MAX: Final = 1000
"""No request is answered with more."""


class OldTrade(Struct, frozen=True, gc=False):
    """An entry of `historicalTrades`."""

    number: Identifier = field(name="id")
    price: str
    quantity: str = field(name="qty")
    trade_time: Milliseconds = field(name="time")
    buyer_is_maker: bool = field(name="isBuyerMaker")
    ignored: Ignored = field(name="isBestMatch", default=UNSET)


class OldAggTrade(Struct, frozen=True, gc=False):
    """An entry of `aggTrades`."""

    number: Identifier = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: Identifier = field(name="f")
    last_trade_id: Identifier = field(name="l")
    trade_time: Milliseconds = field(name="T")
    buyer_is_maker: bool = field(name="m")
    ignored: Ignored = field(name="M", default=UNSET)


Old = OldTrade | OldAggTrade


def query(symbol: str, first: int, count: int) -> dict[str, str]:
    """Return what to ask for: so many messages from that id on."""
    return {"symbol": symbol, "fromId": str(first), "limit": str(count)}


def _decode_page(decode: Callable[[bytes], Sequence[Old]], body: bytes, first: int) -> Sequence[Old]:
    try:
        page = decode(body)
    except msgspec.ValidationError as error:
        raise DecodeError(InvalidReason.WRONG_TYPE, str(error)) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(InvalidReason.BAD_JSON, str(error)) from None
    numbers = [first - 1, *(old.number for old in page)]
    for lower, higher in pairwise(numbers):
        if higher <= lower:
            raise DecodeError(InvalidReason.WRONG_TYPE, f"an id above {lower} expected, found {higher}")
    return page


class _Trade(Struct, gc=False):
    event: str = field(name="e")
    event_time: int = field(name="E")
    symbol: str = field(name="s")
    trade_id: int = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")
    ignored: Ignored = field(name="M")


class _AggTrade(Struct, gc=False):
    event: str = field(name="e")
    event_time: int = field(name="E")
    symbol: str = field(name="s")
    aggregate_id: int = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: int = field(name="f")
    last_trade_id: int = field(name="l")
    trade_time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")
    ignored: Ignored = field(name="M")


class _Frame(Struct, gc=False):
    stream: str
    data: _Trade | _AggTrade
    backfill: bool


_encode = msgspec.json.Encoder().encode


def frame_of(wire_name: str, symbol: str, old: Old) -> bytes:
    """Return the combined stream's message as the exchange would have sent it, marked `"backfill":true`."""
    time = old.trade_time
    data: _Trade | _AggTrade
    if isinstance(old, OldTrade):
        data = _Trade(
            "trade", time, symbol, old.number, old.price, old.quantity, time, old.buyer_is_maker, old.ignored
        )
    else:
        data = _AggTrade(
            "aggTrade",
            time,
            symbol,
            old.number,
            old.price,
            old.quantity,
            old.first_trade_id,
            old.last_trade_id,
            time,
            old.buyer_is_maker,
            old.ignored,
        )
    return _encode(_Frame(wire_name, data, True))


def _history(path: str, weight: int, decode: Callable[[bytes], Sequence[Old]]) -> History:
    return History(path, weight, PAGE_MAX, query, partial(_decode_page, decode), frame_of)


HISTORIES: Final[Mapping[StreamKind, History]] = {
    # Not served by the public data host.
    StreamKind.TRADE: _history("/api/v3/historicalTrades", 25, msgspec.json.Decoder(list[OldTrade]).decode),
    StreamKind.AGG_TRADE: _history("/api/v3/aggTrades", 4, msgspec.json.Decoder(list[OldAggTrade]).decode),
}
"""The kinds of streams whose past can be asked for."""
