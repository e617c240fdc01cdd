from __future__ import annotations

from feedd.exchange.tape import TapeAggregate, TapeTrade, aggregate


def test_aggregate_spans_the_trades_that_filled_the_order() -> None:
    fills = [TapeTrade(id, 100, 5, 77, True) for id in (8, 9, 10)]
    assert aggregate(3, fills) == TapeAggregate(3, 8, 10, 100, 15, 77, True)
