"""Decodes the messages of feedd's `/stream` into events, trusting them: the daemon has checked each.

They are Binance's own messages. What is wrong in one is found only where its type doesn't fit; the daemon's
decoder (feedd.venues.binance.spot.decode) is the one that checks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct, field

from feedd.client.events import (
    AggTrade,
    AveragePrice,
    BookTicker,
    Depth,
    Kline,
    MarketEvent,
    MiniTicker,
    Number,
    PartialDepth,
    Ticker,
    Trade,
    WindowTicker,
)
from feedd.errors import FeeddError

_Event = TypeVar("_Event")
_Read = Callable[[msgspec.Raw], _Event]
_BY_NAME: dict[str, Any] = {
    "trade": Trade,
    "aggTrade": AggTrade,
    "bookTicker": BookTicker,
    "miniTicker": MiniTicker,
    "ticker": Ticker,
    "avgPrice": AveragePrice,
}


class UnreadableMessage(FeeddError):
    """A message that is none of those that were asked for, or not as Binance documents it."""


class _Envelope(Struct, gc=False):
    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    result: object = msgspec.UNSET
    error: object = msgspec.UNSET


class _Candle(Struct, Generic[Number], gc=False):
    interval: str = field(name="i")
    open_time_ms: int = field(name="t")
    close_time_ms: int = field(name="T")
    open: Number = field(name="o")
    high: Number = field(name="h")
    low: Number = field(name="l")
    close: Number = field(name="c")
    volume: Number = field(name="v")
    quote_volume: Number = field(name="q")
    trades: int = field(name="n")
    is_closed: bool = field(name="x")


class _Kline(Struct, Generic[Number], gc=False):
    symbol: str = field(name="s")
    event_time_ms: int = field(name="E")
    candle: _Candle[Number] = field(name="k")


class _PartialDepth(Struct, Generic[Number], gc=False):
    last_update_id: int = field(name="lastUpdateId")
    bids: tuple[tuple[Number, Number], ...]
    asks: tuple[tuple[Number, Number], ...]


class SubscriptionAnswer(Struct, frozen=True):
    """The answer to a subscription. `error` is None where it was accepted."""

    error: str | None


class Decoder(Generic[Number]):
    """Decodes the messages of some streams of some symbols."""

    def __init__(self, symbols: tuple[str, ...], streams: tuple[str, ...], numbers: type[Number]) -> None:
        """Prepare for these streams. Raises ValueError for a name that is no stream of Binance spot."""
        self._envelope = msgspec.json.Decoder(_Envelope)
        self.names = {
            f"{symbol.lower()}@{stream}": (symbol, stream) for symbol in symbols for stream in streams
        }
        """Symbol and stream, by the stream's name on the wire."""
        self._decoders: dict[str, _Read[MarketEvent[Number]]] = {
            name: _decoder(symbol, stream, numbers) for name, (symbol, stream) in self.names.items()
        }

    def decode(self, frame: bytes) -> tuple[str, MarketEvent[Number]] | SubscriptionAnswer:
        """Return the stream's name on the wire and its event. Raises UnreadableMessage."""
        try:
            envelope = self._envelope.decode(frame)
            if envelope.stream is None or not envelope.data:
                return _answer(envelope)
            return envelope.stream, self._decoders[envelope.stream](envelope.data)
        except KeyError as error:
            raise UnreadableMessage(f"expected a stream that was asked for, found {error}") from None
        except (msgspec.MsgspecError, ValueError) as error:
            raise UnreadableMessage(str(error)) from error


def _answer(envelope: _Envelope) -> SubscriptionAnswer:
    if envelope.error is not msgspec.UNSET:
        error = envelope.error
        return SubscriptionAnswer(str(error.get("msg", error) if isinstance(error, dict) else error))
    if envelope.result is not msgspec.UNSET:
        return SubscriptionAnswer(None)
    raise UnreadableMessage("expected stream and data")


def _decoder(symbol: str, stream: str, numbers: type[Number]) -> _Read[MarketEvent[Number]]:
    kind, _, rest = stream.partition("_")
    if stream in _BY_NAME:
        return _reader(_BY_NAME[stream], numbers)
    if stream in ("depth", "depth@100ms"):
        return _reader(Depth, numbers)
    if stream.removesuffix("@100ms") in ("depth5", "depth10", "depth20"):
        return partial(_partial_depth, symbol, _reader(_PartialDepth, numbers))
    if kind == "kline" and rest:
        return partial(_kline, _reader(_Kline, numbers))
    if kind == "ticker" and rest:
        return _reader(WindowTicker, numbers)
    raise ValueError(f"expected streams such as trade, bookTicker or kline_1s, found {stream!r}")


def _reader(kind: Any, numbers: type[Number]) -> _Read[Any]:
    return msgspec.json.Decoder(kind[numbers]).decode


def _partial_depth(
    symbol: str, read: _Read[_PartialDepth[Number]], data: msgspec.Raw
) -> PartialDepth[Number]:
    book = read(data)
    return PartialDepth(symbol, book.last_update_id, book.bids, book.asks)


def _kline(read: _Read[_Kline[Number]], data: msgspec.Raw) -> Kline[Number]:
    kline = read(data)
    candle = kline.candle
    return Kline(
        symbol=kline.symbol,
        interval=candle.interval,
        open_time_ms=candle.open_time_ms,
        close_time_ms=candle.close_time_ms,
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
        quote_volume=candle.quote_volume,
        trades=candle.trades,
        is_closed=candle.is_closed,
        event_time_ms=kline.event_time_ms,
    )
