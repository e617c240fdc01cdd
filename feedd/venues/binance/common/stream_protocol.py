"""The server's side of a stream connection: what a client may say, and what it is answered.

Source: Binance spot docs, web-socket-streams.md, "Live Subscribing/Unsubscribing to streams". Errors are
nested under `error`, as seen on the wire. The refusal of the 1025th stream is not documented; it was
measured: an error with code 4, then a close with 1008.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from feedd.errors import FeeddError

STREAMS_MAX: Final = 1024
"""How many streams a connection may have."""

_STREAM_NAME = re.compile(r"!?[^@\s/!]+(@[^@\s/]+)*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


class Method(StrEnum):
    """What can be asked for."""

    SUBSCRIBE = "SUBSCRIBE"
    UNSUBSCRIBE = "UNSUBSCRIBE"
    LIST_SUBSCRIPTIONS = "LIST_SUBSCRIPTIONS"
    SET_PROPERTY = "SET_PROPERTY"
    GET_PROPERTY = "GET_PROPERTY"


_VARIANTS = ", ".join(f"`{method}`" for method in Method)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send back, and whether the connection has to end after it."""

    text: bytes
    are_streams_changed: bool = False
    violation: str | None = None
    """The reason for a close with 1008."""


class RequestRefused(FeeddError):
    """A request that can't be carried out."""

    def __init__(self, code: int, message: str, request_id: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id

    @property
    def answer(self) -> Answer:
        """What the client is told."""
        return Answer(_error(self.code, str(self), self.request_id))


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """One request, checked."""

    method: Method
    id: int | str | None
    names: tuple[str, ...] = ()
    """The streams that SUBSCRIBE and UNSUBSCRIBE are about, as the client spelled them."""
    combined: bool = False
    """What SET_PROPERTY sets."""

    def refused(self, code: int, message: str) -> RequestRefused:
        """Return the refusal of this very request."""
        return RequestRefused(code, message, self.id)


@dataclass(slots=True)
class Subscriber:
    """One connection: what it has subscribed to, and in which form it wants its messages."""

    combined: bool
    streams_max: int = STREAMS_MAX
    streams: dict[str, None] = field(default_factory=dict)
    """The names as the client spelled them, in the order they came; known or not, as Binance does."""

    def add(self, names: Iterable[str]) -> bool:
        """Subscribe to streams; False if there are more than a connection may have."""
        self.streams.update(dict.fromkeys(names))
        return len(self.streams) <= self.streams_max

    def receive(self, text: bytes) -> Answer:
        """Carry out one request."""
        try:
            return self.carry_out(parse_request(text))
        except RequestRefused as refused:
            return refused.answer

    def carry_out(self, request: StreamRequest) -> Answer:
        """Carry out a request that was parsed."""
        match request.method:
            case Method.SUBSCRIBE:
                if not self.add(request.names):
                    return too_many_streams(request.id)
                return Answer(_result(None, request.id), are_streams_changed=True)
            case Method.UNSUBSCRIBE:
                for name in request.names:
                    self.streams.pop(name, None)
                return Answer(_result(None, request.id), are_streams_changed=True)
            case Method.LIST_SUBSCRIPTIONS:
                return Answer(_result(list(self.streams), request.id))
            case Method.GET_PROPERTY:
                return Answer(_result(self.combined, request.id))
            case _:  # SET_PROPERTY
                self.combined = request.combined
                return Answer(_result(None, request.id))


def too_many_streams(request_id: int | str | None = None) -> Answer:
    """Refuse a stream too many."""
    return Answer(_error(4, "Too many subscriptions", request_id), violation="Invalid request")


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """What a handshake's URL asked for."""

    names: tuple[str, ...]
    combined: bool


def parse_target(path: str, streams: str) -> StreamTarget | None:
    """Read a handshake's path and its query's `streams`, decoded; None if there is nothing at that path."""
    if path in ("/stream", "/stream/"):
        return StreamTarget(_split(streams), combined=True)
    if path == "/ws" or path.startswith("/ws/"):
        return StreamTarget(_split(path.removeprefix("/ws")), combined=False)
    return None


def _split(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names.split("/") if name))


def parse_request(text: bytes) -> StreamRequest:
    """Read what a client has sent. Raises RequestRefused."""
    content = _parse(text)
    request_id = _request_id(content)
    try:
        return _checked(content, request_id)
    except RequestRefused as refused:
        refused.request_id = request_id
        raise


def _checked(content: dict[str, Any], request_id: int | str | None) -> StreamRequest:
    method, params = _method(content), content.get("params")
    match method:
        case Method.SUBSCRIBE | Method.UNSUBSCRIBE:
            return StreamRequest(method, request_id, names=_stream_names(params))
        case Method.LIST_SUBSCRIPTIONS:
            return StreamRequest(method, request_id)
        case Method.GET_PROPERTY:
            _property_values(params, count=0)
            return StreamRequest(method, request_id)
        case _:  # SET_PROPERTY
            (value,) = _property_values(params, count=1)
            if not isinstance(value, bool):
                raise RequestRefused(1, "Invalid value type: expected Boolean")
            return StreamRequest(method, request_id, combined=value)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        raise RequestRefused(3, f"Invalid JSON: expected value {place}") from None
    if not isinstance(content, dict):
        raise RequestRefused(2, "Invalid request: expected an object")
    return content


def _request_id(content: dict[str, Any]) -> int | str | None:
    request_id = content.get("id")
    if request_id is None or (isinstance(request_id, str) and _REQUEST_ID.fullmatch(request_id)):
        return request_id
    is_whole = isinstance(request_id, int) and not isinstance(request_id, bool)
    if is_whole and -(2**63) <= request_id < 2**63:
        return int(request_id)
    raise RequestRefused(2, "Invalid request: request ID must be an unsigned integer")


def _method(content: dict[str, Any]) -> Method:
    if "method" not in content:
        raise RequestRefused(2, "Invalid request: missing field `method`")
    method = content["method"]
    if not isinstance(method, str):
        raise RequestRefused(2, "Invalid request: method must be a string")
    if method not in Method.__members__:
        raise RequestRefused(2, f"Invalid request: unknown variant `{method}`, expected one of {_VARIANTS}")
    return Method(method)


def _stream_names(params: Any) -> tuple[str, ...]:
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise RequestRefused(2, "Invalid request: params must be a list of stream names")
    if not all(_STREAM_NAME.fullmatch(name) for name in params):
        raise RequestRefused(2, "Invalid request: invalid stream")
    return tuple(params)


def _property_values(params: Any, count: int) -> list[Any]:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise RequestRefused(2, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise RequestRefused(0, "Unknown property")
    if len(params) > 1 + count:
        raise RequestRefused(2, "Invalid request: too many parameters")
    if len(params) < 1 + count:
        raise RequestRefused(1, "Invalid value type: expected Boolean")
    return params[1:]


def _result(result: Any, request_id: int | str | None) -> bytes:
    return orjson.dumps({"result": result, "id": request_id})


def _error(code: int, message: str, request_id: int | str | None) -> bytes:
    return orjson.dumps({"error": {"code": code, "msg": message}, "id": request_id})
