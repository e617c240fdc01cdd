"""The words that every floor shares. An enum member's value is the metric's label and the JSON's text.

Names here are promises to operators (dashboards, alerts, scripts): a change is a breaking change.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from ipaddress import ip_address
from typing import Protocol


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


class VenueName(StrEnum):
    """The exchange that is listened to. `venues` has a table for each."""

    BINANCE_SPOT = "binance-spot"
    BINANCE_SPOT_TESTNET = "binance-spot-testnet"
    BINANCE_SPOT_DEMO = "binance-spot-demo"
    BINANCE_SPOT_DATA = "binance-spot-data"
    BINANCE_US = "binance-us"
    BINANCE_TR = "binance-tr"


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


class StreamKind(Enum):
    """A family of streams that carry the same news, whatever a venue's payload for it looks like."""

    TRADE = auto()
    AGG_TRADE = auto()
    BOOK_TICKER = auto()
    DEPTH = auto()
    PARTIAL_DEPTH = auto()
    KLINE = auto()
    MINI_TICKER = auto()
    TICKER = auto()
    WINDOW_TICKER = auto()
    AVERAGE_PRICE = auto()


class ContinuityRule(Enum):
    """What a stream's own identities prove."""

    STEP = auto()
    """Ids step by one: every hole is a loss of known size."""
    SPAN = auto()
    """A message spans ids, and the next one begins where it ended: every hole is a loss of known size."""
    RISING = auto()
    """Ids rise, and skip: they tell a repetition, never a loss."""
    EVENT_TIME = auto()
    """There is no id; event times rise, and two different messages may share one."""


@dataclass(frozen=True, slots=True)
class Continuity:
    """A stream's rule, and the attributes of its payload that the rule is about."""

    rule: ContinuityRule
    first: str = ""
    """The attribute with the message's only id, or with the first of those that it spans."""
    last: str = ""
    """The attribute with the last id that it spans."""
    may_repeat: bool = False
    """A message with the newest id may be sent again, and is then as good as new."""

    @property
    def counts_loss(self) -> bool:
        """Tell whether ids are without holes, so that a hole is a loss."""
        return self.rule in (ContinuityRule.STEP, ContinuityRule.SPAN)


UNROUTED = ""
"""The route of a venue that serves all of its streams under one address."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream without its symbol, such as `trade`, `depth@100ms` or `kline_1s`: the label in the metrics."""

    name: str
    kind: StreamKind
    continuity: Continuity
    carries_symbol: bool = True
    """The payload says which symbol it is of."""
    has_history: bool = False
    """Messages that were missed can be fetched by their ids."""
    route: str = UNROUTED
    """Under which of the venue's addresses it is served."""

    @property
    def interval(self) -> str | None:
        """The candle's interval of a kline stream, else None."""
        return self.name.removeprefix("kline_") if self.kind is StreamKind.KLINE else None


@dataclass(frozen=True, slots=True)
class Subscription:
    """One stream of one symbol."""

    symbol: str
    stream: Stream

    @property
    def wire_name(self) -> str:
        """The name that Binance knows it by: the symbol in lower case, the rest is case-sensitive."""
        return f"{self.symbol.lower()}@{self.stream.name}"

    @property
    def wire_symbol(self) -> str | None:
        """What the payload's symbol field must say; None where the payload carries none."""
        return self.symbol if self.stream.carries_symbol else None


class Event(Protocol):
    """A decoded message, as far as every floor needs it; the venue's payload has the rest."""

    @property
    def event_time(self) -> int | None:
        """When it happened, in milliseconds since the epoch by the venue's clock; None if it is unsaid."""


class EventFrame(Protocol):
    """A decoded message and the wire name of the stream that it came in."""

    @property
    def stream(self) -> str: ...

    @property
    def data(self) -> Event: ...
