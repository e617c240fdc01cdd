"""The words that every floor shares. An enum member's value is the metric's label and the JSON's text.

Names here are promises to operators (dashboards, alerts, scripts): a change is a breaking change.
"""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Where market data comes from."""

    REALTIME = "realtime"
    STATIC = "static"


class Reason(StrEnum):
    """Why trading in a symbol is halted. The gate is open only when none is active."""

    KILL_SWITCH = "kill_switch"
    FLAGS_UNREADABLE = "flags_unreadable"
    STARTING = "starting"
    DISCONNECTED = "disconnected"
    STALE = "stale"
    LATENCY = "latency"
    SCHEMA = "schema"
    EXCHANGE = "exchange"
    LATCHED = "latched"
    STATIC_SOURCE = "static_source"
    INTERNAL = "internal"


class FeedHealth(StrEnum):
    """How a symbol's feed stands, in one word."""

    LIVE = "live"
    QUIET = "quiet"
    """Silent for longer than is usual for it, which markets may be."""
    SUSPECT = "suspect"
    """Silent for half its limit; another connection is tried."""
    STALE = "stale"
    DOWN = "down"


class DisconnectReason(StrEnum):
    """Why an open connection ended."""

    STALLED = "stalled"
    ROTATION = "rotation"
    SERVER_SHUTDOWN = "server_shutdown"
    SERVER_CLOSE = "server_close"
    RESET = "reset"
    TIMEOUT = "timeout"
    PROTOCOL_ERROR = "protocol_error"
    SHUTDOWN = "shutdown"


class ConnectFailure(StrEnum):
    """Why an attempt to connect did not end in an open connection."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    DNS = "dns"
    TLS = "tls"
    HTTP_403 = "http_403"
    HTTP_404 = "http_404"
    HTTP_418 = "http_418"
    HTTP_429 = "http_429"
    HTTP_451 = "http_451"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    PROTOCOL = "protocol"


class InvalidReason(StrEnum):
    """Why a frame was not taken as a message."""

    BAD_JSON = "bad_json"
    NOT_OBJECT = "not_object"
    BINARY = "binary"
    TOO_BIG = "too_big"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    WRONG_SYMBOL = "wrong_symbol"
    UNKNOWN_EVENT = "unknown_event"


class Rejection(StrEnum):
    """Why a connection or a request at the daemon's own HTTP side was turned away."""

    UNAUTHORIZED = "unauthorized"
    BUSY = "busy"
    """Too many passwords wait to be checked."""
    MALFORMED = "malformed"
    """What it said is no HTTP, or beyond the bounds of size."""
    FLOOD = "flood"
    """Too many connections: the one that had waited longest went."""
    TLS = "tls"
    STALLED = "stalled"
    """It did not read its answer."""


class ConsumerDisconnect(StrEnum):
    """Why a consumer of the daemon's own HTTP side was let go."""

    SLOW = "slow"
    HALT = "halt"
    STATIC_SOURCE = "static_source"
    CLIENT = "client"
    PROTOCOL_ERROR = "protocol_error"
    LIMIT = "limit"
    SHUTDOWN = "shutdown"
