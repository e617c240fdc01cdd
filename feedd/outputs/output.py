"""What an output is, and the fan-out of everything to all of them. Which there are stands in `table`.

An output's bug costs no symbol its gate: whatever an output raises is logged, counted, and ends there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Final, Protocol

from aiohttp import web

from feedd.config.settings import Settings
from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.logs import fields
from feedd.model import Event
from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.samples import Metric, Read, labelled

log = logging.getLogger(__name__)

RESTART_SECONDS: Final = 2.0
"""How long an output whose work has failed rests before it is begun anew."""
LOG_SECONDS: Final = 60.0
"""A bug met with every message is one traceback a minute; the metric counts them all."""

DeliverFrame = Callable[[StreamState, bytes], None]
"""Takes a message as the state of its stream, and the frame as it came."""
Serve = Callable[[web.Request, bool], Awaitable[web.StreamResponse]]
"""Answers a request for a WebSocket; the flag says whether who asks allows static data."""


class Phase(Enum):
    """Where the daemon is in its life."""

    READY = auto()
    """All that was to be begun has been; also said at the end of every reload that was asked for."""
    RELOADING = auto()
    STOPPING = auto()
    """The feeds still run. What ends from now on was asked for."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that was handed on."""

    stream_state: StreamState
    event: Event | None
    """As it was decoded; None where only the frame was passed on, as of what was missed and fetched later."""
    frame: bytes
    """As it came."""
    read_at: float
    """Monotonic seconds."""
    is_backfill: bool = False


class FastPath(Protocol):
    """The shortest way of a message out, called straight from the symbol's pipeline.

    It must not block, and has to contain its bugs itself: nobody stands in between who could.
    """

    def deliver(self, stream_state: StreamState, frame: bytes) -> None:
        """Take a message."""

    def deliver_backfill(self, stream_state: StreamState, frame: bytes) -> None:
        """Take a message that was missed and fetched later."""

    def is_heard(self, symbol: str) -> bool:
        """Say whether anybody listens to the symbol just now."""


class Output:
    """One way out. What it doesn't care for it leaves as it is here, where nothing is done."""

    name: ClassVar[str]
    """The label of its metrics."""
    fast_path: FastPath | None = None

    def deliver(self, message: Delivered) -> None:
        """Take a message, without blocking. An output that leaves this as it is costs no message anything."""

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Take note of one change of one gate."""

    def phase_changed(self, phase: Phase) -> None:
        """Take note of where the daemon is in its life."""

    def apply_settings(self, old: Settings, new: Settings) -> None:
        """Follow the settings. The daemon's state has them already, and no message of theirs has come yet."""

    async def run(self) -> None:
        """Work until cancelled, beside these calls. Begun anew after a pause if it fails."""

    async def stop(self) -> None:
        """Send what is owed, within a bound: the feeds have ended."""

    def routes(self) -> Mapping[str, Serve]:
        """Return what it answers at the HTTP side, by path."""
        return {}

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics that it counts itself."""
        return ()

    def status(self) -> Mapping[str, object]:
        """Return what a person asks of it, as `/status` shows it; nothing where there is nothing to say."""
        return {}


class OutputFailures:
    """The bugs of outputs that were contained: counted, and logged once in a while."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.counts: dict[str, int] = {}
        self._monotonic = monotonic
        self._logged_at: dict[tuple[str, str], float] = {}

    def watch(self, output: str) -> None:
        """Count for an output, from zero."""
        self.counts.setdefault(output, 0)

    def count(self, output: str) -> None:
        """Count a bug that was logged where it was met."""
        self.counts[output] = self.counts.get(output, 0) + 1

    def contain(self, output: str, doing: str) -> None:
        """Count the exception that is being handled, and log it where none of its kind was lately."""
        self.count(output)
        now = self._monotonic()
        logged_at = self._logged_at.get((output, doing))
        if logged_at is None or now - logged_at >= LOG_SECONDS:
            self._logged_at[output, doing] = now
            log.exception(
                "a bug was contained; no symbol is halted for an output",
                extra=fields(output=output, doing=doing, so_far=self.counts[output]),
            )

    def metric(self) -> Metric:
        """Return how many there were, by output."""
        return labelled(
            catalogue.OUTPUT_FAILURES,
            [(f'output="{output}"', self._count_of(output)) for output in self.counts],
        )

    def _count_of(self, output: str) -> Read:
        return lambda _: self.counts[output]


class Outputs:
    """All outputs of one daemon, called together."""

    def __init__(
        self,
        outputs: Iterable[Output],
        failures: OutputFailures,
        *,
        tap: DeliverFrame | None = None,
        backfill_tap: DeliverFrame | None = None,
        restart_after: float = RESTART_SECONDS,
    ) -> None:
        """Prepare the fan-out.

        Args:
            failures: where the bugs of outputs are counted.
            tap: called for every message as part of the pipeline: what it raises halts the symbol.
            backfill_tap: the same for messages that were missed and fetched later.
            restart_after: how many seconds an output rests whose work has failed.
        """
        self._outputs = tuple(outputs)
        self._failures = failures
        self._tap = tap
        self._backfill_tap = backfill_tap
        self._restart_after = restart_after
        self._fast_paths = [output.fast_path for output in self._outputs if output.fast_path is not None]
        self._takers = [output for output in self._outputs if type(output).deliver is not Output.deliver]
        for output in self._outputs:
            failures.watch(output.name)
        self.deliver, self.deliver_backfill = self._shortest_ways()
        self.deliver_event = self.deliver_to_all if self._takers else None
        """To be called in place of `deliver`, with the event and the read time; None if nobody wants them."""

    def _shortest_ways(self) -> tuple[DeliverFrame, DeliverFrame]:
        is_alone = len(self._fast_paths) == 1 and not self._takers
        return (
            self._fast_paths[0].deliver if is_alone and self._tap is None else self.deliver_to_all,
            self._fast_paths[0].deliver_backfill
            if is_alone and self._backfill_tap is None
            else self.deliver_backfill_to_all,
        )

    def __getitem__(self, name: str) -> Output:
        """Return an output by its name. Raises KeyError where there is none."""
        for output in self._outputs:
            if output.name == name:
                return output
        raise KeyError(name)

    def deliver_to_all(
        self,
        stream_state: StreamState,
        frame: bytes,
        event: Event | None = None,
        read_at: float | None = None,
    ) -> None:
        """Hand a message on to every output that takes messages."""
        for path in self._fast_paths:
            path.deliver(stream_state, frame)
        if self._takers:
            if read_at is None:
                read_at = _read_at(stream_state)
            self._hand_over(Delivered(stream_state, event, frame, read_at))
        if self._tap is not None:
            self._tap(stream_state, frame)

    def deliver_backfill_to_all(self, stream_state: StreamState, frame: bytes) -> None:
        """Hand a message that was missed and fetched later on to every output that takes messages."""
        for path in self._fast_paths:
            path.deliver_backfill(stream_state, frame)
        if self._takers:
            self._hand_over(Delivered(stream_state, None, frame, time.monotonic(), is_backfill=True))
        if self._backfill_tap is not None:
            self._backfill_tap(stream_state, frame)

    def is_heard(self, symbol: str) -> bool:
        """Say whether anybody listens to the symbol just now."""
        return any(path.is_heard(symbol) for path in self._fast_paths)

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Hand one change of one gate to every output."""
        for output in self._outputs:
            try:
                output.gate_changed(symbol_state, change)
            except Exception:
                self._failures.contain(output.name, "gate_changed")

    def phase_changed(self, phase: Phase) -> None:
        """Hand the daemon's phase to every output."""
        for output in self._outputs:
            try:
                output.phase_changed(phase)
            except Exception:
                self._failures.contain(output.name, "phase_changed")

    def apply_settings(self, old: Settings, new: Settings) -> None:
        """Have every output follow the settings, before there is a message of theirs."""
        for output in self._outputs:
            try:
                output.apply_settings(old, new)
            except Exception:
                self._failures.contain(output.name, "apply_settings")

    def work(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what the outputs do beside these calls, each with a name."""
        return [(output.name, self._keep_running(output)) for output in self._outputs]

    async def stop(self) -> None:
        """Have every output send what it owes."""
        for output in self._outputs:
            try:
                await output.stop()
            except Exception:
                self._failures.contain(output.name, "stop")

    def routes(self) -> dict[str, Serve]:
        """Return what the outputs answer at the HTTP side, by path."""
        return {path: serve for output in self._outputs for path, serve in output.routes().items()}

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics of all outputs, and how often each has failed."""
        for output in self._outputs:
            yield from output.metrics()
        yield self._failures.metric()

    def status(self) -> dict[str, Mapping[str, object]]:
        """Return what the outputs say of themselves, by name; those that say nothing are left out."""
        said = {output.name: output.status() for output in self._outputs}
        return {name: status for name, status in said.items() if status}

    def _hand_over(self, message: Delivered) -> None:
        for output in self._takers:
            try:
                output.deliver(message)
            except Exception:
                self._failures.contain(output.name, "deliver")

    async def _keep_running(self, output: Output) -> None:
        while True:
            try:
                await output.run()
            except Exception:
                self._failures.contain(output.name, "run")
                await asyncio.sleep(self._restart_after)
            else:
                return


def _read_at(stream_state: StreamState) -> float:
    return time.monotonic() if stream_state.last_at is None else stream_state.last_at
