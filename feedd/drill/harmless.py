"""The cases that must not halt anything; each states the proof that its oddity took effect."""

from __future__ import annotations

from typing import Final

from feedd.drill.case import (
    Case,
    EnvFileEdit,
    Hits,
    HttpLoad,
    InjectedFault,
    Late,
    Proof,
    Scope,
    Step,
    fault,
    rises,
    shows,
)
from feedd.drill.durations import Span
from feedd.model import DisconnectReason, InvalidReason

BRIEFLY: Final = Span(seconds=0.3)
PROVEN: Final = Span(seconds=3)
GOES_ON: Final = rises("feedd_messages_total", 3)
"""Data was handed on meanwhile."""


def _odd(
    name: str,
    step: Step,
    *proof: Proof,
    hold: Span = BRIEFLY,
    proven: Span = PROVEN,
    scope: Scope = Scope.SYMBOL,
) -> Case:
    return Case(name=name, does=(step,), hold=hold, proof=proof, proven=proven, scope=scope)


def _one_bad(name: str, step: InjectedFault, reason: InvalidReason) -> Case:
    """A single bad message halts nothing."""
    return _odd(name, step, rises("feedd_invalid_messages_total", reason=reason), GOES_ON)


def _silent_stream(name: str, stream: str, sibling: str) -> Case:
    """One stream is silent for longer than the symbol may be, while its other streams are not."""
    return _odd(
        name,
        fault("mute", stream=stream),
        Hits(1),
        rises("feedd_messages_total", stream=sibling),
        hold=Span(seconds=0.5, stale=1),
    )


def _rest_fails(status: int, retry_after: int = 0) -> Case:
    """The exchange's REST side fails; the last known status stays.

    For a Retry-After the whole daemon pauses, so that no other case may run.
    """
    return _odd(
        f"rest_{status}",
        fault("rest_http", status=status, retry_after=retry_after),
        Hits(1),
        GOES_ON,
        proven=Span(seconds=3, status=1),
        scope=Scope.ALONE if retry_after else Scope.VENUE,
    )


MESSAGES: Final = (
    _odd(
        "duplicate_trades",
        fault("duplicate", stream="trade", count=10),
        rises("repetitions", 5, stream="trade"),
    ),
    _odd(
        "duplicate_quotes",
        fault("duplicate", stream="bookTicker", count=5),
        rises("repetitions", 3, stream="bookTicker"),
    ),
    _odd(
        "duplicate_candles",
        fault("duplicate", stream="kline_1s", count=1),
        rises("repetitions", stream="kline_1s"),
    ),
    _odd("duplicate_everything", fault("duplicate"), rises("repetitions", 10)),
    _odd(
        "reorder_trades",
        fault("reorder", stream="trade", every=3, count=3),
        rises("feedd_gaps_total", stream="trade"),
    ),
    _odd(
        "reorder_quotes",
        fault("reorder", stream="bookTicker", every=3, count=3),
        rises("repetitions", stream="bookTicker"),
    ),
    _odd(
        "gap_of_one",
        fault("gap", stream="trade", count=1),
        rises("feedd_gaps_total", stream="trade"),
        rises("feedd_missed_messages_total", 1, stream="trade"),
    ),
    _odd(
        "gap_of_ten",
        fault("gap", stream="trade", count=10),
        rises("feedd_gaps_total", stream="trade"),
        rises("feedd_missed_messages_total", 10, stream="trade"),
    ),
    _odd("id_reset", fault("id_reset"), rises("status_resets", stream="trade"), GOES_ON),
    _odd(
        "unknown_event",
        fault("unknown_event", count=3),
        rises("feedd_invalid_messages_total", 3, reason=InvalidReason.UNKNOWN_EVENT),
    ),
    _odd(
        "unknown_events_without_end",
        fault("unknown_event"),
        rises("feedd_invalid_messages_total", 10, reason=InvalidReason.UNKNOWN_EVENT),
        GOES_ON,
    ),
    _odd("unknown_field", fault("unknown_field", count=5), rises("feedd_unknown_fields_total", 5)),
    _odd(
        "unknown_field_in_everything",
        fault("unknown_field", field="feeTier"),
        rises("feedd_unknown_fields_total", 10),
        GOES_ON,
    ),
    _one_bad("one_bad_json", fault("garbage", count=1, mode="bad_json"), InvalidReason.BAD_JSON),
    _one_bad("one_truncated", fault("garbage", count=1, mode="truncated"), InvalidReason.BAD_JSON),
    _one_bad("one_not_object", fault("garbage", count=1, mode="not_object"), InvalidReason.NOT_OBJECT),
    _one_bad("one_binary", fault("garbage", count=1, mode="binary"), InvalidReason.BINARY),
    _one_bad("one_missing_field", fault("drop_field", count=1, field="s"), InvalidReason.MISSING_FIELD),
    _one_bad("one_wrong_type", fault("wrong_type", count=1, field="s"), InvalidReason.WRONG_TYPE),
    _one_bad("one_wrong_symbol", fault("wrong_symbol", count=1), InvalidReason.WRONG_SYMBOL),
    _odd(
        "garbage_besides",
        fault("garbage", mode="bad_json", add=True, every=10, count=5),
        rises("feedd_invalid_messages_total", 5, reason=InvalidReason.BAD_JSON),
        GOES_ON,
        proven=Span(seconds=3, window=1),
    ),
)
"""Single messages are odd, missing or repeated."""

TIMES: Final = (
    _odd("short_mute", fault("mute"), Hits(1), hold=Span(stale=0.6)),
    _odd("two_short_mutes", fault("mute", stream="trade"), Hits(1), GOES_ON, hold=Span(stale=0.6)),
    _silent_stream("mute_trades", "trade", "bookTicker"),
    _silent_stream("mute_quotes", "bookTicker", "trade"),
    _silent_stream("mute_candles", "kline_1s", "trade"),
    _odd("short_delay", fault("delay", ms=Span(latency=0.4)), Late(Span(latency=0.2)), GOES_ON),
    _odd(
        # Trades that are on time stand between them: never three late ones in a row.
        "late_candles",
        fault("delay", stream="kline_1s", ms=Span(latency=1.5)),
        Late(Span(latency=1)),
        hold=Span(seconds=1, latency=1.5),
        proven=Span(seconds=3, latency=1.5),
    ),
    _odd("late_quotes", fault("delay", stream="bookTicker", ms=Span(latency=1.5)), Hits(1), GOES_ON),
    _odd(
        "clock_a_little_behind", fault("clock_skew", ms=Span(latency=-0.4)), Late(Span(latency=0.2)), GOES_ON
    ),
    _odd(
        "clock_ahead",
        fault("clock_skew", ms=Span(latency=3)),
        rises("feedd_negative_latency_total", 3),
        GOES_ON,
    ),
)
"""Data comes a little late, or one stream of several is silent."""

VENUE: Final = (
    _rest_fails(429, retry_after=1),
    _rest_fails(500),
    _rest_fails(503),
    _odd(
        "status_trading_again",
        fault("status", status="TRADING"),
        rises("feedd_messages_total", 3),
        hold=Span(seconds=0.5, status=1),
        scope=Scope.VENUE,
    ),
)
"""The exchange's REST side fails, or reports the status that it had."""

CONSUMERS: Final = (
    _odd("scrape_storm", HttpLoad.SCRAPES, GOES_ON),
    _odd("gate_questions", HttpLoad.GATE_REQUESTS, GOES_ON),
    _odd("deaf_consumer", HttpLoad.STALLED_CONSUMER, rises("feedd_consumer_disconnects_total"), GOES_ON),
    _odd(
        "fickle_consumers",
        HttpLoad.ABORTING_CONSUMERS,
        rises("feedd_consumer_disconnects_total", 10),
        GOES_ON,
    ),
    _odd("bad_requests", HttpLoad.BAD_REQUESTS, GOES_ON),
)
"""Requests to the daemon must not disturb it."""

NEIGHBOURS: Final = (
    _odd(
        "others_garbage",
        fault("garbage", count=4),
        rises("feedd_messages_total", 10),
        hold=Span(seconds=1),
        scope=Scope.OTHERS,
    ),
    _odd("others_mute", fault("mute"), GOES_ON, hold=Span(seconds=0.5, stale=1), scope=Scope.OTHERS),
    _odd(
        "others_reset",
        fault("reset"),
        rises("feedd_messages_total", 10),
        hold=Span(seconds=1),
        scope=Scope.OTHERS,
    ),
)
"""All other symbols have a fault."""

PEOPLE: Final = (
    _odd(
        "env_file_wrong",
        EnvFileEdit(lambda content: content + b"FEEDD_NO_SUCH_KEY=1\n", "a mistake is saved in the env-file"),
        shows("feedd_config_last_reload_successful", 0),
        scope=Scope.ALL,
    ),
    _odd(
        "env_file_changed",
        EnvFileEdit(lambda content: content + b"FEEDD_CONSUMERS_MAX=900\n", "a setting is changed"),
        rises("feedd_config_last_reload_success_timestamp_seconds", 0.1),
        scope=Scope.ALL,
    ),
)
"""The env-file is edited."""


HEALED: Final = (
    _odd(
        "server_shutdown_notice",
        fault("server_shutdown"),
        rises("feedd_disconnects_total", reason=DisconnectReason.SERVER_SHUTDOWN),
        GOES_ON,
    ),
    _odd(
        "server_shutdown_with_notice",
        fault("server_shutdown", cut_after=Span(seconds=3)),
        rises("feedd_disconnects_total", reason=DisconnectReason.SERVER_SHUTDOWN),
        GOES_ON,
    ),
    _odd(
        # It is over at once, so that only the connections of this moment are half-open: a new one works.
        "connection_vanishes",
        fault("vanish", seconds=Span(seconds=0.05)),
        rises("feedd_disconnects_total", reason=DisconnectReason.STALLED),
        hold=Span(seconds=0.5, stale=1),
    ),
)
"""What the daemon heals by opening the next connection before the last one is closed."""

HARMLESS: Final = (*MESSAGES, *TIMES, *VENUE, *CONSUMERS, *PEOPLE, *NEIGHBOURS, *HEALED)
