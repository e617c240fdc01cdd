"""The metrics page: complete from the start, parsed by Prometheus's own parsers, right in its numbers."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GATED
from feedd.core.venue_clock import DRIFT, ClockSample
from feedd.model import (
    ConnectFailure,
    ConsumerDisconnect,
    DisconnectReason,
    InvalidReason,
    Reason,
    Rejection,
    Subscription,
)
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.http.server import HttpServer
from feedd.outputs.output import OutputFailures, Outputs
from feedd.outputs.prometheus.catalogue import Format
from feedd.outputs.prometheus.exposition import LINES_IN_A_PIECE, MetricsPage
from feedd.outputs.table import OUTPUTS, OutputContext, outputs_of
from feedd.outputs.ws.consumer import ConsumerRegistry
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.binance.spot.tables import SPOT
from tests.system_components import needs

NOW = ClockReading(monotonic=1000.0, wall=1_800_000_000.0)
SYMBOLS = ("BTCUSDT", "这是测试币456")
CONTRACT = {
    "feedd_build_info": {"version"},
    "feedd_source_active": {"source"},
    "feedd_kill_switch": set(),
    "feedd_feed_connected": {"symbol"},
    "feedd_feed_staleness_seconds": {"symbol"},
    "feedd_feed_last_message_timestamp_seconds": {"symbol"},
    "feedd_stream_last_message_timestamp_seconds": {"symbol", "stream"},
    "feedd_messages_total": {"symbol", "stream"},
    "feedd_invalid_messages_total": {"symbol", "reason"},
    "feedd_unknown_fields_total": {"symbol"},
    "feedd_duplicate_messages_total": {"symbol", "stream"},
    "feedd_redundant_messages_total": {"symbol", "stream"},
    "feedd_discarded_messages_total": {"symbol"},
    "feedd_stream_usual_gap_seconds": {"symbol", "stream"},
    "feedd_stream_mutes_total": {"symbol", "stream"},
    "feedd_gaps_total": {"symbol", "stream"},
    "feedd_missed_messages_total": {"symbol", "stream"},
    "feedd_backfilled_messages_total": {"symbol", "stream"},
    "feedd_connects_total": {"symbol"},
    "feedd_connect_failures_total": {"symbol", "reason"},
    "feedd_disconnects_total": {"symbol", "reason"},
    "feedd_connect_budget_remaining": set(),
    "feedd_connect_backoff_seconds": {"symbol"},
    "feedd_exchange_latency_seconds": {"symbol"},
    "feedd_processing_latency_seconds": {"symbol"},
    "feedd_total_latency_seconds": {"symbol"},
    "feedd_event_loop_lag_seconds": set(),
    "feedd_negative_latency_total": {"symbol"},
    "feedd_clock_offset_seconds": set(),
    "feedd_clock_offset_error_seconds": set(),
    "feedd_clock_last_sync_timestamp_seconds": set(),
    "feedd_trading_halted": {"symbol"},
    "feedd_halt_reason_active": {"symbol", "reason"},
    "feedd_trading_halts_total": {"symbol", "reason"},
    "feedd_config_last_reload_successful": set(),
    "feedd_config_last_reload_success_timestamp_seconds": set(),
    "feedd_pager_posts_total": set(),
    "feedd_pager_failures_total": set(),
    "feedd_stale_after_seconds": {"symbol"},
    "feedd_consumers": set(),
    "feedd_consumer_messages_dropped_total": set(),
    "feedd_consumer_disconnects_total": {"reason"},
    "feedd_http_rejections_total": {"reason"},
    "feedd_output_failures_total": {"output"},
}
"""What dashboards, alerts and operators were promised: each metric with its labels."""


def state() -> DaemonState:
    return DaemonState(Settings(symbols=SYMBOLS, realtime=True), NOW.monotonic - 60, NOW.wall - 60)


def page_of(of: DaemonState) -> MetricsPage:
    """Return the page of a daemon with that state, its outputs and its HTTP side."""
    consumers, failures = ConsumerRegistry(of.settings), OutputFailures()
    outputs = Outputs(outputs_of(OutputContext(of, consumers, failures)), failures)
    return HttpServer(of, consumers, outputs).page


def page(of: DaemonState, text_format: Format = Format.CLASSIC, now: ClockReading = NOW) -> str:
    return "".join(page_of(of).pieces(text_format, lambda: now))


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in parse_classic(text)}


def value(text: str, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in parse_classic(text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) == 1, f"{name}{labels} stands {len(found)} times"
    return float(found[0])


def trade(number: int, at: float) -> Frame:  # type: ignore[type-arg]  # of any payload
    decoder = SpotDecoder([Subscription("BTCUSDT", SPOT.parse_stream("trade"))])
    stamp = int(at * 1000)
    message = decoder.decode(
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"1","q":"1","T":%d,"m":true}}'
        % (stamp, number, stamp)
    )
    assert isinstance(message, Frame)
    return message


def test_every_promised_metric_is_there_from_the_start_with_its_labels() -> None:
    samples: dict[str, set[str]] = {}
    for family in parse_classic(page(state())):
        for sample in family.samples:
            name = (
                re.sub("_(bucket|count|sum)$", "", sample.name) if family.type == "histogram" else sample.name
            )
            samples.setdefault(name, set()).update(set(sample.labels) - {"le"})
    ours = {name: labels for name, labels in samples.items() if name.startswith("feedd_")}
    assert ours == CONTRACT


def test_every_labelled_series_is_there_from_the_start() -> None:
    found = families(page(state()))

    def reasons(name: str) -> set[str]:
        return {sample.labels["reason"] for sample in found[name].samples}

    assert reasons("feedd_invalid_messages") == set(InvalidReason)
    assert reasons("feedd_connect_failures") == set(ConnectFailure)
    assert reasons("feedd_disconnects") == set(DisconnectReason)
    assert reasons("feedd_trading_halts") == reasons("feedd_halt_reason_active") == set(GATED)
    assert reasons("feedd_consumer_disconnects") == set(ConsumerDisconnect)
    assert reasons("feedd_http_rejections") == set(Rejection)
    assert {sample.labels["output"] for sample in found["feedd_output_failures"].samples} == set(OUTPUTS)
    for name, family in found.items():
        for sample in family.samples:
            if "symbol" in sample.labels:
                assert sample.labels["symbol"] in SYMBOLS, name
    per_stream = {
        (sample.labels["symbol"], sample.labels["stream"]) for sample in found["feedd_messages"].samples
    }
    assert per_stream == {(symbol, stream) for symbol in SYMBOLS for stream in Settings().streams}


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("feedd_gaps", {"trade", "aggTrade", "depth@100ms"}),
        ("feedd_missed_messages", {"trade", "aggTrade", "depth@100ms"}),
        ("feedd_backfilled_messages", {"trade", "aggTrade"}),
    ],
)
def test_gap_series_exist_only_where_ids_can_show_a_loss(name: str, streams: set[str]) -> None:
    followed = ("trade", "aggTrade", "depth@100ms", "bookTicker", "kline_1s")
    settings = Settings(symbols=SYMBOLS, realtime=True, streams=followed)
    found = families(page(DaemonState(settings, NOW.monotonic - 60, NOW.wall - 60)))
    assert {sample.labels["stream"] for sample in found[name].samples} == streams


@pytest.mark.parametrize("text_format", Format)
def test_page_parses_with_prometheus_own_parser(text_format: Format) -> None:
    text = page(state(), text_format)
    parse = parse_open_metrics if text_format is Format.OPEN_METRICS else parse_classic
    names = [family.name for family in parse(text)]
    assert len(names) == len(set(names)), "a family must stand in one piece"
    assert "process_resident_memory_bytes" in names


def test_page_passes_promtool(needs_promtool: str) -> None:
    outcome = subprocess.run(
        [needs_promtool, "check", "metrics"], input=page(state()), text=True, capture_output=True, check=False
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.fixture
def needs_promtool() -> str:
    needs("promtool", shutil.which("promtool"))
    return "promtool"


def test_numbers_are_those_of_the_session() -> None:
    of = state()
    symbol_state = of.symbols["BTCUSDT"]
    of.clock.update([ClockSample(NOW.monotonic - 50, NOW.monotonic - 49.99, NOW.wall - 49.995 + 2.0)])
    symbol_state.connected(NOW.monotonic - 30)
    for number, late in ((1, 0.002), (2, 0.3)):
        frame = trade(number, NOW.wall + 2.0 - 20 - late)
        assert symbol_state.receive(symbol_state.streams[frame.stream], frame.data, NOW.monotonic - 20)
        symbol_state.handed_on(
            symbol_state.streams[frame.stream], NOW.monotonic - 20, NOW.monotonic - 20 + 0.00004
        )
    text = page(of)
    labels = {"symbol": "BTCUSDT"}
    assert value(text, "feedd_messages_total", stream="trade", **labels) == 2
    assert value(text, "feedd_feed_connected", **labels) == 1
    assert value(text, "feedd_feed_staleness_seconds", **labels) == pytest.approx(20)
    assert value(text, "feedd_feed_last_message_timestamp_seconds", **labels) == pytest.approx(NOW.wall - 20)
    assert value(text, "feedd_trading_halted", **labels) == 0
    assert value(text, "feedd_clock_offset_seconds") == pytest.approx(2.0)
    assert value(text, "feedd_clock_offset_error_seconds") == pytest.approx(0.005 + 50 * DRIFT)
    assert value(text, "feedd_clock_last_sync_timestamp_seconds") == pytest.approx(NOW.wall - 49.99)
    assert value(text, "feedd_exchange_latency_seconds_count", **labels) == 2
    assert value(text, "feedd_exchange_latency_seconds_sum", **labels) == pytest.approx(0.302, abs=0.002)
    assert value(text, "feedd_exchange_latency_seconds_bucket", le="0.005", **labels) == 1
    assert value(text, "feedd_exchange_latency_seconds_bucket", le="+Inf", **labels) == 2
    assert value(text, "feedd_processing_latency_seconds_bucket", le="5e-05", **labels) == 2
    assert value(text, "feedd_total_latency_seconds_count", **labels) == 2


def test_what_never_happened_is_told_as_such() -> None:
    text = page(state())
    labels = {"symbol": "BTCUSDT"}
    assert value(text, "feedd_feed_last_message_timestamp_seconds", **labels) == 0
    assert value(text, "feedd_feed_staleness_seconds", **labels) == 60
    assert value(text, "feedd_clock_offset_error_seconds") == math.inf
    assert value(text, "feedd_clock_last_sync_timestamp_seconds") == 0
    assert value(text, "feedd_trading_halts_total", reason="starting", **labels) == 0
    assert value(text, "feedd_halt_reason_active", reason="starting", **labels) == 1
    assert value(text, "feedd_source_active", source="realtime") == 1
    assert value(text, "feedd_source_active", source="static") == 0


def test_flags_show() -> None:
    of = state()
    of.set_kill_switch(True, NOW.monotonic)
    text = page(of)
    assert value(text, "feedd_kill_switch") == 1
    for symbol in SYMBOLS:
        assert value(text, "feedd_halt_reason_active", symbol=symbol, reason=Reason.KILL_SWITCH) == 1
        assert value(text, "feedd_trading_halts_total", symbol=symbol, reason=Reason.KILL_SWITCH) == 1


def test_large_page_comes_in_pieces_each_with_its_own_now() -> None:
    of = DaemonState(Settings(symbols=tuple(f"S{number}USDT" for number in range(200))), 0.0, 0.0)
    clock = iter(range(10**6))
    metrics = MetricsPage(of)
    written = metrics.pieces(Format.CLASSIC, lambda: ClockReading(float(next(clock)), NOW.wall))
    pieces = list(written)
    # A symbol's lines of one metric are written together, and a header stands before the first.
    assert max(piece.count("\n") for piece in pieces) < LINES_IN_A_PIECE + 20
    assert len(pieces) > 20
    assert next(clock) >= len(pieces) - 1
    assert "".join(pieces) != ""


def test_dropped_symbol_leaves_the_page_and_a_new_one_enters_it() -> None:
    of = state()
    metrics = MetricsPage(of)
    "".join(metrics.pieces(Format.CLASSIC, lambda: NOW))
    of.symbols["ETHUSDT"] = of.symbols.pop("BTCUSDT")
    of.symbols["ETHUSDT"].symbol = "ETHUSDT"
    other = DaemonState(Settings(symbols=("ETHUSDT",)), 0.0, 0.0)
    of.symbols["ETHUSDT"] = other.symbols["ETHUSDT"]
    text = "".join(metrics.pieces(Format.CLASSIC, lambda: NOW))
    assert 'symbol="ETHUSDT"' in text
    assert 'symbol="BTCUSDT"' not in text


def test_symbol_that_gets_another_stream_shows_it() -> None:
    of = state()
    metrics = MetricsPage(of)
    "".join(metrics.pieces(Format.CLASSIC, lambda: NOW))
    of.symbols["BTCUSDT"].begin([SPOT.parse_stream("aggTrade")], True, NOW.monotonic)
    text = "".join(metrics.pieces(Format.CLASSIC, lambda: NOW))
    assert value(text, "feedd_messages_total", symbol="BTCUSDT", stream="aggTrade") == 0


def test_symbol_may_have_any_letter() -> None:
    odd = '50%s"\\'
    text = page(DaemonState(Settings(symbols=(odd,)), 0.0, 0.0))
    assert value(text, "feedd_messages_total", symbol=odd, stream="trade") == 0
    assert value(text, "feedd_trading_halts_total", symbol=odd, reason="stale") == 0
