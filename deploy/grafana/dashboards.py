"""Writes feedd's two dashboards: a panel is a few lines here, and what all of them share stands in one place.

    python deploy/grafana/dashboards.py

writes deploy/grafana/dashboards/*.json, which Grafana reads (provisioning/dashboards/feedd.yaml). A test
fails where the files differ from what this writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from feedd.config.settings import Settings

HERE = Path(__file__).parent
RULES = HERE.parents[1] / "alerts" / "feedd.rules.yaml"
FOLDER = HERE / "dashboards"

Json = dict[str, Any]

COLUMNS: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
GREEN, AMBER, RED, BLUE = "green", "orange", "red", "blue"
PROCESS: Final = 'instance=~"$instance"'
FEED: Final = 'instance=~"$instance", symbol=~"$symbol"'
# A page that is for the whole desk, or for all symbols, has no such label.
ALERT: Final = 'alertname=~"Feedd.*", symbol=~"$symbol|"'


def threshold_of(alert: str) -> float:
    """Return the number that the alert compares with, so that panel and page agree."""
    _, _, rule = RULES.read_text(encoding="utf-8").partition(f"- alert: {alert}\n")
    found = re.search(r"[<>] ([0-9.]+)", rule.partition("labels:")[0])
    assert found, alert
    return float(found[1])


@dataclass(frozen=True)
class Query:
    """A question to Prometheus, and how a line of its answer is called."""

    expr: str
    legend: str = ""
    format: str = "time_series"

    def target(self, number: int, is_instant: bool) -> Json:
        return {
            "refId": chr(ord("A") + number),
            "datasource": DATASOURCE,
            "expr": self.expr,
            "legendFormat": self.legend,
            "format": self.format,
            "instant": is_instant,
            "range": not is_instant,
            "editorMode": "code",
        }


@dataclass(frozen=True)
class Panel:
    """One panel. `alert` is the one that watches the same thing: its section of the runbook is linked."""

    title: str
    description: str
    queries: tuple[Query, ...]
    type: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    alert: str | None = None
    steps: tuple[tuple[float, str], ...] = ()
    """Colours from these values on; below the first one it is green."""
    words: tuple[tuple[float, str, str], ...] = ()
    """Values that are shown as a word, in a colour."""
    no_value: str = ""
    below: str = GREEN
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    overrides: tuple[Json, ...] = ()
    transformations: tuple[Json, ...] = ()

    def json(self, number: int, x: int, y: int) -> Json:
        is_instant = self.type in ("stat", "table", "bargauge")
        panel: Json = {
            "id": number,
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [query.target(place, is_instant) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": list(self.overrides)},
            "options": OPTIONS.get(self.type, {}) | self.options,
        }
        if self.alert is not None:
            panel["links"] = [
                {
                    "title": f"Runbook: {self.alert}",
                    "url": f"{Settings().runbook_url}#{self.alert.lower()}",
                    "targetBlank": True,
                }
            ]
        if self.transformations:
            panel["transformations"] = list(self.transformations)
        return panel

    def _defaults(self) -> Json:
        steps: list[Json] = [{"value": None, "color": self.below}]
        steps += [{"value": value, "color": colour} for value, colour in self.steps]
        defaults: Json = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}}
        if self.no_value:
            defaults["noValue"] = self.no_value
        if self.words:
            words = {str(int(value)): {"text": text, "color": colour} for value, text, colour in self.words}
            defaults["mappings"] = [{"type": "value", "options": words}]
        if self.type in ("stat", "table", "state-timeline", "bargauge"):
            defaults["color"] = {"mode": "thresholds"}
        custom = CUSTOM.get(self.type, {}) | self.custom
        if self.type == "timeseries" and self.steps:
            custom = custom | {"thresholdsStyle": {"mode": "dashed"}}
        if custom:
            defaults["custom"] = custom
        return defaults


OPTIONS: Final[dict[str, Json]] = {
    "timeseries": {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "textMode": "value_and_name",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "state-timeline": {
        "showValue": "never",
        "rowHeight": 0.8,
        "mergeValues": True,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    },
    "heatmap": {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "steps": 64,
            "exponent": 0.5,
            "fill": "dark-orange",
            "scale": "exponential",
            "reverse": False,
        },
        "yAxis": {"unit": "s", "axisPlacement": "left"},
        "rowsFrame": {"layout": "le"},
        "showValue": "never",
        "legend": {"show": True},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
    },
    "bargauge": {
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "minVizHeight": 10,
        "minVizWidth": 0,
        "namePlacement": "auto",
        "sizing": "auto",
        "maxVizHeight": 300,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
}
CUSTOM: Final[dict[str, Json]] = {
    # A restart or a missed scrape is a hole, not a line across it.
    "timeseries": {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 5,
        "showPoints": "never",
        "spanNulls": False,
    },
    "state-timeline": {"fillOpacity": 80, "lineWidth": 0},
    "table": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
}
BARS: Final = {"drawStyle": "bars", "fillOpacity": 70, "stacking": {"mode": "normal", "group": "A"}}
ONLY_LABELS: Final = (
    {
        "id": "organize",
        "options": {"excludeByName": {"Time": True, "Value": True}, "indexByName": {}, "renameByName": {}},
    },
)


def dashed(name: str) -> Json:
    """Draw the lines whose names match as limits."""
    return {
        "matcher": {"id": "byRegexp", "options": name},
        "properties": [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
        ],
    }


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    """Return the quantile of a histogram over the time between two points of the graph."""
    return (
        f"histogram_quantile({share}, sum by ({by}le) (rate({metric}_bucket{{{labels}}}[$__rate_interval])))"
    )


def gained(metric: str, labels: str, by: str) -> str:
    """Return by how much counters rose between two points of the graph."""
    return f"sum by ({by}) (increase({metric}{{{labels}}}[$__rate_interval]))"


OVERVIEW: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "May we trade?",
        (
            Panel(
                "Gate",
                "Open only while no reason speaks against it and the data is live; as a strategy sees it.",
                (
                    Query(
                        f"max by (symbol) (clamp_max(feedd_trading_halted{{{FEED}}} "
                        "+ on (job, instance) group_left () "
                        'feedd_source_active{source="static"}, 1))',
                        "{{symbol}}",
                    ),
                ),
                type="stat",
                no_value="no data: taken as halted",
                alert="FeeddTradingHalted",
                words=((0, "OPEN", GREEN), (1, "HALTED", RED)),
                below=RED,
                steps=((0, GREEN), (1, RED)),
                height=5,
            ),
            Panel(
                "Halted since",
                "Since when Prometheus has known of it, up to 10 s late. `feedd status` knows exactly.",
                (
                    Query(
                        'min by (symbol) (ALERTS_FOR_STATE{alertname="FeeddTradingHalted", '
                        'symbol=~"$symbol"}) * 1000',
                        "{{symbol}}",
                    ),
                ),
                type="stat",
                unit="dateTimeFromNow",
                no_value="not halted",
                below=RED,
                alert="FeeddTradingHalted",
                height=5,
            ),
            Panel(
                "Kill switch",
                "FLAG_TRADING_HALTED of every daemon.",
                (Query(f"max(feedd_kill_switch{{{PROCESS}}})", "all symbols"),),
                type="stat",
                alert="FeeddKillSwitch",
                words=((0, "OFF", GREEN), (1, "ON", RED)),
                steps=((1, RED),),
                width=4,
                height=5,
            ),
            Panel(
                "Source",
                "Live, or CSV files.",
                (Query(f'min(feedd_source_active{{{PROCESS}, source="realtime"}})', "market data"),),
                type="stat",
                alert="FeeddStaticSource",
                words=((0, "STATIC", RED), (1, "LIVE", GREEN)),
                below=RED,
                steps=((1, GREEN),),
                width=4,
                height=5,
            ),
            Panel(
                "Why not",
                "The reasons that are active now.",
                (
                    Query(
                        f"max by (symbol, reason) (feedd_halt_reason_active{{{FEED}}}) == 1", format="table"
                    ),
                ),
                type="table",
                no_value="nothing speaks against trading",
                alert="FeeddTradingHalted",
                transformations=ONLY_LABELS,
                height=7,
            ),
            Panel(
                "Why not, and since when",
                "Each reason for as long as it was active.",
                (
                    Query(
                        f"max by (symbol, reason) (feedd_halt_reason_active{{{FEED}}}) == 1",
                        "{{symbol}} {{reason}}",
                    ),
                ),
                type="state-timeline",
                no_value="nothing spoke against trading",
                words=((1, "halted", RED),),
                steps=((1, RED),),
                width=16,
                height=7,
            ),
            Panel(
                "Firing alerts",
                "What the rules say now; the pager got what of it isn't inhibited or silenced.",
                (
                    Query(
                        "max by (alertname, severity, symbol, reason) "
                        f'(ALERTS{{{ALERT}, alertstate="firing"}})',
                        format="table",
                    ),
                ),
                type="table",
                no_value="none",
                transformations=ONLY_LABELS,
                width=12,
                height=7,
            ),
            Panel(
                "Halts by reason",
                "How often each reason began to halt.",
                (Query(gained("feedd_trading_halts_total", FEED, "reason"), "{{reason}}"),),
                alert="FeeddTradingHalted",
                custom=BARS,
                width=12,
                height=7,
            ),
        ),
    ),
    (
        "Is the data fresh?",
        (
            Panel(
                "Age of the newest message",
                "Above its limit (dashed) a symbol is halted. The limit is FEEDD_STALE_AFTER_SECONDS.",
                (
                    Query(f"max by (symbol) (feedd_feed_staleness_seconds{{{FEED}}})", "{{symbol}}"),
                    Query(f"min by (symbol) (feedd_stale_after_seconds{{{FEED}}})", "limit of {{symbol}}"),
                ),
                unit="s",
                alert="FeeddFeedStale",
                steps=((Settings().stale_after_seconds, RED),),
                overrides=(dashed("limit of .*"),),
            ),
            Panel(
                "Age of each stream's newest message",
                "A stream can be silent while others keep the symbol fresh; kline_1s is the heartbeat.",
                (
                    Query(
                        "max by (symbol, stream) (time() - "
                        f"(feedd_stream_last_message_timestamp_seconds{{{FEED}}} > 0))",
                        "{{symbol}} {{stream}}",
                    ),
                ),
                unit="s",
                alert="FeeddHeartbeatSilent",
            ),
            Panel(
                "Messages",
                "Messages handed on, a second.",
                (
                    Query(
                        f"sum by (symbol, stream) (rate(feedd_messages_total{{{FEED}}}[$__rate_interval]))",
                        "{{symbol}} {{stream}}",
                    ),
                ),
                unit="ops",
            ),
            Panel(
                "Connections",
                "1 while the symbol has an open connection.",
                (Query(f"min by (symbol) (feedd_feed_connected{{{FEED}}})", "{{symbol}}"),),
                alert="FeeddDisconnected",
                custom={"drawStyle": "line", "lineInterpolation": "stepAfter"},
            ),
            Panel(
                "Connects and what ended connections",
                "Rotation and a notice of the exchange are planned; the rest is not.",
                (
                    Query(f"sum(increase(feedd_connects_total{{{FEED}}}[$__rate_interval]))", "connected"),
                    Query(gained("feedd_disconnects_total", FEED, "reason"), "ended: {{reason}}"),
                ),
                alert="FeeddConnectionFlapping",
                custom=BARS,
            ),
            Panel(
                "Failed attempts to connect, and the wait until the next",
                "http_403, http_404 and http_451 don't heal by themselves.",
                (
                    Query(gained("feedd_connect_failures_total", FEED, "reason"), "{{reason}}"),
                    Query(f"max by (symbol) (feedd_connect_backoff_seconds{{{FEED}}})", "wait of {{symbol}}"),
                ),
                alert="FeeddConnectFailing",
                overrides=(
                    {
                        "matcher": {"id": "byRegexp", "options": "wait of .*"},
                        "properties": [{"id": "unit", "value": "s"}],
                    },
                ),
            ),
        ),
    ),
    (
        "Is it fast?",
        (
            Panel(
                "Total latency",
                "From the event at the exchange to the consumers. Three in a row over the limit halt.",
                (
                    Query(
                        f"max by (symbol) (instance_symbol:feedd_total_latency_seconds:p50_rate2m{{{FEED}}})",
                        "{{symbol}} p50",
                    ),
                    Query(
                        f"max by (symbol) (instance_symbol:feedd_total_latency_seconds:p99_rate2m{{{FEED}}})",
                        "{{symbol}} p99",
                    ),
                ),
                unit="s",
                alert="FeeddLatencyHigh",
                steps=((threshold_of("FeeddLatencyHigh"), RED),),
                custom={"scaleDistribution": {"type": "log", "log": 10}},
            ),
            Panel(
                "Where the time goes, p99",
                "On the way from the exchange, and in feedd.",
                (
                    Query(quantile(0.99, "feedd_exchange_latency_seconds", FEED), "exchange to feedd"),
                    Query(quantile(0.99, "feedd_processing_latency_seconds", FEED), "in feedd"),
                    Query(quantile(0.99, "feedd_total_latency_seconds", FEED), "total"),
                ),
                unit="s",
                alert="FeeddLatencyHigh",
                custom={"scaleDistribution": {"type": "log", "log": 10}},
            ),
            Panel(
                "Total latency, all messages",
                "How many messages took how long.",
                (
                    Query(
                        gained("feedd_total_latency_seconds_bucket", FEED, "le"), "{{le}}", format="heatmap"
                    ),
                ),
                type="heatmap",
                unit="short",
                alert="FeeddLatencyHigh",
            ),
        ),
    ),
    (
        "Is it complete?",
        (
            Panel(
                "Lost messages",
                "Ids that were skipped in the last 5 minutes, less what was backfilled.",
                (
                    Query(
                        "sum by (symbol, stream) "
                        f"(instance_symbol_stream:feedd_missed_messages:gained5m{{{FEED}}})",
                        "{{symbol}} {{stream}}",
                    ),
                ),
                alert="FeeddMessagesLost",
                steps=((1, AMBER),),
            ),
            Panel(
                "Gaps, repetitions, backfill",
                "Holes in the ids, messages that came again and were not handed on, and missed ones that "
                "were fetched later.",
                (
                    Query(gained("feedd_gaps_total", FEED, "symbol"), "{{symbol}} gaps"),
                    Query(gained("feedd_duplicate_messages_total", FEED, "symbol"), "{{symbol}} repeated"),
                    Query(gained("feedd_backfilled_messages_total", FEED, "symbol"), "{{symbol}} backfilled"),
                ),
                alert="FeeddMessagesLost",
                custom=BARS,
            ),
            Panel(
                "Messages that can't be trusted, and unknown fields",
                "Signs that the exchange has changed its messages.",
                (
                    Query(gained("feedd_invalid_messages_total", FEED, "reason"), "{{reason}}"),
                    Query(
                        f"sum(increase(feedd_unknown_fields_total{{{FEED}}}[$__rate_interval]))",
                        "unknown fields",
                    ),
                ),
                alert="FeeddInvalidMessages",
                custom=BARS,
            ),
        ),
    ),
)

DAEMON: Final[tuple[tuple[str, tuple[Panel, ...]], ...]] = (
    (
        "Is it well?",
        (
            Panel(
                "Up",
                "Whether Prometheus reaches it.",
                (Query(f'up{{job="feedd", {PROCESS}}}', "{{instance}}"),),
                type="stat",
                alert="FeeddDown",
                words=((0, "DOWN", RED), (1, "UP", GREEN)),
                below=RED,
                steps=((1, GREEN),),
                width=4,
                height=5,
            ),
            Panel(
                "Version",
                "Which feedd runs where.",
                (Query(f"feedd_build_info{{{PROCESS}}}", "{{instance}} {{version}}"),),
                type="stat",
                options={"textMode": "name", "colorMode": "none"},
                width=4,
                height=5,
            ),
            Panel(
                "Running for",
                "Time since the start.",
                (Query(f'time() - process_start_time_seconds{{job="feedd", {PROCESS}}}', "{{instance}}"),),
                type="stat",
                unit="s",
                alert="FeeddCrashLooping",
                options={"colorMode": "none"},
                width=4,
                height=5,
            ),
            Panel(
                "Env-file",
                "Whether it could be used when it was last read.",
                (Query(f"feedd_config_last_reload_successful{{{PROCESS}}}", "{{instance}}"),),
                type="stat",
                alert="FeeddReloadFailed",
                words=((0, "WRONG", RED), (1, "GOOD", GREEN)),
                below=RED,
                steps=((1, GREEN),),
                width=4,
                height=5,
            ),
            Panel(
                "Env-file last used",
                "When it was last read with success.",
                (
                    Query(
                        f"feedd_config_last_reload_success_timestamp_seconds{{{PROCESS}}} * 1000",
                        "{{instance}}",
                    ),
                ),
                type="stat",
                unit="dateTimeFromNow",
                alert="FeeddReloadFailed",
                options={"colorMode": "none"},
                width=4,
                height=5,
            ),
            Panel(
                "Symbols halted",
                "Of the symbols that the daemon watches.",
                (
                    Query(f"sum by (instance) (feedd_trading_halted{{{FEED}}})", "{{instance}} halted"),
                    Query(f"count by (instance) (feedd_trading_halted{{{FEED}}})", "{{instance}} watched"),
                ),
                type="stat",
                alert="FeeddTradingHalted",
                options={"colorMode": "none"},
                width=4,
                height=5,
            ),
        ),
    ),
    (
        "Load",
        (
            Panel(
                "Event loop lag",
                "How late the loop runs what was due: what it is late by, every message is.",
                (
                    Query(
                        f"instance:feedd_event_loop_lag_seconds:p99_rate2m{{{PROCESS}}}", "{{instance}} p99"
                    ),
                    Query(
                        quantile(0.5, "feedd_event_loop_lag_seconds", PROCESS, "instance, "),
                        "{{instance}} p50",
                    ),
                ),
                unit="s",
                alert="FeeddEventLoopLagging",
                steps=((threshold_of("FeeddEventLoopLagging"), RED),),
            ),
            Panel(
                "Processor time",
                "1 is one core, and more than feedd can use.",
                (
                    Query(
                        f'rate(process_cpu_seconds_total{{job="feedd", {PROCESS}}}[$__rate_interval])',
                        "{{instance}}",
                    ),
                ),
                unit="percentunit",
                alert="FeeddEventLoopLagging",
            ),
            Panel(
                "Time for a message, in feedd",
                "From the frame's reading to its handing on.",
                (
                    Query(
                        quantile(0.5, "feedd_processing_latency_seconds", FEED, "instance, "),
                        "{{instance}} p50",
                    ),
                    Query(
                        quantile(0.99, "feedd_processing_latency_seconds", FEED, "instance, "),
                        "{{instance}} p99",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Memory",
                "Resident.",
                (Query(f'process_resident_memory_bytes{{job="feedd", {PROCESS}}}', "{{instance}}"),),
                unit="bytes",
            ),
            Panel(
                "Open files",
                "Each connection is one.",
                (
                    Query(f'process_open_fds{{job="feedd", {PROCESS}}}', "{{instance}}"),
                    Query(f'process_max_fds{{job="feedd", {PROCESS}}}', "limit of {{instance}}"),
                ),
                overrides=(dashed("limit of .*"),),
            ),
            Panel(
                "Scrape time",
                "How long Prometheus waits for the metrics; it gives up after 4 s.",
                (Query(f'scrape_duration_seconds{{job="feedd", {PROCESS}}}', "{{instance}}"),),
                unit="s",
                alert="FeeddDown",
            ),
            Panel(
                "Samples of a scrape",
                "Grows with symbols and streams.",
                (Query(f'scrape_samples_scraped{{job="feedd", {PROCESS}}}', "{{instance}}"),),
            ),
            Panel(
                "Garbage collections",
                "A second, by generation. The oldest one stops the loop longest.",
                (
                    Query(
                        f'rate(python_gc_collections_total{{job="feedd", {PROCESS}}}[$__rate_interval])',
                        "{{instance}} generation {{generation}}",
                    ),
                ),
                unit="ops",
            ),
        ),
    ),
    (
        "Consumers",
        (
            Panel(
                "Connected",
                "Consumers over WebSocket.",
                (Query(f"feedd_consumers{{{PROCESS}}}", "{{instance}}"),),
                alert="FeeddConsumersDropped",
            ),
            Panel(
                "Gone, by reason",
                "`slow` could not keep up and was dropped.",
                (Query(gained("feedd_consumer_disconnects_total", PROCESS, "reason"), "{{reason}}"),),
                alert="FeeddConsumersDropped",
                custom=BARS,
            ),
            Panel(
                "Messages that the dropped did not get",
                "What was in their queues.",
                (
                    Query(
                        gained("feedd_consumer_messages_dropped_total", PROCESS, "instance"), "{{instance}}"
                    ),
                ),
                alert="FeeddConsumersDropped",
            ),
        ),
    ),
    (
        "The exchange, and the pager",
        (
            Panel(
                "Connect budget left",
                "Of FEEDD_CONNECT_BUDGET attempts per 5 minutes, against the most there was in an hour.",
                (Query(f"instance:feedd_connect_budget_remaining:ratio_max1h{{{PROCESS}}}", "{{instance}}"),),
                unit="percentunit",
                alert="FeeddConnectBudgetLow",
                below=RED,
                steps=((threshold_of("FeeddConnectBudgetLow"), GREEN),),
            ),
            Panel(
                "Connect attempts left",
                "In the five-minute budget.",
                (Query(f"feedd_connect_budget_remaining{{{PROCESS}}}", "{{instance}}"),),
                alert="FeeddConnectBudgetLow",
            ),
            Panel(
                "Clock offset",
                "The exchange's clock minus the host's, and how far off that may be.",
                (
                    Query(f"feedd_clock_offset_seconds{{{PROCESS}}}", "{{instance}} offset"),
                    Query(f"feedd_clock_offset_error_seconds{{{PROCESS}}} < +Inf", "{{instance}} error"),
                ),
                unit="s",
                alert="FeeddClockOffset",
            ),
            Panel(
                "Age of the clock's measurement",
                "Measured every minute.",
                (
                    Query(
                        f"time() - (feedd_clock_last_sync_timestamp_seconds{{{PROCESS}}} > 0)", "{{instance}}"
                    ),
                ),
                unit="s",
                alert="FeeddClockUnsynchronised",
                steps=((threshold_of("FeeddClockUnsynchronised"), RED),),
            ),
            Panel(
                "Messages from the future",
                "Their event time lies ahead of the clock: it, or the exchange's, is wrong.",
                (Query(gained("feedd_negative_latency_total", FEED, "symbol"), "{{symbol}}"),),
                alert="FeeddClockUnsynchronised",
            ),
            Panel(
                "Posts to Alertmanager",
                "Halts on the direct way; without FEEDD_ALERTMANAGER_URL there are none.",
                (
                    Query(gained("feedd_pager_posts_total", PROCESS, "instance"), "{{instance}} taken"),
                    Query(gained("feedd_pager_failures_total", PROCESS, "instance"), "{{instance}} failed"),
                ),
                alert="FeeddPagerFailing",
                custom=BARS,
            ),
        ),
    ),
)


def placed(rows: tuple[tuple[str, tuple[Panel, ...]], ...]) -> Iterator[Json]:
    """Put the panels side by side under their row's title, and go on below where the line is full."""
    number, y = 0, 0
    for title, panels in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        x, y, tallest = 0, y + 1, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            yield panel.json(number, x, y)
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def variable(name: str, label: str, query: str) -> Json:
    """Return a choice of several of a label's values, at first all of them."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "Variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def dashboard(
    uid: str, title: str, description: str, rows: tuple[tuple[str, tuple[Panel, ...]], ...]
) -> Json:
    """Return a whole dashboard."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["feedd"],
        "schemaVersion": 41,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {"text": "feedd", "value": "feedd"},
                    "hide": 0,
                },
                variable("instance", "Instance", "label_values(feedd_build_info, instance)"),
                variable(
                    "symbol", "Symbol", 'label_values(feedd_trading_halted{instance=~"$instance"}, symbol)'
                ),
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "enable": True,
                    "iconColor": RED,
                    "datasource": DATASOURCE,
                    "expr": f'ALERTS{{{ALERT}, alertstate="firing"}}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{symbol}} {{reason}}",
                    "step": "10s",
                }
            ]
        },
        "links": [
            {
                "title": "feedd",
                "type": "dashboards",
                "tags": ["feedd"],
                "icon": "external link",
                "tooltip": "The other dashboard",
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            },
            {
                "title": "Runbook",
                "type": "link",
                "url": Settings().runbook_url,
                "tags": [],
                "icon": "doc",
                "tooltip": "What each alert means, and what to do",
                "asDropdown": False,
                "includeVars": False,
                "keepTime": False,
                "targetBlank": True,
            },
        ],
        "panels": list(placed(rows)),
    }


def dashboards() -> dict[str, Json]:
    """Return every dashboard under its file's name."""
    return {
        "feedd-overview.json": dashboard(
            "feedd-overview", "feedd: overview", "May we trade? If not, since when and why.", OVERVIEW
        ),
        "feedd-daemon.json": dashboard(
            "feedd-daemon",
            "feedd: daemon",
            "The process, its consumers, and its ways to the outside.",
            DAEMON,
        ),
    }


def text_of(content: Json) -> str:
    """Return a dashboard as it stands in its file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in dashboards().items():
        (FOLDER / name).write_text(text_of(content), encoding="utf-8")


if __name__ == "__main__":
    main()
