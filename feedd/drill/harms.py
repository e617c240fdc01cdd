"""The cases that must halt trading, with the expected reason. One case is one row of the drill's report."""

from __future__ import annotations

from typing import Final

from feedd.drill.case import (
    EACH,
    PROVEN,
    RESUME,
    Case,
    EnvFileEdit,
    InjectedFault,
    Proof,
    Scope,
    fault,
    rises,
    shows,
)
from feedd.drill.durations import Span
from feedd.model import ConnectFailure, DisconnectReason, InvalidReason, Reason

STALE: Final = frozenset({Reason.STALE})
"""A symbol without messages for long enough is stale, whatever else is wrong."""
HANDSHAKE_SECONDS: Final = 10.0
"""How long a handshake may take before the daemon gives it up."""

STALE_IN_TIME: Final = Span(seconds=1, stale=1)
SCHEMA_IN_TIME: Final = Span(seconds=1.5)
"""Three bad messages in a row."""
WINDOW_IN_TIME: Final = Span(seconds=1, window=0.5)
"""Six bad messages of one stream, between good ones of the others."""
WINDOW_OVER: Final = Span(seconds=1, window=1, resume=1)
"""The bad messages must have left the window of the last hundred."""


def _disconnects(reason: DisconnectReason) -> Proof:
    return rises("feedd_disconnects_total", reason=reason)


def _failures(reason: ConnectFailure) -> Proof:
    return rises("feedd_connect_failures_total", reason=reason)


def _invalid(reason: InvalidReason, by: int) -> Proof:
    return rises("feedd_invalid_messages_total", by, reason=reason)


def _closed(code: int, reason: DisconnectReason = DisconnectReason.SERVER_CLOSE) -> Case:
    return Case(
        name=f"close_{code}",
        does=(fault("close", code=code),),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(reason),),
    )


def _not_let_in(
    name: str,
    step: InjectedFault,
    failure: ConnectFailure,
    *,
    proven: Span = PROVEN,
    resume: Span = RESUME,
    scope: Scope = Scope.SYMBOL,
    is_slow: bool = False,
) -> Case:
    """The connection is cut, and the next handshakes fail."""
    return Case(
        name=name,
        does=(step, fault("close", code=1001)),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(DisconnectReason.SERVER_CLOSE), _failures(failure)),
        proven=proven,
        resume=resume,
        scope=scope,
        is_slow=is_slow,
    )


def _http(status: int, failure: ConnectFailure, *, is_slow: bool = False) -> Case:
    return _not_let_in(f"http_{status}", fault("http", status=status), failure, is_slow=is_slow)


def _asked_to_wait(status: int, failure: ConnectFailure) -> Case:
    # A second is the shortest Retry-After; the whole daemon pauses for it, so that no other case may run.
    step = fault("http", status=status, retry_after=1)
    return _not_let_in(f"http_{status}_retry_after", step, failure, scope=Scope.ALONE)


def _in_a_row(name: str, step: InjectedFault, reason: InvalidReason) -> Case:
    """Four bad messages one after the other, of whatever stream."""
    return Case(
        name=name,
        does=(step,),
        expected=Reason.SCHEMA,
        also=STALE,
        halt=SCHEMA_IN_TIME,
        proof=(_invalid(reason, 4),),
    )


def _in_one_stream(name: str, step: InjectedFault, reason: InvalidReason) -> Case:
    """Eight bad messages of one stream, while the other streams are good."""
    return Case(
        name=name,
        does=(step,),
        expected=Reason.SCHEMA,
        halt=WINDOW_IN_TIME,
        proof=(_invalid(reason, 6),),
        proven=Span(seconds=2, window=0.5),
        resume=WINDOW_OVER,
    )


def _not_trading(name: str, status: str) -> Case:
    return Case(
        name=name,
        does=(fault("status", status=status),),
        expected=Reason.EXCHANGE,
        also=STALE,
        halt=Span(seconds=1, status=1),
        resume=Span(seconds=1, status=1, resume=1),
        scope=Scope.VENUE,
    )


def _flag(name: str, text: str, added: bytes, *proof: Proof) -> Case:
    return Case(
        name=name,
        does=(EnvFileEdit(lambda content: content + added, text),),
        expected=Reason.KILL_SWITCH,
        proof=(shows("feedd_kill_switch", 1), *proof),
        resume=Span(seconds=2),
        scope=Scope.ALL,
    )


def _unreadable(name: str, text: str, content: bytes | None) -> Case:
    return Case(
        name=name,
        does=(EnvFileEdit(lambda _: content, text),),
        expected=Reason.FLAGS_UNREADABLE,
        halt=Span(seconds=2.5),  # a second by rule, and the file is polled twice a second
        resume=Span(seconds=2),
        scope=Scope.ALL,
    )


CONNECTIONS: Final = (
    # The longest case stands first, so that the others run meanwhile.
    _not_let_in(
        "hang",
        fault("hang"),
        ConnectFailure.TIMEOUT,
        proven=Span(seconds=2 + HANDSHAKE_SECONDS),
        resume=Span(seconds=1 + HANDSHAKE_SECONDS, resume=1),  # an attempt under way goes on hanging
    ),
    _closed(1000),
    _closed(1001),
    _closed(1003),
    _closed(1008),
    _closed(1011),
    _closed(1012),
    _closed(1013),
    _closed(4000),
    Case(
        name="reset",
        does=(fault("reset"),),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(DisconnectReason.RESET),),
    ),
    Case(
        name="frame_too_big",
        does=(fault("garbage", mode="too_big", count=1),),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_invalid(InvalidReason.TOO_BIG, 1), _disconnects(DisconnectReason.PROTOCOL_ERROR)),
    ),
    Case(
        name="server_shutdown_at_once",
        does=(fault("server_shutdown", cut_after=0),),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(rises("feedd_disconnects_total"),),
    ),
    Case(
        name="flap",
        does=(fault("flap"),),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(rises("feedd_connects_total"), rises("feedd_disconnects_total", 2)),
    ),
    Case(
        name="early_close",
        does=(fault("early_close", after=Span(resume=0.5)), fault("close", code=1001)),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(rises("feedd_connects_total"), rises("feedd_disconnects_total", 2)),
        proven=Span(seconds=2, resume=1),
        resume=Span(seconds=1, resume=2),  # a connection that was let in before the end still ends early
    ),
    Case(
        name="mute_and_close",
        does=(fault("mute"), fault("close", code=1001)),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(DisconnectReason.SERVER_CLOSE), rises("feedd_connects_total")),
    ),
    Case(
        name="mute_and_reset",
        does=(fault("mute"), fault("reset")),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(DisconnectReason.RESET), rises("feedd_connects_total")),
    ),
    _not_let_in("refuse", fault("refuse"), ConnectFailure.REFUSED),
    _http(400, ConnectFailure.HTTP_4XX),
    _http(500, ConnectFailure.HTTP_5XX),
    _http(502, ConnectFailure.HTTP_5XX),
    _http(503, ConnectFailure.HTTP_5XX),
    _asked_to_wait(418, ConnectFailure.HTTP_418),
    _asked_to_wait(429, ConnectFailure.HTTP_429),
    _asked_to_wait(503, ConnectFailure.HTTP_5XX),
    _http(403, ConnectFailure.HTTP_403, is_slow=True),
    _http(404, ConnectFailure.HTTP_404, is_slow=True),
    _http(451, ConnectFailure.HTTP_451, is_slow=True),
)
"""The connection breaks, and new ones may fail."""

SILENCE: Final = (
    Case(name="mute", does=(fault("mute"),), expected=Reason.STALE, halt=STALE_IN_TIME),
    Case(
        name="mute_each_stream",
        does=(fault("mute", stream=EACH),),
        expected=Reason.STALE,
        halt=STALE_IN_TIME,
    ),
    Case(
        name="delay_beyond_staleness",
        does=(fault("delay", ms=Span(seconds=1, stale=1)),),
        expected=Reason.STALE,
        also=frozenset({Reason.LATENCY}),
        halt=STALE_IN_TIME,
    ),
    # A half-open connection may be noticed only by its missing pings, after 45 s.
    Case(name="vanish", does=(fault("vanish"),), expected=Reason.STALE, halt=STALE_IN_TIME, is_slow=True),
)
"""No data comes, whatever the state of the connection."""

LATENESS: Final = (
    Case(
        name="delay",
        does=(fault("delay", ms=Span(latency=1.5)),),
        expected=Reason.LATENCY,
        also=STALE,
        halt=Span(seconds=1, latency=1.5),
        resume=Span(seconds=1, latency=1.5, resume=1),
    ),
    Case(
        name="delay_of_trades",
        does=(fault("delay", stream="trade", ms=Span(latency=1.5)),),
        expected=Reason.LATENCY,
        also=STALE,
        halt=Span(seconds=1, latency=1.5),
        resume=Span(seconds=1, latency=1.5, resume=1),
    ),
    Case(
        name="latency_spike",
        does=(fault("latency_spike", seconds=Span(latency=2)),),
        expected=Reason.LATENCY,
        also=STALE,
        halt=Span(seconds=1, latency=2),
    ),
    Case(
        name="clock_skew_past",
        does=(fault("clock_skew", ms=Span(latency=-3)),),
        expected=Reason.LATENCY,
    ),
)
"""Data comes, but too late."""

SCHEMA: Final = (
    Case(
        name="garbage_without_end",
        does=(fault("garbage", mode="bad_json"),),
        expected=Reason.SCHEMA,
        also=STALE,
        halt=SCHEMA_IN_TIME,
        proof=(_invalid(InvalidReason.BAD_JSON, 6),),
        resume=WINDOW_OVER,
    ),
    Case(
        name="garbage_one_in_ten",
        does=(fault("garbage", mode="bad_json", every=10, count=7),),
        expected=Reason.SCHEMA,
        halt=Span(seconds=1, window=1),
        proof=(_invalid(InvalidReason.BAD_JSON, 6),),
        proven=Span(seconds=2, window=0.5),
        resume=WINDOW_OVER,
    ),
    _in_a_row("garbage_bad_json", fault("garbage", count=4, mode="bad_json"), InvalidReason.BAD_JSON),
    _in_a_row("garbage_truncated", fault("garbage", count=4, mode="truncated"), InvalidReason.BAD_JSON),
    _in_a_row("garbage_not_object", fault("garbage", count=4, mode="not_object"), InvalidReason.NOT_OBJECT),
    _in_a_row("garbage_binary", fault("garbage", count=4, mode="binary"), InvalidReason.BINARY),
    _in_a_row("drop_symbol", fault("drop_field", count=4, field="s"), InvalidReason.MISSING_FIELD),
    _in_a_row("wrong_type_symbol", fault("wrong_type", count=4, field="s"), InvalidReason.WRONG_TYPE),
    _in_a_row("wrong_symbol", fault("wrong_symbol", count=4), InvalidReason.WRONG_SYMBOL),
    _in_one_stream(
        "garbage_trades", fault("garbage", stream="trade", count=8, mode="bad_json"), InvalidReason.BAD_JSON
    ),
    _in_one_stream(
        "garbage_quotes",
        fault("garbage", stream="bookTicker", count=8, mode="truncated"),
        InvalidReason.BAD_JSON,
    ),
    _in_one_stream(
        "drop_event_name",
        fault("drop_field", stream="trade", count=8, field="e"),
        InvalidReason.MISSING_FIELD,
    ),
    _in_one_stream(
        "drop_event_time",
        fault("drop_field", stream="trade", count=8, field="E"),
        InvalidReason.MISSING_FIELD,
    ),
    _in_one_stream(
        "drop_trade_price",
        fault("drop_field", stream="trade", count=8, field="p"),
        InvalidReason.MISSING_FIELD,
    ),
    _in_one_stream(
        "drop_trade_id", fault("drop_field", stream="trade", count=8, field="t"), InvalidReason.MISSING_FIELD
    ),
    _in_one_stream(
        "drop_quote_bid",
        fault("drop_field", stream="bookTicker", count=8, field="b"),
        InvalidReason.MISSING_FIELD,
    ),
    _in_one_stream(
        "drop_quote_id",
        fault("drop_field", stream="bookTicker", count=8, field="u"),
        InvalidReason.MISSING_FIELD,
    ),
    _in_one_stream(
        "wrong_type_event_time",
        fault("wrong_type", stream="trade", count=8, field="E"),
        InvalidReason.WRONG_TYPE,
    ),
    _in_one_stream(
        "wrong_type_trade_price",
        fault("wrong_type", stream="trade", count=8, field="p"),
        InvalidReason.WRONG_TYPE,
    ),
    _in_one_stream(
        "wrong_type_trade_id",
        fault("wrong_type", stream="trade", count=8, field="t"),
        InvalidReason.WRONG_TYPE,
    ),
    _in_one_stream(
        "wrong_type_quote_id",
        fault("wrong_type", stream="bookTicker", count=8, field="u"),
        InvalidReason.WRONG_TYPE,
    ),
)
"""Data comes, but it can't be decoded, or is of another symbol."""

EXCHANGE: Final = (
    _not_trading("status_halt", "HALT"),
    _not_trading("status_break", "BREAK"),
    _not_trading("status_auction_match", "AUCTION_MATCH"),
    _not_trading("status_cancel_only", "CANCEL_ONLY"),
    _not_trading("status_unheard_of", "SOMETHING_NEW"),
)
"""The exchange reports that it does not trade the symbol, or an unknown status."""

PEOPLE: Final = (
    _flag("kill_switch", "the kill switch is set", b"FLAG_TRADING_HALTED=1\n"),
    _flag("kill_switch_unclear", "the kill switch says what nobody understands", b"FLAG_TRADING_HALTED=?\n"),
    _flag(
        "kill_switch_in_a_wrong_file",
        "the kill switch is set in a file with mistakes",
        b"FLAG_TRADING_HALTED=1\nFEEDD_NO_SUCH_KEY=1\n",
        shows("feedd_config_last_reload_successful", 0),
    ),
    _unreadable("env_file_gone", "the env-file is removed", None),
    _unreadable("env_file_empty", "the env-file is emptied", b""),
    _unreadable("env_file_not_utf_8", "the env-file is no text", b"\xff\xfe\x00FLAG"),
)
"""Trading is halted by the kill switch, or the env-file can't be read."""

EVERYWHERE: Final = (
    Case(
        name="everything_reset",
        does=(fault("reset"),),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(DisconnectReason.RESET),),
        scope=Scope.ALL,
    ),
    Case(
        name="exchange_gone",
        does=(fault("reset"), fault("refuse", seconds=Span(seconds=2))),
        expected=Reason.DISCONNECTED,
        also=STALE,
        proof=(_disconnects(DisconnectReason.RESET), _failures(ConnectFailure.REFUSED)),
        scope=Scope.ALL,
    ),
    Case(
        name="everything_mute",
        does=(fault("mute"),),
        expected=Reason.STALE,
        halt=STALE_IN_TIME,
        scope=Scope.ALL,
    ),
)
"""Everything breaks at once. These come last: a daemon reconnects sooner after a while without trouble."""

HARMS: Final = (*CONNECTIONS, *SILENCE, *LATENESS, *SCHEMA, *EXCHANGE, *PEOPLE, *EVERYWHERE)
