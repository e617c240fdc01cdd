"""Binance's messages become events, with prices as they were asked for."""

from __future__ import annotations

from decimal import Decimal

import pytest

from feedd.client import (
    AggTrade,
    AveragePrice,
    BookTicker,
    Depth,
    Kline,
    MarketEvent,
    MiniTicker,
    PartialDepth,
    Ticker,
    Trade,
    WindowTicker,
)
from feedd.client.decode import Decoder, SubscriptionAnswer, UnreadableMessage
from feedd.venues.binance.spot.streams import STREAMS as STREAM_NAMES
from tests.venues.binance.spot.frames import EVENT_TIME, STREAMS, combined, payload, raw, wrapped

SYMBOLS = ("BTCUSDT",)
TEXTS = Decoder(SYMBOLS, STREAMS, str)
NUMBERS = Decoder(SYMBOLS, STREAMS, Decimal)


def text_event(stream: str) -> MarketEvent[str]:
    message = TEXTS.decode(combined(stream))
    assert isinstance(message, tuple)
    name, event = message
    assert name == f"btcusdt@{stream}"
    return event


def test_every_kind_of_stream_has_its_event() -> None:
    kinds = {stream: type(text_event(stream)) for stream in STREAMS}
    assert kinds == {
        "trade": Trade,
        "aggTrade": AggTrade,
        "bookTicker": BookTicker,
        "depth@100ms": Depth,
        "depth5": PartialDepth,
        "kline_1s": Kline,
        "miniTicker": MiniTicker,
        "ticker": Ticker,
        "ticker_1h": WindowTicker,
        "avgPrice": AveragePrice,
    }
    assert all(text_event(stream).symbol == "BTCUSDT" for stream in STREAMS)


def test_every_stream_that_the_daemon_knows_can_be_read() -> None:
    assert len(Decoder(SYMBOLS, tuple(STREAM_NAMES), Decimal).names) == len(STREAM_NAMES)


@pytest.mark.parametrize("stream", STREAMS)
def test_numbers_are_the_texts_and_keep_every_digit(stream: str) -> None:
    message = NUMBERS.decode(combined(stream))
    assert isinstance(message, tuple)
    texts, numbers = text_event(stream), message[1]
    fields = type(texts).__struct_fields__
    found = {name for name in fields if isinstance(getattr(numbers, name), Decimal)}
    for name in fields:
        text, number = getattr(texts, name), getattr(numbers, name)
        if name in found:
            assert str(number) == text
        elif name in ("bids", "asks"):
            assert [[str(value) for value in level] for level in number] == [list(level) for level in text]
            found.add(name)
        else:
            assert number == text
    assert found


def test_trade_field_by_field() -> None:
    assert text_event("trade") == Trade(
        symbol="BTCUSDT",
        trade_id=880101,
        price="1.2345",
        quantity="40.0",
        trade_time_ms=1_795_000_000_122,
        event_time_ms=EVENT_TIME,
        buyer_is_maker=True,
    )


def test_candle_is_flat() -> None:
    assert text_event("kline_1s") == Kline(
        symbol="BTCUSDT",
        interval="1s",
        open_time_ms=1_795_000_000_000,
        close_time_ms=1_795_000_000_999,
        open="1.2345",
        high="1.2345",
        low="1.2345",
        close="1.2345",
        volume="0",
        quote_volume="0",
        trades=0,
        is_closed=True,
        event_time_ms=EVENT_TIME,
    )


def test_fields_that_are_not_known_yet_do_no_harm() -> None:
    assert NUMBERS.decode(combined("trade", zz={"new": True})) == NUMBERS.decode(combined("trade"))


def test_answers_to_subscriptions() -> None:
    assert TEXTS.decode(b'{"result":null,"id":1}') == SubscriptionAnswer(None)
    refused = TEXTS.decode(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}')
    assert refused == SubscriptionAnswer("Invalid request")
    assert TEXTS.decode(b'{"error":7,"id":1}') == SubscriptionAnswer("7")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{}",
        b'{"stream":"btcusdt@trade"}',
        raw("trade"),
        wrapped("aggTrade@100ms", payload("trade")),
        wrapped("trade", payload("bookTicker")),
        wrapped("trade", []),
        combined("trade", p="much"),
        combined("trade", p=None),
        combined("trade", t="7"),
    ],
)
def test_what_can_not_be_read_says_so(frame: bytes) -> None:
    with pytest.raises(UnreadableMessage):
        NUMBERS.decode(frame)


@pytest.mark.parametrize("stream", ["trades", "kline", "kline_", "depth7", "", "btcusdt@trade", "ticker_"])
def test_what_is_no_stream_is_named(stream: str) -> None:
    with pytest.raises(ValueError, match=f"found {stream!r}"):
        Decoder(SYMBOLS, (stream,), str)
