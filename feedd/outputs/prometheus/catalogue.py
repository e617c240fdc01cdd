"""Every metric's name, type and help: the promises that dashboards and alerts are built on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from prometheus_client import exposition as classic
from prometheus_client.openmetrics import exposition as openmetrics


class Format(Enum):
    """The two text formats that Prometheus reads."""

    CLASSIC = classic.CONTENT_TYPE_LATEST
    OPEN_METRICS = openmetrics.CONTENT_TYPE_LATEST


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as it is exposed in the classic format, its type, and what it means."""

    name: str
    type: str
    help: str

    def header(self, text_format: Format) -> str:
        """Return the lines that stand before its samples."""
        name, type_name = self.name, self.type
        if text_format is Format.OPEN_METRICS:
            name = name.removesuffix("_total" if type_name == "counter" else "_info")
            type_name = "info" if name != self.name and type_name == "gauge" else type_name
        return f"# HELP {name} {self.help}\n# TYPE {name} {type_name}\n"


def _gauge(name: str, text: str) -> Family:
    return Family(name, "gauge", text)


def _counter(name: str, text: str) -> Family:
    return Family(name, "counter", text)


def _histogram(name: str, text: str) -> Family:
    return Family(name, "histogram", text)


BUILD_INFO = _gauge("feedd_build_info", "Always 1; the version is in its label.")
SOURCE_ACTIVE = _gauge("feedd_source_active", "1 for the source that market data comes from.")
KILL_SWITCH = _gauge("feedd_kill_switch", "1 while FLAG_TRADING_HALTED halts all symbols.")
CONNECT_BUDGET = _gauge(
    "feedd_connect_budget_remaining", "Connection attempts left in the five-minute budget."
)
CLOCK_OFFSET = _gauge("feedd_clock_offset_seconds", "The venue's clock minus this host's wall clock.")
CLOCK_ERROR = _gauge(
    "feedd_clock_offset_error_seconds",
    "Bound of the clock offset's error, which grows with age; +Inf if never measured.",
)
CLOCK_SYNC = _gauge(
    "feedd_clock_last_sync_timestamp_seconds", "When the clock offset was last measured; 0 if never."
)
RELOAD_SUCCESSFUL = _gauge(
    "feedd_config_last_reload_successful", "1 if the env-file could be used when last read."
)
RELOAD_TIME = _gauge(
    "feedd_config_last_reload_success_timestamp_seconds", "When the env-file was last read with success."
)
CONSUMERS = _gauge("feedd_consumers", "Consumers connected over WebSocket.")
CONSUMER_DROPPED = _counter(
    "feedd_consumer_messages_dropped_total", "Messages that consumers were let go without having been sent."
)
CONSUMER_DISCONNECTS = _counter("feedd_consumer_disconnects_total", "Consumers gone, by reason.")
HTTP_REJECTIONS = _counter(
    "feedd_http_rejections_total", "Connections and requests turned away at feedd's own HTTP side, by reason."
)
PAGER_POSTS = _counter("feedd_pager_posts_total", "Posts of halts that Alertmanager has taken.")
PAGER_FAILURES = _counter("feedd_pager_failures_total", "Posts of halts that Alertmanager has not taken.")
OUTPUT_FAILURES = _counter(
    "feedd_output_failures_total", "Bugs in an output that were contained; no symbol is halted by one."
)
LOOP_LAG = _histogram("feedd_event_loop_lag_seconds", "How late the event loop runs what was due.")

CONNECTED = _gauge("feedd_feed_connected", "1 while the symbol has an open connection.")
STALENESS = _gauge(
    "feedd_feed_staleness_seconds", "Age of the newest market message; since the start where there was none."
)
STALE_AFTER = _gauge("feedd_stale_after_seconds", "Age at which the symbol's data is stale.")
LAST_MESSAGE = _gauge(
    "feedd_feed_last_message_timestamp_seconds", "When the newest market message came; 0 if never."
)
STREAM_LAST_MESSAGE = _gauge(
    "feedd_stream_last_message_timestamp_seconds", "When the stream's newest message came; 0 if never."
)
MESSAGES = _counter("feedd_messages_total", "Messages handed on.")
INVALID = _counter("feedd_invalid_messages_total", "Frames that were no message to trust, by reason.")
UNKNOWN_FIELDS = _counter("feedd_unknown_fields_total", "Fields in trusted messages that feedd doesn't know.")
DISCARDED = _counter(
    "feedd_discarded_messages_total", "Messages that came while the symbol was being rebuilt after a bug."
)
DUPLICATES = _counter(
    "feedd_duplicate_messages_total",
    "Repetitions that nothing explains; not handed on.",
)
COPIES = _counter(
    "feedd_redundant_messages_total", "Second copies while two connections delivered; not handed on."
)
GAPS = _counter("feedd_gaps_total", "Holes in the stream's ids.")
USUAL_GAP = _gauge(
    "feedd_stream_usual_gap_seconds", "Mean time between two messages of the stream; 0 before it is known."
)
MUTES = _counter(
    "feedd_stream_mutes_total", "How often the stream went mute while others of its symbol spoke."
)
MISSED = _counter("feedd_missed_messages_total", "Ids that were in the holes, less what was backfilled.")
BACKFILLED = _counter("feedd_backfilled_messages_total", "Messages that were missed and fetched later.")
CONNECTS = _counter("feedd_connects_total", "Handshakes that succeeded.")
CONNECT_FAILURES = _counter("feedd_connect_failures_total", "Attempts to connect that failed, by reason.")
DISCONNECTS = _counter("feedd_disconnects_total", "Open connections that ended, by reason.")
BACKOFF = _gauge(
    "feedd_connect_backoff_seconds", "How long the next attempt to connect is put off; 0 if it isn't."
)
EXCHANGE_LATENCY = _histogram(
    "feedd_exchange_latency_seconds",
    "From the event's time at the exchange to the frame's reading, clocks corrected.",
)
PROCESSING_LATENCY = _histogram(
    "feedd_processing_latency_seconds", "From the frame's reading to its handing on to every output."
)
TOTAL_LATENCY = _histogram(
    "feedd_total_latency_seconds", "From the event's time at the exchange to the message's handing on."
)
NEGATIVE_LATENCY = _counter(
    "feedd_negative_latency_total",
    "Messages from the future: a clock is wrong. Zero latency if within the clock's error, else none at all.",
)
HALTED = _gauge("feedd_trading_halted", "1 while trading in the symbol is halted.")
HALT_REASON = _gauge("feedd_halt_reason_active", "1 while the reason halts trading in the symbol.")
HALTS = _counter(
    "feedd_trading_halts_total", "How often the reason began to halt trading; starting never counts."
)
