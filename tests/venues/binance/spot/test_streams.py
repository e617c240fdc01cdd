"""Stream names: what each means on the wire and what it can prove."""

from __future__ import annotations

import pytest

from feedd.model import StreamKind, Subscription
from feedd.venues.binance.spot.streams import KLINE_INTERVALS
from feedd.venues.binance.spot.tables import SPOT
from tests.support.spot import DEFINITION_OF
from tests.venues.binance.spot.frames import STREAMS


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("trade", StreamKind.TRADE),
        ("aggTrade", StreamKind.AGG_TRADE),
        ("bookTicker", StreamKind.BOOK_TICKER),
        ("depth", StreamKind.DEPTH),
        ("depth@100ms", StreamKind.DEPTH),
        *(
            (f"depth{levels}{speed}", StreamKind.PARTIAL_DEPTH)
            for levels in (5, 10, 20)
            for speed in ("", "@100ms")
        ),
        *((f"kline_{interval}", StreamKind.KLINE) for interval in KLINE_INTERVALS),
        ("miniTicker", StreamKind.MINI_TICKER),
        ("ticker", StreamKind.TICKER),
        *((f"ticker_{window}", StreamKind.WINDOW_TICKER) for window in ("1h", "4h", "1d")),
        ("avgPrice", StreamKind.AVERAGE_PRICE),
    ],
)
def test_name_has_its_kind(name: str, kind: StreamKind) -> None:
    stream = SPOT.parse_stream(name)
    assert (stream.name, stream.kind) == (name, kind)


@pytest.mark.parametrize("name", STREAMS)
def test_every_known_name_has_a_kind(name: str) -> None:
    assert SPOT.parse_stream(name).name == name


def test_every_kind_has_a_stream() -> None:
    assert {SPOT.parse_stream(name).kind for name in STREAMS} == set(StreamKind)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trades", "expected a stream of Binance spot, found 'trades'; did you mean trade?"),
        ("aggtrade", "expected a stream of Binance spot, found 'aggtrade'; did you mean aggTrade?"),
        ("bookticker", "expected a stream of Binance spot, found 'bookticker'; did you mean bookTicker?"),
        ("", "expected a stream of Binance spot, found ''"),
        ("@@@@@", "expected a stream of Binance spot, found '@@@@@'"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest_known_one(name: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        SPOT.parse_stream(name)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("name", "interval"), [("kline_1s", "1s"), ("kline_1M", "1M"), ("trade", None), ("ticker_1h", None)]
)
def test_only_candles_have_an_interval(name: str, interval: str | None) -> None:
    assert SPOT.parse_stream(name).interval == interval


@pytest.mark.parametrize(
    ("symbol", "stream", "wire_name", "wire_symbol"),
    [
        ("BTCUSDT", "aggTrade", "btcusdt@aggTrade", "BTCUSDT"),
        ("BTCUSDT", "kline_1M", "btcusdt@kline_1M", "BTCUSDT"),
        ("BTCUSDT", "depth@100ms", "btcusdt@depth@100ms", "BTCUSDT"),
        ("BTCUSDT", "depth20@100ms", "btcusdt@depth20@100ms", None),
        ("这是测试币456", "trade", "这是测试币456@trade", "这是测试币456"),
    ],
)
def test_only_the_symbol_is_in_lower_case_on_the_wire(
    symbol: str, stream: str, wire_name: str, wire_symbol: str | None
) -> None:
    subscription = Subscription(symbol, SPOT.parse_stream(stream))
    assert (subscription.wire_name, subscription.wire_symbol) == (wire_name, wire_symbol)


@pytest.mark.parametrize("kind", StreamKind)
def test_only_ids_without_holes_count_loss(kind: StreamKind) -> None:
    assert DEFINITION_OF[kind].stream.continuity.counts_loss is (
        kind in (StreamKind.TRADE, StreamKind.AGG_TRADE, StreamKind.DEPTH)
    )


@pytest.mark.parametrize("kind", StreamKind)
def test_only_trades_can_be_fetched_later(kind: StreamKind) -> None:
    assert DEFINITION_OF[kind].stream.has_history is (kind in (StreamKind.TRADE, StreamKind.AGG_TRADE))
