"""The registry behind the fault board: which faults are on for whom. Pure; times are monotonic seconds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from feedd.errors import FeeddError
from feedd.exchange.faults import FAULT_KINDS, FaultKind, GarbageMode, MessageFault, Refuse


class FaultError(FeeddError):
    """A fault can't be set as it was asked for: the text says what was expected."""


K = TypeVar("K", bound=FaultKind)


@dataclass(eq=False)
class Fault(Generic[K]):
    """A fault that was set, and how many messages, handshakes or connections it has hit so far."""

    id: int
    kind: K
    symbol: str | None
    """None is all symbols."""
    stream: str | None
    """The stream's name without the symbol; None is all streams."""
    until: float
    hit: int = 0
    _passed: int = 0

    def covers(self, symbol: str, stream: str) -> bool:
        """Say whether a message is one of those that the fault is about."""
        return self.symbol in (None, symbol) and self.stream in (None, stream)

    def count_hits(self, hits: int = 1) -> None:
        """Count messages, handshakes or connections that the fault has hit."""
        self.hit += hits

    def hits_next(self) -> bool:
        """Count the next message that the fault covers; return whether it is hit, as each n-th is."""
        if isinstance(self.kind, MessageFault):
            self._passed += 1
            if self.is_spent or self._passed % self.kind.every:
                return False
        self.count_hits()
        return True

    @property
    def is_spent(self) -> bool:
        """Whether it has hit as many messages as it was to hit."""
        return (
            isinstance(self.kind, MessageFault)
            and self.kind.count is not None
            and self.hit >= self.kind.count
        )


AnyFault = Fault[Any]


class StreamFaults:
    """The faults that cover one stream's messages: of each kind the one that was set last."""

    def __init__(self, faults: Mapping[type[FaultKind], AnyFault]) -> None:
        self._faults = faults

    def __bool__(self) -> bool:
        return bool(self._faults)

    def get(self, kind: type[K]) -> Fault[K] | None:
        """Find the fault of a kind; None if there is none."""
        return self._faults.get(kind)

    def hits_next(self, kind: type[FaultKind]) -> bool:
        """Count the stream's next message; return whether a fault of this kind hits it."""
        fault = self._faults.get(kind)
        return fault is not None and fault.hits_next()


NO_FAULTS = StreamFaults({})


class FaultRegistry:
    """The faults that are active. Of two alike the one that was set last counts."""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self._symbols = symbols
        self._last_id = 0
        self._active: dict[int, AnyFault] = {}

    def set(
        self,
        name: str,
        now: float,
        *,
        symbol: str | None = None,
        stream: str | None = None,
        seconds: float | None = None,
        arguments: Mapping[str, object],
    ) -> AnyFault:
        """Set a fault; one that happens at once is returned but is never active.

        Raises:
            FaultError: there is no such fault, symbol or argument, or a value is wrong.
        """
        if name not in FAULT_KINDS:
            raise FaultError(f"fault: expected one of {', '.join(FAULT_KINDS)}; found {name!r}")
        symbol, stream = self._split(symbol, stream)
        kind = _make_kind(FAULT_KINDS[name], arguments)
        _check_duration(kind, symbol, seconds)
        if stream is not None and not kind.has_stream:
            raise FaultError(f"stream: {name} is about whole connections or symbols; found {stream!r}")
        self._last_id += 1
        until = math.inf if seconds is None else now + seconds
        fault: AnyFault = Fault(self._last_id, kind, symbol, stream, until)
        if kind.is_lasting:
            self._active[fault.id] = fault
        return fault

    def clear(self, fault_id: int) -> AnyFault | None:
        """End a fault and return it; None if it isn't active."""
        return self._active.pop(fault_id, None)

    def active(self) -> tuple[AnyFault, ...]:
        """List the active faults, in the order they were set."""
        return tuple(self._active.values())

    def expire(self, now: float) -> list[AnyFault]:
        """End the faults whose time is over, or that have hit as many messages as they were to hit."""
        expired = [fault for fault in self._active.values() if fault.until <= now or fault.is_spent]
        for fault in expired:
            del self._active[fault.id]
        return expired

    @property
    def next_expiry(self) -> float:
        """When the next fault's time is over."""
        return min((fault.until for fault in self._active.values()), default=math.inf)

    def for_stream(self, symbol: str, stream: str) -> StreamFaults:
        """Find the faults that cover one stream's messages."""
        if not self._active:
            return NO_FAULTS
        faults = self._active.values()
        return StreamFaults({type(fault.kind): fault for fault in faults if fault.covers(symbol, stream)})

    def find(self, kind: type[K], symbols: Collection[str] = ()) -> Fault[K] | None:
        """Find the active fault of a kind that is for all symbols, or for one of these."""
        for fault in reversed(self._active.values()):
            if isinstance(fault.kind, kind) and (fault.symbol is None or fault.symbol in symbols):
                return fault
        return None

    def _split(self, symbol: str | None, stream: str | None) -> tuple[str | None, str | None]:
        if stream is not None:
            prefix, _, rest = stream.partition("@")
            if rest and prefix.upper() in self._symbols:
                symbol, stream = symbol or prefix, rest
        if symbol is None:
            return None, stream
        if symbol.upper() not in self._symbols:
            raise FaultError(f"symbol: expected one of {', '.join(self._symbols[:20])}; found {symbol!r}")
        return symbol.upper(), stream


def _check_duration(kind: FaultKind, symbol: str | None, seconds: float | None) -> None:
    if seconds is not None and not kind.is_lasting:
        raise FaultError(f"seconds: {kind.name} happens once, at once; leave it out")
    # While the listening socket is closed, nobody can send the request that would clear the fault.
    is_needed = kind.needs_seconds or (isinstance(kind, Refuse) and symbol is None)
    if is_needed and seconds is None:
        raise FaultError(f"seconds: {kind.name} needs them, as nothing else would end it")
    if seconds is not None and not 0 < seconds < math.inf:
        raise FaultError(f"seconds: expected more than 0; found {seconds}")


def _make_kind(kind: type[FaultKind], arguments: Mapping[str, object]) -> FaultKind:
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in arguments:
        if name not in known:
            expected = ", ".join(known) or "no argument"
            raise FaultError(f"{name}: {kind.name} takes {expected}")
    for name, field in known.items():
        if field.default is dataclasses.MISSING and name not in arguments:
            raise FaultError(f"{name}: {kind.name} needs it")
    hints = get_type_hints(kind)
    values = {name: _value(name, arguments[name], hints[name], known[name].metadata) for name in arguments}
    return kind(**values)


def _value(name: str, value: object, hint: Any, limits: Mapping[str, Any]) -> object:
    types = get_args(hint) or (hint,)
    if value is None and type(None) in types:
        return None
    expected = _expectation(types[0], limits)
    if types[0] is GarbageMode and isinstance(value, str) and value in list(GarbageMode):
        return GarbageMode(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and types[0] is float
    if type(value) is not types[0] and not is_number:
        raise FaultError(f"{name}: expected {expected}; found {value!r}")
    is_low = isinstance(value, int | float) and value < limits.get("minimum", -math.inf)
    is_high = isinstance(value, int | float) and value > limits.get("maximum", math.inf)
    is_odd = isinstance(value, str) and not re.fullmatch(limits.get("pattern", r"[^\0]*"), value)
    if is_low or is_high or is_odd:
        raise FaultError(f"{name}: expected {expected}; found {value!r}")
    return value


def _expectation(type_: Any, limits: Mapping[str, Any]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    text = words.get(type_) or f"one of {', '.join(type_)}"
    if "minimum" in limits:
        text += f" from {limits['minimum']}"
    if "maximum" in limits:
        text += f" to {limits['maximum']}"
    if "pattern" in limits:
        text += f" like {limits['pattern']}"
    return text


def expectation(kind: type[FaultKind], argument: str) -> str:
    """Say what an argument of a fault may be."""
    field = next(field for field in dataclasses.fields(kind) if field.name == argument)
    hint = get_type_hints(kind)[argument]
    return _expectation((get_args(hint) or (hint,))[0], field.metadata)
