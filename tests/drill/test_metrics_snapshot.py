"""What a page of metrics says of one symbol."""

from __future__ import annotations

from feedd.drill.metrics_snapshot import per_symbol, read_snapshot

METRICS = """\
# HELP feedd_gaps_total Holes in the stream's ids.
# TYPE feedd_gaps_total counter
feedd_gaps_total{symbol="BTCUSDT",stream="trade"} 3
feedd_gaps_total{symbol="BTCUSDT",stream="aggTrade"} 2
feedd_gaps_total{symbol="ETHUSDT",stream="trade"} 40
feedd_kill_switch 1
feedd_lag_seconds_bucket{symbol="BTCUSDT",le="0.1"} 4
feedd_lag_seconds_bucket{symbol="BTCUSDT",le="+Inf"} 7
feedd_lag_seconds_count{symbol="BTCUSDT"} 7
process_cpu_seconds_total 0.5
"""
STATUS = {
    "symbols": {
        "BTCUSDT": {"streams": {"trade": {"resets": 1}}},
        "ETHUSDT": {"streams": {"trade": {"resets": 2}}},
    }
}
TRADE = frozenset({("stream", "trade")})


def test_numbers_are_the_symbols_and_the_process() -> None:
    snapshot = read_snapshot("BTCUSDT", METRICS, STATUS)
    assert snapshot.total("feedd_gaps_total", TRADE) == 3
    assert snapshot.total("feedd_gaps_total") == 5
    assert snapshot.total("feedd_kill_switch") == 1
    assert snapshot.total("feedd_no_such_metric") == 0
    assert snapshot.total("status_resets", TRADE) == 1


def test_numbers_of_all_symbols_are_added_up() -> None:
    snapshot = read_snapshot(None, METRICS, STATUS)
    assert snapshot.total("feedd_gaps_total", TRADE) == 43
    assert snapshot.total("feedd_kill_switch") == 1
    assert snapshot.total("status_resets") == 3


def test_histogram_counts_what_lies_above_a_bound() -> None:
    snapshot = read_snapshot("BTCUSDT", METRICS, STATUS)
    assert snapshot.above("feedd_lag_seconds", 0.1) == 3
    assert snapshot.above("feedd_lag_seconds", 0.5) == 3
    assert snapshot.above("feedd_lag_seconds", 0.05) == 7


def test_one_metric_of_every_symbol() -> None:
    assert per_symbol(METRICS, "feedd_gaps_total") == {"BTCUSDT": 5.0, "ETHUSDT": 40.0}
    assert per_symbol(METRICS, "feedd_gaps") == {}
