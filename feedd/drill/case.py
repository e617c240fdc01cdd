"""The parts of a drill's case: its steps, the expected halt, and the proof that the steps took effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from feedd.drill.durations import DurationLimits, Span
from feedd.drill.metrics_snapshot import Labels, MetricsSnapshot
from feedd.model import Reason

EACH: Final = "each"
"""Stands for each of the streams that the daemon has of a symbol: one fault for each."""

Argument = int | float | str | bool | Span


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """A fault of the exchange. Without `seconds` it is cleared once its effect was observed."""

    name: str
    stream: str | None = None
    seconds: Span | None = None
    arguments: Mapping[str, Argument] = field(default_factory=dict)

    def body(self, limits: DurationLimits) -> dict[str, object]:
        """Return the fault board's request, without symbol, stream and time."""
        return {"fault": self.name} | {
            name: _value(name, argument, limits) for name, argument in self.arguments.items()
        }

    def __str__(self) -> str:
        stream = "" if self.stream is None else f" on {self.stream}"
        arguments = ", ".join(f"{name}={_text(value)}" for name, value in self.arguments.items())
        return f"{self.name}{stream}" + (f" ({arguments})" if arguments else "")


@dataclass(frozen=True, slots=True)
class EnvFileEdit:
    """An edit of the daemon's env-file, which is reverted afterwards."""

    edit: Callable[[bytes], bytes | None]
    """Returns the new content; None removes the file."""
    text: str
    """What the edit does, in words."""

    def __str__(self) -> str:
        return self.text


class HttpLoad(Enum):
    """Loads on the daemon's HTTP side; the daemon's answers to each are checked."""

    SCRAPES = "many scrapes of /metrics at once"
    GATE_REQUESTS = "hundreds of questions to /gate"
    STALLED_CONSUMER = "a consumer of /gate/events that never reads"
    ABORTING_CONSUMERS = "consumers of /gate/events that come and go without a word"
    BAD_REQUESTS = "requests that are no HTTP, or not allowed"

    def __str__(self) -> str:
        return self.value


Step = InjectedFault | EnvFileEdit | HttpLoad


class Scope(Enum):
    """Which symbols a case is about, and what may run at the same time."""

    SYMBOL = "one symbol, while others have cases of their own"
    VENUE = "one symbol; it needs the venue's REST side for itself"
    ALONE = "one symbol, while nothing else runs"
    ALL = "every symbol at once"
    OTHERS = "every symbol but the one that is judged"


@dataclass(frozen=True, slots=True)
class Rises:
    """Proof: a counter has risen by at least so much."""

    series: str
    by: float
    labels: Labels

    def holds(self, before: MetricsSnapshot, now: MetricsSnapshot, hits: int, limits: DurationLimits) -> bool:
        """Say whether the proof is there, `before` being the metrics from before the case."""
        return now.total(self.series, self.labels) - before.total(self.series, self.labels) >= self.by

    def __str__(self) -> str:
        return f"{self.series}{_braces(self.labels)} rises by {self.by:g}"


@dataclass(frozen=True, slots=True)
class Shows:
    """Proof: a gauge has a value."""

    series: str
    value: float
    labels: Labels

    def holds(self, before: MetricsSnapshot, now: MetricsSnapshot, hits: int, limits: DurationLimits) -> bool:
        """Say whether the proof is there, `before` being the metrics from before the case."""
        return now.total(self.series, self.labels) == self.value

    def __str__(self) -> str:
        return f"{self.series}{_braces(self.labels)} is {self.value:g}"


@dataclass(frozen=True, slots=True)
class Late:
    """Proof: a message was later than this, to the precision of the latency histogram's buckets."""

    than: Span

    def holds(self, before: MetricsSnapshot, now: MetricsSnapshot, hits: int, limits: DurationLimits) -> bool:
        """Say whether the proof is there, `before` being the metrics from before the case."""
        seconds = self.than.of(limits)
        series = "feedd_exchange_latency_seconds"
        return now.above(series, seconds) > before.above(series, seconds)

    def __str__(self) -> str:
        return "feedd_exchange_latency_seconds counts a late message"


@dataclass(frozen=True, slots=True)
class Hits:
    """Proof: the exchange's fault has hit so many messages, handshakes or requests."""

    count: int

    def holds(self, before: MetricsSnapshot, now: MetricsSnapshot, hits: int, limits: DurationLimits) -> bool:
        """Say whether the proof is there, `before` being the metrics from before the case."""
        return hits >= self.count

    def __str__(self) -> str:
        return f"the fault hits {self.count}"


Proof = Rises | Shows | Late | Hits


HALT: Final = Span(seconds=1)
HOLD: Final = Span(seconds=0.1, resume=1)
PROVEN: Final = Span(seconds=2)
RESUME: Final = Span(seconds=1, resume=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault or several at once, and how a daemon must react."""

    name: str
    does: tuple[Step, ...]
    expected: Reason | None = None
    """The reason for which the symbol must halt; None where nothing may halt it."""
    also: frozenset[Reason] = frozenset()
    """Other reasons that may become active."""
    halt: Span = HALT
    """How soon it must halt, counted from the first step."""
    hold: Span = HOLD
    """How long the fault lasts after the halt; where nothing halts, how long it lasts."""
    proof: tuple[Proof, ...] = ()
    """What shows that the fault took effect."""
    proven: Span = PROVEN
    """How soon that must show, besides the pauses that the daemon makes between attempts to connect."""
    resume: Span = RESUME
    """How soon the gate must open after its end, besides those pauses."""
    scope: Scope = Scope.SYMBOL
    is_slow: bool = False
    """The daemon may take a minute or more to reopen the gate, so that this isn't awaited."""

    @property
    def is_harm(self) -> bool:
        """Whether it must halt the symbol."""
        return self.expected is not None

    @property
    def streams(self) -> frozenset[str]:
        """The streams that a daemon must have for the case to apply."""
        of_faults = {step.stream for step in self.does if isinstance(step, InjectedFault)}
        of_proof = {dict(proof.labels).get("stream") for proof in self.proof if isinstance(proof, Rises)}
        return frozenset(stream for stream in of_faults | of_proof if stream not in (None, EACH))

    @property
    def needs_env_file(self) -> bool:
        """Whether it edits the env-file."""
        return any(isinstance(step, EnvFileEdit) for step in self.does)

    def __str__(self) -> str:
        return " + ".join(map(str, self.does))


def fault(
    name: str, *, stream: str | None = None, seconds: Span | None = None, **arguments: Argument
) -> InjectedFault:
    """Make a fault from keywords."""
    return InjectedFault(name, stream, seconds, arguments)


def rises(series: str, by: float = 1, **labels: str) -> Rises:
    """Make a proof by counter from keywords."""
    return Rises(series, by, frozenset(labels.items()))


def shows(series: str, value: float, **labels: str) -> Shows:
    """Make a proof by gauge from keywords."""
    return Shows(series, value, frozenset(labels.items()))


def _value(name: str, argument: Argument, limits: DurationLimits) -> object:
    if not isinstance(argument, Span):
        return argument
    seconds = argument.of(limits)
    return round(seconds * 1000) if name == "ms" else seconds


def _text(argument: Argument) -> str:
    if not isinstance(argument, Span):
        return str(argument)
    names = ("seconds", "stale", "latency", "resume", "status", "window")
    parts = [(getattr(argument, name), name) for name in names]
    return " + ".join(f"{value:g} x {name}" for value, name in parts if value)


def _braces(labels: Labels) -> str:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels))
    return f"{{{inside}}}" if inside else ""
