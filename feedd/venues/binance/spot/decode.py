"""Bytes of one connection → a message that can be trusted, or a DecodeError that says what is wrong.

This decoder checks everything, because the venue is not trusted; a client's (feedd.client.decode) trusts the
daemon that has checked.

A frame of the known shape is decoded and checked against its schema (payloads.py) in one pass. Anything else
takes the second, slower look, which tells harmless oddities (new fields, another order of keys, control
replies, a shutdown notice) from messages that must not be trusted. Nothing but DecodeError is ever raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

import msgspec
import orjson

from feedd.errors import DecodeError
from feedd.model import InvalidReason, StreamKind, Subscription
from feedd.venues.binance.common.control_replies import (
    DecodedFrame,
    Drifted,
    ServerShutdown,
    control_reply,
    is_shutdown,
    kind_of,
)
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.common.peek import stream_in
from feedd.venues.binance.spot.payloads import Candle, Depth, Kline, Payload
from feedd.venues.binance.spot.streams import EVENT_NAMES, STREAMS
from feedd.venues.binance.spot.strict import STRICT_DECODERS
from feedd.venues.venue import StreamDefinition

_fields_of: Final = cache(msgspec.structs.fields)
"""Without a memory a field that the exchange adds would make every message cost half a millisecond."""


class SpotStreamDecoder:
    """Decodes the frames of one subscription that are of exactly the known shape, which nearly all are."""

    __slots__ = ("_fits", "_strict", "_symbol", "name")

    def __init__(self, subscription: Subscription) -> None:
        self.name = subscription.wire_name
        self._symbol = subscription.wire_symbol
        self._strict = STRICT_DECODERS[_definition(subscription).payload_type]
        self._fits = _fit_of(subscription)

    def first_look(self, frame: bytes) -> Frame[Payload] | None:
        """Return the message of a frame; None for one that needs a second look."""
        try:
            message = self._strict(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None  # the second look says why, or finds that it is harmless
        # A repeated key could have changed the stream since its name was peeked at.
        data, fits = message.data, self._fits
        if message.stream == self.name and data.symbol == self._symbol and (fits is None or fits(data)):
            return message
        return None


class SpotDecoder:
    """Decodes what one connection delivers, which was opened for `subscriptions`."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._subscriptions = {subscription.wire_name: subscription for subscription in subscriptions}
        self._symbols = {subscription.symbol for subscription in self._subscriptions.values()}
        self.stream_decoders = {
            name.encode(): SpotStreamDecoder(subscription)
            for name, subscription in self._subscriptions.items()
        }
        """By the name of their stream, as it stands in a frame."""

    def decode(self, frame: bytes) -> DecodedFrame:
        """Return the message in a text frame. Raises DecodeError."""
        found = self.stream_decoders.get(stream_in(frame))
        return (found and found.first_look(frame)) or self.second_look(frame)

    def second_look(self, frame: bytes) -> DecodedFrame:
        """Return the message of a frame that the first look did not know. Raises DecodeError."""
        try:
            content = orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            raise DecodeError(InvalidReason.BAD_JSON, str(error)) from None
        if not isinstance(content, dict):
            raise DecodeError(InvalidReason.NOT_OBJECT, f"expected an object, found {kind_of(content)}")
        if is_shutdown(content):
            return ServerShutdown()
        if "stream" in content:
            return self._combined(content)
        if "result" in content or "error" in content or ("code" in content and "msg" in content):
            return control_reply(content)
        return self._checked(self._attribute(content), content, ())

    def _combined(self, content: dict[str, Any]) -> DecodedFrame:
        name = content["stream"]
        if not isinstance(name, str):
            raise DecodeError(InvalidReason.WRONG_TYPE, f"stream: expected a string, found {kind_of(name)}")
        if "data" not in content:
            raise DecodeError(InvalidReason.MISSING_FIELD, "data", stream=name)
        payload = content["data"]
        if not isinstance(payload, dict):
            raise DecodeError(
                InvalidReason.WRONG_TYPE, f"data: expected an object, found {kind_of(payload)}", stream=name
            )
        subscription = self._subscriptions.get(name)
        if subscription is None:
            raise self._foreign(name)
        unknown = tuple(sorted(key for key in content if key not in ("stream", "data")))
        return self._checked(subscription, payload, unknown)

    def _foreign(self, name: str) -> DecodeError:
        symbol, _, stream = name.partition("@")
        if stream not in STREAMS:
            return DecodeError(InvalidReason.UNKNOWN_EVENT, f"stream {name!r} is not known", stream=name)
        if symbol.upper() in self._symbols:
            return DecodeError(InvalidReason.UNKNOWN_EVENT, f"stream {name!r} was not asked for", stream=name)
        return DecodeError(InvalidReason.WRONG_SYMBOL, f"stream {name!r} is of another symbol", stream=name)

    def _attribute(self, payload: dict[str, Any]) -> Subscription:
        """Find the subscription of a raw payload, which doesn't name its stream."""
        candidates = [
            subscription for subscription in self._subscriptions.values() if _could_be(subscription, payload)
        ]
        if candidates:
            return candidates[0]
        event = payload.get("e")
        if isinstance(event, str) and event not in EVENT_NAMES:
            raise DecodeError(InvalidReason.UNKNOWN_EVENT, f"event {event!r}")
        symbol = payload.get("s")
        if isinstance(symbol, str) and symbol not in self._symbols:
            raise DecodeError(InvalidReason.WRONG_SYMBOL, f"s: found {symbol!r}")
        raise DecodeError(InvalidReason.MISSING_FIELD, "nothing in it says which stream it belongs to")

    def _checked(
        self, subscription: Subscription, payload: dict[str, Any], unknown: tuple[str, ...]
    ) -> DecodedFrame:
        name = subscription.wire_name
        definition = _definition(subscription)
        event = payload.get("e")
        missing = _missing(definition.payload_type, payload)
        # A stream whose messages have no event name may get one some day; then nothing is missing.
        if (definition.event_names or missing) and isinstance(event, str) and event not in EVENT_NAMES:
            raise DecodeError(InvalidReason.UNKNOWN_EVENT, f"event {event!r}", stream=name)
        if missing:
            raise DecodeError(InvalidReason.MISSING_FIELD, ", ".join(missing), stream=name)
        try:
            data: Payload = msgspec.convert(payload, definition.payload_type)
        except msgspec.ValidationError as error:
            raise DecodeError(InvalidReason.WRONG_TYPE, str(error), stream=name) from None
        if data.symbol != subscription.wire_symbol:
            raise DecodeError(
                InvalidReason.WRONG_SYMBOL,
                f"s: expected {subscription.wire_symbol!r}, found {data.symbol!r}",
                stream=name,
            )
        misfit = _misfit(subscription, data)
        if misfit is not None:
            raise misfit
        message = Frame(stream=name, data=data)
        unknown += _unknown(definition.payload_type, payload)
        return Drifted(message, unknown) if unknown else message


def _definition(subscription: Subscription) -> StreamDefinition:
    return STREAMS[subscription.stream.name]


def _fit_of(subscription: Subscription) -> Callable[[Any], bool] | None:
    """Return what tells whether a payload's fields agree with each other; None where all of them may."""
    match subscription.stream.kind:
        case StreamKind.DEPTH:
            return _is_in_order
        case StreamKind.KLINE:
            symbol, interval = subscription.symbol, subscription.stream.interval
            return lambda kline: kline.candle.symbol == symbol and kline.candle.interval == interval
        case _:
            return None


def _is_in_order(depth: Depth) -> bool:
    return depth.first_update_id <= depth.last_update_id


def _misfit(subscription: Subscription, data: Payload) -> DecodeError | None:
    """Return what is wrong with a payload whose fields are all right, each by itself."""
    name = subscription.wire_name
    match data:
        case Kline(symbol=symbol, candle=Candle(symbol=other)) if other != symbol:
            detail = f"k.s: expected {symbol!r}, found {other!r}"
            return DecodeError(InvalidReason.WRONG_SYMBOL, detail, stream=name)
        case Kline(candle=Candle(interval=interval)) if interval != subscription.stream.interval:
            detail = f"k.i: expected {subscription.stream.interval!r}, found {interval!r}"
            return DecodeError(InvalidReason.WRONG_TYPE, detail, stream=name)
        case Depth(first_update_id=first, last_update_id=last) if first > last:
            detail = f"U: expected {last} (u) at most, found {first}"
            return DecodeError(InvalidReason.WRONG_TYPE, detail, stream=name)
    return None


def _could_be(subscription: Subscription, payload: dict[str, Any]) -> bool:
    definition = _definition(subscription)
    if subscription.wire_symbol is not None and payload.get("s") != subscription.wire_symbol:
        return False
    if definition.event_names:
        candle = payload.get("k")
        interval = candle.get("i") if isinstance(candle, dict) else None
        return payload.get("e") in definition.event_names and interval == subscription.stream.interval
    return "e" not in payload and not _missing(definition.payload_type, payload)


def _missing(struct: type[msgspec.Struct], content: dict[str, Any], prefix: str = "") -> list[str]:
    missing = []
    for field in _fields_of(struct):
        if field.encode_name not in content:
            missing += [prefix + field.encode_name] if field.required else []
        elif field.type is Candle and isinstance(content[field.encode_name], dict):
            missing += _missing(Candle, content[field.encode_name], f"{prefix}{field.encode_name}.")
    return missing


def _unknown(struct: type[msgspec.Struct], content: dict[str, Any], prefix: str = "") -> tuple[str, ...]:
    fields = {field.encode_name: field.type for field in _fields_of(struct)}
    unknown = [prefix + key for key in content if key not in fields]
    if fields.get("k") is Candle:
        unknown += _unknown(Candle, content["k"], f"{prefix}k.")
    return tuple(unknown)
