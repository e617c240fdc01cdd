"""What an exchange sends beside plain messages: drifted ones, replies to requests, and a shutdown notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from feedd.model import Event
from feedd.venues.binance.common.frame import Frame

_SHUTDOWN: Final = "serverShutdown"


@dataclass(frozen=True, slots=True)
class Drifted:
    """A trusted message with fields that feedd doesn't know: the exchange has changed something."""

    frame: Frame[Event]
    unknown_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerShutdown:
    """The exchange will close this connection; how soon is not promised."""


@dataclass(frozen=True, slots=True)
class ControlReply:
    """The answer to a control message. `error` is None where it was accepted."""

    request_id: int | str | None
    error: str | None


DecodedFrame = Frame[Event] | Drifted | ServerShutdown | ControlReply
"""What a frame may turn out to be."""


def is_shutdown(content: dict[str, Any]) -> bool:
    """Tell whether the exchange says that it will close the connection."""
    # Raw, combined, and the WebSocket API's shape (Binance spot docs, "Server Shutdown").
    for candidate in (content, content.get("data"), content.get("event")):
        if isinstance(candidate, dict) and candidate.get("e") == _SHUTDOWN:
            return True
    return content.get("stream") == f"!{_SHUTDOWN}"


def control_reply(content: dict[str, Any]) -> ControlReply:
    """Return what the answer to a control message says."""
    request_id = content.get("id")
    error = content.get("error", content if "code" in content else None)
    if isinstance(error, dict):
        error = f"code {text_of(error.get('code'))}: {text_of(error.get('msg'))}"
    return ControlReply(
        request_id if isinstance(request_id, int | str) else None,
        None if error is None else text_of(error),
    )


def text_of(value: object) -> str:
    """Return a value as text for an error's detail."""
    # Arrays may be nested deeper than Python can print.
    return kind_of(value) if isinstance(value, dict | list) else str(value)


def kind_of(value: object) -> str:
    """Return what kind of JSON value it is, in words."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
