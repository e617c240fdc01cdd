"""What a client may say on a stream connection, and what it is answered (Binance spot docs:
web-socket-streams.md, Live Subscribing/Unsubscribing to streams).

Errors are nested under `error`, as seen on the wire. The refusal of the 1025th stream is not documented; it
was measured: an error with code 4, then a close with 1008.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from feedd.errors import FeeddError
from feedd.exchange.messages import TimeUnit

Method = Literal["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY"]

_METHODS: tuple[Method, ...] = (
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST_SUBSCRIPTIONS",
    "SET_PROPERTY",
    "GET_PROPERTY",
)
_VARIANTS = ", ".join(f"`{method}`" for method in _METHODS)
_STREAM_NAME = re.compile(r"!?[^@\s/!]+(@[^@\s/]+)*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back, and whether the connection has to end after it."""

    text: bytes
    are_streams_changed: bool = False
    violation: str | None = None
    """The reason for a close with 1008."""


class _Refusal(FeeddError):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Session:
    """One connection's subscriptions and properties."""

    combined: bool
    unit: TimeUnit
    streams_max: int
    streams: dict[str, None] = field(default_factory=dict)
    """The names as the client spelled them, in the order they came; known or not, as the real one does."""

    def add(self, names: Iterable[str]) -> bool:
        """Subscribe to streams; False if there are more than a connection may have."""
        self.streams.update(dict.fromkeys(names))
        return len(self.streams) <= self.streams_max

    def receive(self, text: bytes) -> Answer:
        """Carry out one request."""
        request_id: Any = None
        try:
            request = _parse(text)
            request_id = _request_id(request)
            return self._carry_out(_method(request), request.get("params"), request_id)
        except _Refusal as refusal:
            return Answer(_error(refusal.code, str(refusal), request_id))

    def too_many(self, request_id: Any = None) -> Answer:
        """Refuse a stream too many."""
        return Answer(_error(4, "Too many subscriptions", request_id), violation="Invalid request")

    def _carry_out(self, method: Method, params: Any, request_id: Any) -> Answer:
        match method:
            case "SUBSCRIBE":
                if not self.add(_stream_names(params)):
                    return self.too_many(request_id)
                return Answer(_result(None, request_id), are_streams_changed=True)
            case "UNSUBSCRIBE":
                for name in _stream_names(params):
                    self.streams.pop(name, None)
                return Answer(_result(None, request_id), are_streams_changed=True)
            case "LIST_SUBSCRIPTIONS":
                return Answer(_result(list(self.streams), request_id))
            case "GET_PROPERTY":
                _property_values(params, count=0)
                return Answer(_result(self.combined, request_id))
            case "SET_PROPERTY":
                (value,) = _property_values(params, count=1)
                if not isinstance(value, bool):
                    raise _Refusal(1, "Invalid value type: expected Boolean")
                self.combined = value
                return Answer(_result(None, request_id))


@dataclass(frozen=True, slots=True)
class Target:
    """What a handshake's URL asked for."""

    streams: tuple[str, ...]
    combined: bool
    unit: TimeUnit


def parse_target(path: str, query: dict[str, str]) -> Target | None:
    """Read a handshake's URL, decoded; None if there is nothing at that path."""
    unit = parse_unit(query.get("timeUnit", ""))
    if path in ("/stream", "/stream/"):
        return Target(_split(query.get("streams", "")), True, unit)
    if path == "/ws" or path.startswith("/ws/"):
        return Target(_split(path.removeprefix("/ws")), False, unit)
    return None


def parse_unit(text: str) -> TimeUnit:
    """Read a time unit; Binance takes it in either case, and milliseconds unless told otherwise."""
    return TimeUnit.MICROSECOND if text.upper() == "MICROSECOND" else TimeUnit.MILLISECOND


def _split(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names.split("/") if name))


def _parse(text: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        raise _Refusal(3, f"Invalid JSON: expected value {place}") from None
    if not isinstance(request, dict):
        raise _Refusal(2, "Invalid request: expected an object")
    return request


def _request_id(request: dict[str, Any]) -> Any:
    request_id = request.get("id")
    is_whole = isinstance(request_id, int) and not isinstance(request_id, bool)
    is_text = isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id)
    if request_id is None or is_text or (is_whole and -(2**63) <= request_id < 2**63):
        return request_id
    raise _Refusal(2, "Invalid request: request ID must be an unsigned integer")


def _method(request: dict[str, Any]) -> Method:
    if "method" not in request:
        raise _Refusal(2, "Invalid request: missing field `method`")
    for method in _METHODS:
        if request["method"] == method:
            return method
    raise _Refusal(2, f"Invalid request: unknown variant `{request['method']}`, expected one of {_VARIANTS}")


def _stream_names(params: Any) -> list[str]:
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise _Refusal(2, "Invalid request: params must be a list of stream names")
    if not all(_STREAM_NAME.fullmatch(name) for name in params):
        raise _Refusal(2, "Invalid request: invalid stream")
    return params


def _property_values(params: Any, count: int) -> list[Any]:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise _Refusal(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise _Refusal(0, "Unknown property")
    if len(params) > 1 + count:
        raise _Refusal(2, "Invalid request: too many parameters")
    if len(params) < 1 + count:
        raise _Refusal(1, "Invalid value type: expected Boolean")
    return params[1:]


def _result(result: Any, request_id: Any) -> bytes:
    return orjson.dumps({"result": result, "id": request_id})


def _error(code: int, message: str, request_id: Any) -> bytes:
    return orjson.dumps({"error": {"code": code, "msg": message}, "id": request_id})
