"""Applies the active faults to the market's messages on their way out. Pure; times are monotonic seconds.

A fault of one symbol touches no other symbol's messages. Delayed messages keep their order within a stream.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import replace
from itertools import count

import orjson

from feedd.exchange.fault_registry import NO_FAULTS, AnyFault, FaultRegistry, StreamFaults
from feedd.exchange.faults import (
    ClockSkew,
    Delay,
    DropField,
    Duplicate,
    Garbage,
    LatencySpike,
    Mute,
    PayloadFault,
    Reorder,
    Status,
    UnknownEvent,
    UnknownField,
    WrongSymbol,
    WrongType,
)
from feedd.exchange.messages import MarketMessage, TimeUnit, stream_name

_PAYLOAD_FAULTS: tuple[type[PayloadFault], ...] = (DropField, WrongType, UnknownField, WrongSymbol)


class FaultPipeline:
    """Drops, delays, reorders, repeats and rewrites messages between the market and the sockets."""

    def __init__(self, registry: FaultRegistry) -> None:
        self._registry = registry
        self._gaps: Counter[str] = Counter()
        self._swapped: dict[str, tuple[MarketMessage, AnyFault]] = {}
        self._late: list[tuple[float, int, MarketMessage]] = []
        self._last_due: dict[str, float] = {}
        self._order = count()

    @staticmethod
    def is_numbered(kind: str) -> bool:
        """Say whether a stream numbers its messages, so that a client can notice a missing one."""
        return kind in ("trade", "aggTrade", "depth", "depth@100ms")

    def drop_next(self, symbol: str, kind: str, messages: int) -> None:
        """Drop the next messages of a stream."""
        self._gaps[stream_name(symbol, kind)] += messages

    def process(self, message: MarketMessage, now: float) -> list[MarketMessage]:
        """Apply the faults to a message; return what is to be sent right now."""
        faults = self._registry.for_stream(message.symbol, message.kind)
        is_plain = not faults and not self._gaps and not self._swapped and not self._last_due
        if is_plain:
            return [message]
        if self._drop(message, faults):
            return []
        together = _additions(message, faults)
        together.append(_corrupted(_rewritten(message, faults), faults))
        if faults.hits_next(Duplicate):
            together.append(together[-1])
        return self._delay(self._swap(message.stream, together, faults), faults, now)

    def release_due(self, now: float) -> list[MarketMessage]:
        """Return the messages that were held until now; send them before any that is processed now."""
        messages = []
        while self._late and self._late[0][0] <= now:
            messages.append(heapq.heappop(self._late)[2])
        self._last_due = {stream: due for stream, due in self._last_due.items() if due > now}
        for stream, (message, fault) in list(self._swapped.items()):
            if fault.until <= now:
                del self._swapped[stream]
                messages += self._delay([message], NO_FAULTS, now)
        return messages

    @property
    def next_due(self) -> float:
        """When the next message that is held must be sent; infinity if none is held."""
        return self._late[0][0] if self._late else math.inf

    def release_held_by(self, fault: AnyFault, now: float) -> None:
        """Make the messages that a cleared fault holds due at once."""
        for stream, (message, holding) in list(self._swapped.items()):
            if holding is fault:
                del self._swapped[stream]
                self._hold(message, max(now, self._last_due.get(stream, now)))
        if isinstance(fault.kind, Delay | LatencySpike):
            self._late = [
                (now if fault.covers(message.symbol, message.kind) else due, number, message)
                for due, number, message in self._late
            ]
            heapq.heapify(self._late)
            self._last_due.clear()
            for due, _, message in self._late:
                self._last_due[message.stream] = max(due, self._last_due.get(message.stream, due))

    def _drop(self, message: MarketMessage, faults: StreamFaults) -> bool:
        if mute := faults.get(Mute):
            return mute.hits_next()
        status = faults.get(Status)
        if status and status.kind.is_silencing(message.kind):
            return status.hits_next()
        if self._gaps[message.stream]:
            self._gaps[message.stream] -= 1
            return True
        del self._gaps[message.stream]
        return False

    def _swap(self, stream: str, messages: list[MarketMessage], faults: StreamFaults) -> list[MarketMessage]:
        if stream in self._swapped:
            held, _ = self._swapped.pop(stream)
            return [*messages, held]
        reorder = faults.get(Reorder)
        if reorder and reorder.hits_next():
            self._swapped[stream] = (messages.pop(), reorder)
        return messages

    def _delay(self, messages: list[MarketMessage], faults: StreamFaults, now: float) -> list[MarketMessage]:
        on_time = []
        for message in messages:
            due = max(_due(faults, now), self._last_due.get(message.stream, now))
            if due <= now:
                on_time.append(message)
            else:
                self._hold(message, due)
        return on_time

    def _hold(self, message: MarketMessage, due: float) -> None:
        self._last_due[message.stream] = due
        heapq.heappush(self._late, (due, next(self._order), message))


def _due(faults: StreamFaults, now: float) -> float:
    if spike := faults.get(LatencySpike):
        spike.hits_next()
        return spike.until
    delay = faults.get(Delay)
    if delay:
        delay.hits_next()
        return now + delay.kind.ms / 1000
    return now


def _additions(message: MarketMessage, faults: StreamFaults) -> list[MarketMessage]:
    additions = []
    if faults.hits_next(UnknownEvent):
        payloads = {unit: _unknown_event(payload) for unit, payload in message.payloads.items()}
        label = stream_name(message.symbol, "somethingNew")
        additions.append(replace(message, payloads=payloads, label=label))
    garbage = faults.get(Garbage)
    if garbage and garbage.kind.add and garbage.hits_next():
        additions.append(replace(message, corrupt=garbage.kind.corrupt))
    return additions


def _corrupted(message: MarketMessage, faults: StreamFaults) -> MarketMessage:
    garbage = faults.get(Garbage)
    if garbage and not garbage.kind.add and garbage.hits_next():
        return replace(message, corrupt=garbage.kind.corrupt)
    return message


def _rewritten(message: MarketMessage, faults: StreamFaults) -> MarketMessage:
    skew = faults.get(ClockSkew)
    rewriting = [fault for kind in _PAYLOAD_FAULTS if (fault := faults.get(kind))]
    if not skew and not rewriting:
        return message
    documents = {unit: orjson.loads(payload) for unit, payload in message.payloads.items()}
    document = next(iter(documents.values()))
    for fault in rewriting:
        if fault.kind.applies(document) and fault.hits_next():
            for each in documents.values():
                fault.kind.rewrite(each)
    if skew and skew.kind.events and skew.hits_next():
        for unit, each in documents.items():
            skew.kind.rewrite(each, TimeUnit.MILLISECOND.value // unit.value)
    return replace(message, payloads={unit: orjson.dumps(each) for unit, each in documents.items()})


def _unknown_event(payload: bytes) -> bytes:
    known = orjson.loads(payload)
    shared = {field: known[field] for field in ("E", "s") if field in known}
    return orjson.dumps({"e": "somethingNew", **shared})
