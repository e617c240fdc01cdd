"""The words that every floor shares. An enum member's value is the metric's label and the JSON's text.

Names here are promises to operators (dashboards, alerts, scripts): a change is a breaking change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address


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


class Venue(StrEnum):
    """The exchange that is listened to. `venues` knows the hosts of each."""

    BINANCE_SPOT = "binance-spot"
    BINANCE_SPOT_TESTNET = "binance-spot-testnet"
    BINANCE_SPOT_DEMO = "binance-spot-demo"
    BINANCE_SPOT_DATA = "binance-spot-data"


class ResumePolicy(StrEnum):
    """How an automatic halt ends: by itself, or only after a person re-arms it."""

    AUTO = "auto"
    MANUAL = "manual"


class LogLevel(StrEnum):
    """The least severe message that is still logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What a log line looks like: `key=value` text for people, or one JSON object for pipelines."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Listen:
    """The address of the HTTP side. An IPv6 host stands here without its brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class RotateWindow:
    """The time of day, UTC, when planned renewals may happen. It may span midnight; the end is exclusive."""

    start_minute: int
    """Minutes after midnight, 0 to 1439."""
    end_minute: int

    def __str__(self) -> str:
        return f"{_clock_text(self.start_minute)}-{_clock_text(self.end_minute)}"

    def contains(self, wall: float) -> bool:
        """Say whether `wall`, in seconds since the epoch, lies within the window."""
        minute = wall % 86_400 / 60
        if self.start_minute < self.end_minute:
            return self.start_minute <= minute < self.end_minute
        return minute >= self.start_minute or minute < self.end_minute


def _clock_text(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
