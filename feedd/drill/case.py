"""What a case of the drill is made of: what is done, what must come of it, and what proves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from feedd.drill.durations import Limits, Span
from feedd.drill.metrics_snapshot import Labels, Numbers
from feedd.model import Reason

EACH: Final = "each"
"""Stands for the streams that the daemon has of a symbol: a fault of each one."""

Argument = int | float | str | bool | Span


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of the exchange's board. Without `seconds` it is taken back once it has shown what it does."""

    name: str
    stream: str | None = None
    seconds: Span | None = None
    arguments: Mapping[str, Argument] = field(default_factory=dict)

    def body(self, limits: Limits) -> dict[str, object]:
        """Return what the board is told, but for the symbol, the stream and the time."""
        return {"fault": self.name} | {
            name: _value(name, argument, limits) for name, argument in self.arguments.items()
        }

    def __str__(self) -> str:
        stream = "" if self.stream is None else f" on {self.stream}"
        arguments = ", ".join(f"{name}={_text(value)}" for name, value in self.arguments.items())
        return f"{self.name}{stream}" + (f" ({arguments})" if arguments else "")


@dataclass(frozen=True, slots=True)
class EnvFile:
    """An edit of the daemon's env-file, which is taken back afterwards."""

    edit: Callable[[bytes], bytes | None]
    """What becomes of the content; None removes the file."""
    text: str

    def __str__(self) -> str:
        return self.text


class Nuisance(Enum):
    """What people and programs do to the daemon's HTTP side; each is checked to have been answered."""

    SCRAPES = "many scrapes of /metrics at once"
    QUESTIONS = "hundreds of questions to /gate"
    DEAF_CONSUMER = "a consumer of /gate/events that never reads"
    FICKLE_CONSUMERS = "consumers of /gate/events that come and go without a word"
    BAD_REQUESTS = "requests that are no HTTP, or not allowed"

    def __str__(self) -> str:
        return self.value


Step = Fault | EnvFile | Nuisance


class Scope(Enum):
    """Whom a case is about, and what may run beside it."""

    SYMBOL = "one symbol, while others have cases of their own"
    VENUE = "one symbol; it needs the venue's REST side for itself"
    ALONE = "one symbol, while nothing else runs"
    ALL = "every symbol at once"
    OTHERS = "every symbol but the one that is judged"


@dataclass(frozen=True, slots=True)
class Rises:
    """A counter has risen."""

    series: str
    by: float
    labels: Labels

    def holds(self, before: Numbers, now: Numbers, hits: int, limits: Limits) -> bool:
        return now.total(self.series, self.labels) - before.total(self.series, self.labels) >= self.by

    def __str__(self) -> str:
        return f"{self.series}{_braces(self.labels)} rises by {self.by:g}"


@dataclass(frozen=True, slots=True)
class Shows:
    """A gauge shows a value."""

    series: str
    value: float
    labels: Labels

    def holds(self, before: Numbers, now: Numbers, hits: int, limits: Limits) -> bool:
        return now.total(self.series, self.labels) == self.value

    def __str__(self) -> str:
        return f"{self.series}{_braces(self.labels)} is {self.value:g}"


@dataclass(frozen=True, slots=True)
class Late:
    """Some message was later than so long, as well as the buckets of latency can tell."""

    than: Span

    def holds(self, before: Numbers, now: Numbers, hits: int, limits: Limits) -> bool:
        seconds = self.than.of(limits)
        series = "feedd_exchange_latency_seconds"
        return now.above(series, seconds) > before.above(series, seconds)

    def __str__(self) -> str:
        return "feedd_exchange_latency_seconds counts a late message"


@dataclass(frozen=True, slots=True)
class Hits:
    """The exchange's fault has hit so many messages, handshakes or questions."""

    count: int

    def holds(self, before: Numbers, now: Numbers, hits: int, limits: Limits) -> bool:
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
    """One fault, or several at once, and what a daemon has to make of it."""

    name: str
    does: tuple[Step, ...]
    expected: Reason | None = None
    """The reason that has to halt the symbol; None where nothing may."""
    also: frozenset[Reason] = frozenset()
    """Reasons that may become active besides."""
    halt: Span = HALT
    """How soon it must halt, counted from the first step."""
    hold: Span = HOLD
    """How long it lasts once it has halted; where nothing halts, how long it lasts."""
    proof: tuple[Proof, ...] = ()
    """What shows that it arrived at all."""
    proven: Span = PROVEN
    """How soon that must show, not counting the pauses that the daemon makes between attempts to connect."""
    resume: Span = RESUME
    """How soon the gate must open when it is over, again without those pauses."""
    scope: Scope = Scope.SYMBOL
    is_slow: bool = False
    """The daemon may take a minute and more to come back, so that its coming back isn't awaited."""

    @property
    def is_harm(self) -> bool:
        return self.expected is not None

    @property
    def streams(self) -> frozenset[str]:
        """The streams that a daemon must have for the case to mean anything."""
        of_faults = {step.stream for step in self.does if isinstance(step, Fault)}
        of_proof = {dict(proof.labels).get("stream") for proof in self.proof if isinstance(proof, Rises)}
        return frozenset(stream for stream in of_faults | of_proof if stream not in (None, EACH))

    @property
    def needs_env_file(self) -> bool:
        return any(isinstance(step, EnvFile) for step in self.does)

    def __str__(self) -> str:
        return " + ".join(map(str, self.does))


def fault(
    name: str, *, stream: str | None = None, seconds: Span | None = None, **arguments: Argument
) -> Fault:
    """Write a fault as the table does."""
    return Fault(name, stream, seconds, arguments)


def rises(series: str, by: float = 1, **labels: str) -> Rises:
    """Write a proof by counter as the table does."""
    return Rises(series, by, frozenset(labels.items()))


def shows(series: str, value: float, **labels: str) -> Shows:
    """Write a proof by gauge as the table does."""
    return Shows(series, value, frozenset(labels.items()))


def _value(name: str, argument: Argument, limits: Limits) -> object:
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
