"""The JSON payloads of streams and REST answers, with the fields of Binance spot.

`unit` is the number of microseconds in the unit of the times. Prices count hundredths, quantities
hundred-thousandths; both are formatted as texts with eight decimals, as Binance does.
"""

from __future__ import annotations

from collections.abc import Iterable

from feedd.exchange.book import BookChanges, TopOfBook
from feedd.exchange.candles import DAY, CandleBuilder
from feedd.exchange.messages import Document
from feedd.exchange.tape import TapeAggregate, TapeTrade


def price_text(ticks: int) -> str:
    """Format a price."""
    return f"{ticks // 100}.{ticks % 100:02d}000000"


def quantity_text(lots: int) -> str:
    """Format a quantity."""
    return f"{lots // 100_000}.{lots % 100_000:05d}000"


def turnover_text(product: int) -> str:
    """Format a sum of prices times quantities."""
    return f"{product // 10_000_000}.{product % 10_000_000:07d}0"


def trade(symbol: str, trade: TapeTrade, unit: int) -> Document:
    """Build a trade's payload."""
    return {
        "e": "trade",
        "E": trade.time // unit,
        "s": symbol,
        "t": trade.id,
        "p": price_text(trade.price),
        "q": quantity_text(trade.quantity),
        "T": trade.time // unit,
        "m": trade.is_buyer_maker,
        "M": True,
    }


def aggregate_trade(symbol: str, aggregate: TapeAggregate, unit: int) -> Document:
    """Build an aggTrade's payload."""
    return {"e": "aggTrade", "E": aggregate.time // unit, "s": symbol, **rest_aggregate(aggregate, unit)}


def rest_aggregate(aggregate: TapeAggregate, unit: int) -> Document:
    """Build an entry of `/api/v3/aggTrades`."""
    return {
        "a": aggregate.id,
        "p": price_text(aggregate.price),
        "q": quantity_text(aggregate.quantity),
        "f": aggregate.first,
        "l": aggregate.last,
        "T": aggregate.time // unit,
        "m": aggregate.is_buyer_maker,
        "M": True,
    }


def rest_trade(trade: TapeTrade, unit: int) -> Document:
    """Build an entry of `/api/v3/trades` and `/api/v3/historicalTrades`."""
    return {
        "id": trade.id,
        "price": price_text(trade.price),
        "qty": quantity_text(trade.quantity),
        "quoteQty": turnover_text(trade.price * trade.quantity),
        "time": trade.time // unit,
        "isBuyerMaker": trade.is_buyer_maker,
        "isBestMatch": True,
    }


def book_ticker(symbol: str, update_id: int, top: TopOfBook) -> Document:
    """Build a bookTicker's payload, which has neither an event name nor a time."""
    return {
        "u": update_id,
        "s": symbol,
        "b": price_text(top.bid),
        "B": quantity_text(top.bid_quantity),
        "a": price_text(top.ask),
        "A": quantity_text(top.ask_quantity),
    }


def depth_update(symbol: str, changes: BookChanges, last: int, time: int, unit: int) -> Document:
    """Build a depthUpdate's payload."""
    return {
        "e": "depthUpdate",
        "E": time // unit,
        "s": symbol,
        "U": changes.first,
        "u": last,
        "b": _levels(changes.bids.items()),
        "a": _levels(changes.asks.items()),
    }


def partial_depth(
    update_id: int, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]
) -> Document:
    """Build a partial depth's payload, which has no event name, no symbol and no time."""
    return {"lastUpdateId": update_id, "bids": _levels(bids), "asks": _levels(asks)}


def kline(
    symbol: str, interval: str, candle: CandleBuilder, is_closed: bool, time: int, unit: int
) -> Document:
    """Build a kline's payload."""
    return {
        "e": "kline",
        "E": time // unit,
        "s": symbol,
        "k": {
            "t": candle.start // unit,
            "T": (candle.end - 1) // unit,
            "s": symbol,
            "i": interval,
            "f": candle.first,
            "L": candle.last,
            "o": price_text(candle.open),
            "c": price_text(candle.close),
            "h": price_text(candle.high),
            "l": price_text(candle.low),
            "v": quantity_text(candle.quantity),
            "n": candle.count,
            "x": is_closed,
            "q": turnover_text(candle.turnover),
            "V": quantity_text(candle.taker_quantity),
            "Q": turnover_text(candle.taker_turnover),
            "B": "0",
        },
    }


def mini_ticker(symbol: str, day: CandleBuilder, time: int, unit: int) -> Document:
    """Build a miniTicker's payload."""
    return {
        "e": "24hrMiniTicker",
        "E": time // unit,
        "s": symbol,
        "c": price_text(day.close),
        "o": price_text(day.open),
        "h": price_text(day.high),
        "l": price_text(day.low),
        "v": quantity_text(day.quantity),
        "q": turnover_text(day.turnover),
    }


def window_ticker(
    event: str, symbol: str, window: CandleBuilder, length: int, time: int, unit: int
) -> Document:
    """Build the payload of a ticker over a rolling window of `length`."""
    change = window.close - window.open
    return {
        "e": event,
        "E": time // unit,
        "s": symbol,
        "p": f"{change / 100:.8f}",
        "P": f"{100 * change / window.open:.3f}",
        "o": price_text(window.open),
        "h": price_text(window.high),
        "l": price_text(window.low),
        "c": price_text(window.close),
        "w": price_text(window.mean_price),
        "v": quantity_text(window.quantity),
        "q": turnover_text(window.turnover),
        "O": (time - length) // unit,
        "C": time // unit,
        "F": window.first,
        "L": window.last,
        "n": window.count,
    }


def day_ticker(
    symbol: str, day: CandleBuilder, newest: int, top: TopOfBook, time: int, unit: int
) -> Document:
    """Build the payload of the 24 h ticker, which also has the newest quantity and the best prices."""
    return {
        **window_ticker("24hrTicker", symbol, day, DAY, time, unit),
        "x": price_text(day.open),
        "Q": quantity_text(newest),
        "b": price_text(top.bid),
        "B": quantity_text(top.bid_quantity),
        "a": price_text(top.ask),
        "A": quantity_text(top.ask_quantity),
    }


def average_price(symbol: str, window: CandleBuilder, last_time: int, time: int, unit: int) -> Document:
    """Build an avgPrice's payload."""
    return {
        "e": "avgPrice",
        "E": time // unit,
        "s": symbol,
        "i": "5m",
        "w": price_text(window.mean_price),
        "T": last_time // unit,
    }


def reference_price(symbol: str, price: int, time: int, unit: int) -> Document:
    """Build a referencePrice's payload; its only time is `t`."""
    return {"e": "referencePrice", "s": symbol, "r": price_text(price), "t": time // unit}


def _levels(levels: Iterable[tuple[int, int]]) -> list[list[str]]:
    return [[price_text(price), quantity_text(quantity)] for price, quantity in levels]
