"""The kinds of fault. Each class is a kind's name, its help text and its arguments.

How a kind changes a payload stands here; what it does to connections is done in server and stream_clients.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from feedd.exchange.messages import Document, Opcode, shift_times

T = TypeVar("T")


def _argument(default: T, **limits: object) -> T:
    field: T = dataclasses.field(default=default, metadata=limits)
    return field


def _required(**limits: object) -> Any:
    return dataclasses.field(metadata=limits)


@dataclass(frozen=True, kw_only=True)
class FaultKind:
    """A kind of fault: its first docstring line is what an operator reads."""

    name: ClassVar[str]
    is_lasting: ClassVar[bool] = True
    """Lasts for `seconds` or until it is cleared; else it happens once, at once."""
    has_stream: ClassVar[bool] = False
    """May be set for one stream only."""
    needs_seconds: ClassVar[bool] = False


# --- faults of connections


class Reset(FaultKind):
    """Cuts the open connections with a TCP reset, without a close frame."""

    name = "reset"
    is_lasting = False


@dataclass(frozen=True, kw_only=True)
class CloseFault(FaultKind):
    """Closes the open connections with a close frame."""

    name = "close"
    is_lasting = False
    code: int = _argument(1001, minimum=1000, maximum=4999)
    reason: str = ""


class Vanish(FaultKind):
    """Falls silent for good: open connections stay half-open, and new handshakes are never answered."""

    name = "vanish"


class Refuse(FaultKind):
    """Refuses new connections: for all by closing the listening socket, for a symbol by a TCP reset."""

    name = "refuse"


@dataclass(frozen=True, kw_only=True)
class Http(FaultKind):
    """Answers handshakes with an HTTP status and an HTML page; with `rest` the REST side as well."""

    name = "http"
    status: int = _argument(503, minimum=400, maximum=599)
    retry_after: int | None = _argument(None, minimum=0)
    rest: bool = False


@dataclass(frozen=True, kw_only=True)
class RestHttp(FaultKind):
    """Answers the REST side, and only it, with an HTTP status and an HTML page."""

    name = "rest_http"
    status: int = _argument(503, minimum=400, maximum=599)
    retry_after: int | None = _argument(None, minimum=0)


class Hang(FaultKind):
    """Accepts TCP connections but never answers a handshake."""

    name = "hang"


@dataclass(frozen=True, kw_only=True)
class EarlyClose(FaultKind):
    """Closes each new connection after a while."""

    name = "early_close"
    after: float = _argument(1.0, minimum=0)
    code: int = _argument(1001, minimum=1000, maximum=4999)


@dataclass(frozen=True, kw_only=True)
class Flap(FaultKind):
    """Accepts each connection and closes it at once; the open ones are closed too."""

    name = "flap"
    code: int = _argument(1001, minimum=1000, maximum=4999)


@dataclass(frozen=True, kw_only=True)
class ServerShutdownFault(FaultKind):
    """Sends the serverShutdown notice, and closes `cut_after` seconds later if that is given."""

    name = "server_shutdown"
    is_lasting = False
    cut_after: float | None = _argument(None, minimum=0)


# --- faults of messages


class Mute(FaultKind):
    """Sends no data, or none of one stream; the connection lives and pings are sent and answered."""

    name = "mute"
    has_stream = True


@dataclass(frozen=True, kw_only=True)
class Status(FaultKind):
    """Changes the symbol's status; BREAK has no data, CANCEL_ONLY no klines, HALT all of it."""

    name = "status"
    status: str = _required(pattern=r"[A-Z][A-Z_]*")

    def is_silencing(self, stream: str) -> bool:
        """Say whether a symbol of this status sends nothing on such a stream."""
        return self.status == "BREAK" or (self.status == "CANCEL_ONLY" and stream.startswith("kline_"))


@dataclass(frozen=True, kw_only=True)
class Gap(FaultKind):
    """Leaves out the next `count` messages of each stream that numbers them, or of the one named."""

    name = "gap"
    is_lasting = False
    has_stream = True
    count: int = _argument(1, minimum=1)


class IdReset(FaultKind):
    """Lets trade, aggregate and update ids start from 1 again, as after a wipe."""

    name = "id_reset"
    is_lasting = False


@dataclass(frozen=True, kw_only=True)
class Delay(FaultKind):
    """Holds data back for so long; event times stay true."""

    name = "delay"
    has_stream = True
    ms: float = _argument(1500, minimum=0)


class LatencySpike(FaultKind):
    """Holds all data back until the fault ends, then sends it at one go."""

    name = "latency_spike"
    has_stream = True
    needs_seconds = True


@dataclass(frozen=True, kw_only=True)
class MessageFault(FaultKind):
    """A fault of single messages: it hits every n-th, and ends after `count` of them."""

    has_stream = True
    every: int = _argument(1, minimum=1)
    count: int | None = _argument(None, minimum=1)


class Duplicate(MessageFault):
    """Sends messages twice, byte by byte."""

    name = "duplicate"


class Reorder(MessageFault):
    """Swaps neighbouring messages of a stream."""

    name = "reorder"


class UnknownEvent(MessageFault):
    """Adds well-formed messages of an event and a stream that nobody knows; the good ones go on."""

    name = "unknown_event"


class GarbageMode(StrEnum):
    """What a garbage frame is like."""

    BAD_JSON = "bad_json"
    NOT_OBJECT = "not_object"
    BINARY = "binary"
    TOO_BIG = "too_big"
    TRUNCATED = "truncated"


@dataclass(frozen=True, kw_only=True)
class Garbage(MessageFault):
    """Sends frames that no client can read in the place of good ones, or with `add` besides them."""

    name = "garbage"
    mode: GarbageMode = GarbageMode.BAD_JSON
    add: bool = False
    size: int = _argument(5 * 1024 * 1024, minimum=1)
    """Bytes that `too_big` pads a frame with; more than the 4 MiB that most clients take."""

    def corrupt(self, text: bytes) -> tuple[Opcode, bytes]:
        """Turn the content of a text frame into garbage."""
        match self.mode:
            case GarbageMode.BAD_JSON:
                return Opcode.TEXT, text[:-1] + b"]"
            case GarbageMode.NOT_OBJECT:
                return Opcode.TEXT, b"[%b]" % text
            case GarbageMode.BINARY:
                return Opcode.BINARY, text
            case GarbageMode.TOO_BIG:
                return Opcode.TEXT, b'%b,"padding":"%b"}' % (text[:-1], b"x" * self.size)
            case GarbageMode.TRUNCATED:
                return Opcode.TEXT, text[: len(text) // 2]


class PayloadFault(MessageFault, ABC):
    """A fault that changes a payload's content."""

    @abstractmethod
    def applies(self, document: Document) -> bool:
        """Say whether the payload has what the fault changes."""

    @abstractmethod
    def rewrite(self, document: Document) -> None:
        """Change the payload in place."""


@dataclass(frozen=True, kw_only=True)
class DropField(PayloadFault):
    """Leaves a field out of payloads that have it; `k.c` names one inside another."""

    name = "drop_field"
    field: str = _argument("p", pattern=r"\w+(\.\w+)*")

    def applies(self, document: Document) -> bool:
        """Say whether the payload has the field."""
        return _holder(document, self.field) is not None

    def rewrite(self, document: Document) -> None:
        """Remove the field."""
        holder = _holder(document, self.field)
        assert holder is not None
        del holder[self.field.rpartition(".")[2]]


@dataclass(frozen=True, kw_only=True)
class WrongType(PayloadFault):
    """Puts a value of another type in a field of the payloads that have it."""

    name = "wrong_type"
    field: str = _argument("p", pattern=r"\w+(\.\w+)*")

    def applies(self, document: Document) -> bool:
        """Say whether the payload has the field."""
        return _holder(document, self.field) is not None

    def rewrite(self, document: Document) -> None:
        """Replace a list by a text, and anything else by a list."""
        holder = _holder(document, self.field)
        assert holder is not None
        last = self.field.rpartition(".")[2]
        holder[last] = "wrong type" if isinstance(holder[last], list) else ["wrong type"]


@dataclass(frozen=True, kw_only=True)
class UnknownField(PayloadFault):
    """Adds a field that nobody knows to payloads."""

    name = "unknown_field"
    field: str = _argument("zz", pattern=r"\w+")

    def applies(self, document: Document) -> bool:
        """Say that every payload can be changed."""
        return True

    def rewrite(self, document: Document) -> None:
        """Add the field."""
        document[self.field] = "new"


@dataclass(frozen=True, kw_only=True)
class WrongSymbol(PayloadFault):
    """Names another symbol in payloads that name one; the stream's name stays."""

    name = "wrong_symbol"
    to: str = _argument("WRONGUSDT", pattern=r"\S+")

    def applies(self, document: Document) -> bool:
        """Say whether the payload names its symbol."""
        return "s" in document

    def rewrite(self, document: Document) -> None:
        """Replace the symbol, also inside a candle."""
        document["s"] = self.to
        if "k" in document:
            document["k"]["s"] = self.to


@dataclass(frozen=True, kw_only=True)
class ClockSkew(FaultKind):
    """Moves the exchange's clock: event times, and for all symbols the server time that REST tells."""

    name = "clock_skew"
    ms: int = 5000
    events: bool = True
    rest: bool = True

    def rewrite(self, document: Document, milliseconds: int) -> None:
        """Shift a payload's times; `milliseconds` is the number of the payload's units in a millisecond."""
        shift_times(document, self.ms * milliseconds)


def _holder(document: Document, field: str) -> Document | None:
    *path, last = field.split(".")
    holder: Any = document
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder if isinstance(holder, dict) and last in holder else None


FAULT_KINDS: Mapping[str, type[FaultKind]] = {
    kind.name: kind
    for kind in (
        Mute,
        Reset,
        CloseFault,
        Vanish,
        Refuse,
        Http,
        RestHttp,
        Hang,
        EarlyClose,
        Flap,
        ServerShutdownFault,
        Status,
        Delay,
        LatencySpike,
        ClockSkew,
        Garbage,
        DropField,
        WrongType,
        UnknownEvent,
        UnknownField,
        WrongSymbol,
        Gap,
        Duplicate,
        Reorder,
        IdReset,
    )
}
