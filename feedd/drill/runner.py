"""Runs the cases: most on one symbol each, several at the same time; those about all symbols run alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import aiohttp

from feedd.drill.case import EACH, Case, EnvFileEdit, Hits, InjectedFault, Proof, Scope, Step
from feedd.drill.durations import DurationLimits
from feedd.drill.fault_board_client import BoardError, FaultBoardClient, PostedFault
from feedd.drill.gate_change import ObservedChange
from feedd.drill.http_load import AnswerError, apply_load
from feedd.drill.judgement import Observation, Outcome, judge, resume_deadline
from feedd.drill.metrics_snapshot import MetricsSnapshot
from feedd.drill.observer import Observer
from feedd.drill.timing import DEFAULT_TIMING, DrillTiming
from feedd.model import Reason

WORKERS_MAX: Final = 16
"""At most so many symbols have a case at the same time."""
TRIES: Final = 3
"""How often a case is run at most, if the machine stalls."""
STALL_PART: Final = 0.25
"""A stall of this part of the latency limit may be the cause of a deviation."""
STRAYS_MAX: Final = 3
"""So many unexpected changes are reported at most."""


@dataclass(frozen=True, slots=True)
class DrillTarget:
    """A daemon that can be drilled."""

    url: str
    limits: Mapping[str, DurationLimits]
    """Of each symbol that it has, in its order."""
    streams: tuple[str, ...]
    env_file: Path | None
    """Its env-file, if that may be edited."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that the daemon has."""
        return tuple(self.limits)

    @property
    def drilled_symbols(self) -> tuple[str, ...]:
        """The symbols that cases run on. Of several, one is left out: its gate must never change."""
        return (self.symbols[:-1] if len(self.symbols) > 3 else self.symbols)[:WORKERS_MAX]

    def __str__(self) -> str:
        return f"{len(self.drilled_symbols)} of {len(self.symbols)} symbols of {self.url}"

    def lacks(self, case: Case) -> str | None:
        """Say what a case needs that the daemon hasn't; None if it lacks nothing."""
        if missing := sorted(case.streams - set(self.streams)):
            return f"the daemon has no {', '.join(missing)}"
        if case.needs_env_file and self.env_file is None:
            return "it edits the env-file"
        if case.scope is Scope.OTHERS and len(self.symbols) == 1:
            return "there is only one symbol"
        return None


@dataclass(slots=True)
class _CaseRun:
    """A case that is running, and what was observed of it so far."""

    case: Case
    judged: tuple[str, ...]
    exempt: frozenset[str]
    """Symbols that have the fault on purpose, and are not judged."""
    counted: str | None
    """The symbol whose metrics prove the case; None where those of all are added up."""
    before: MetricsSnapshot
    began: float = 0.0
    over: float | None = None
    posted: list[PostedFault] = field(default_factory=list)
    env_file_before: bytes | None = None
    changes: list[ObservedChange] = field(default_factory=list)
    unproven: tuple[str, ...] = ()
    troubles: list[str] = field(default_factory=list)
    strays: list[ObservedChange] = field(default_factory=list)
    """Changes of symbols that no case was about."""

    @property
    def lasts(self) -> bool:
        """Whether a step must be reverted: a fault to be cleared, or an edit of the env-file."""
        return self.env_file_before is not None or any(posted.is_lasting for posted in self.posted)

    def begin(self) -> None:
        """Note that the first step is about to be done."""
        self.began = time.monotonic()

    def note_edit(self, before: bytes) -> None:
        """Note that the env-file was edited, and what it was before."""
        self.env_file_before = before

    def end(self, over: float) -> None:
        """Note when what lasts has ended."""
        self.over = over

    def note_unproven(self, proofs: Iterable[Proof]) -> None:
        """Note the proofs that didn't show in time."""
        self.unproven = tuple(map(str, proofs))


class CaseRunner:
    """Runs cases on one daemon, and judges them."""

    def __init__(
        self,
        target: DrillTarget,
        observer: Observer,
        board: FaultBoardClient,
        http: aiohttp.ClientSession,
        report: Callable[[Outcome], None],
        timing: DrillTiming = DEFAULT_TIMING,
    ) -> None:
        self.target = target
        self._observer = observer
        self._board = board
        self._http = http
        self._report = report
        self._timing = timing
        self._running: list[_CaseRun] = []
        self._retired: set[str] = set()
        """Symbols whose gates may still change because of a case that has ended."""
        self._ready_seconds = timing.ready
        self._changed_at: dict[str, float] = {}
        self._strays: list[ObservedChange] = []
        """Changes of gates while no case ran."""

    def note_change(self, change: ObservedChange) -> None:
        """Assign a change of a gate to the case of its symbol; without one it counts against all that run."""
        # A change belongs to the case that is judged by its symbol. Symbols that have a fault on purpose are
        # exempt, and so are those of a case that has ended until their gate has opened, as its effects may
        # come late. Any other change has no known cause: it counts against every case that runs at the time.
        self._changed_at[change.symbol] = change.at
        if change.symbol in self._retired:
            if not change.halted:
                self._retired.discard(change.symbol)
            return
        for run in self._running:
            if change.symbol in run.judged:
                run.changes.append(change)
                return
        if any(change.symbol in run.exempt for run in self._running):
            return
        for strays in [run.strays for run in self._running] or [self._strays]:
            strays.append(change)

    async def run(self, cases: Sequence[Case]) -> None:
        """Run these cases, reporting each outcome as soon as it is known."""
        shared = spread([case for case in cases if case.scope is Scope.SYMBOL and not case.is_slow])
        of_venue = [case for case in cases if case.scope is Scope.VENUE]
        slow = [case for case in cases if case.is_slow]
        await self._run_shared(shared, of_venue)
        for case in cases:
            if case.scope in (Scope.ALONE, Scope.ALL, Scope.OTHERS):
                await self.run_case(case, self._calmest(self.target.drilled_symbols))
        await self._run_shared(slow)

    def _calmest(self, symbols: Sequence[str]) -> str:
        """Choose the symbol whose gate hasn't changed for longest: it has the shortest backoff."""
        return min(symbols, key=lambda name: self._changed_at.get(name, 0.0))

    def strays(self) -> tuple[str, ...]:
        """Say which gates changed while no case ran."""
        return self._describe(self._strays)

    def _describe(self, strays: Sequence[ObservedChange]) -> tuple[str, ...]:
        """Describe the first changes that no stall of this machine can explain."""
        described = [
            f"{change.symbol} changed to {', '.join(change.reasons) or 'open'}, and nothing was done to it"
            for change in strays
            if not self._was_stalled(change.symbol, change.at, change.at)
        ]
        return tuple(described[:STRAYS_MAX])

    def _was_stalled(self, symbol: str, began: float, ended: float) -> bool:
        """Say whether this machine stalled for too long from `began` to `ended`, or shortly before."""
        limits = self.target.limits[symbol]
        since = began - self._timing.echo - limits.resume
        return self._observer.longest_stall(since, ended + self._timing.echo) > STALL_PART * limits.latency

    async def wait_all_open(self) -> bool:
        """Wait until every gate is open again."""
        return await self._wait_ready(self.target.symbols)

    async def _run_shared(self, cases: Sequence[Case], of_venue: Sequence[Case] = ()) -> None:
        """Run cases on all symbols at the same time: a symbol's worker takes the next case when it is free.

        Cases that need the exchange's REST side for themselves run one after the other, on the first symbol.
        """
        waiting = deque(cases)
        async with asyncio.TaskGroup() as tasks:
            for position, symbol in enumerate(self.target.drilled_symbols):
                own = deque(of_venue) if position == 0 else deque()
                tasks.create_task(self._run_worker(symbol, own, waiting))

    async def _run_worker(self, symbol: str, *queues: deque[Case]) -> None:
        for queue in queues:
            while queue:
                await self.run_case(queue.popleft(), symbol)

    async def run_case(self, case: Case, symbol: str) -> None:
        """Run one case on a symbol as soon as it is at rest, and report the outcome.

        On a machine that stalls, data is late and the daemon slow: a deviation then is void, and the case is
        run again.
        """
        outcome, is_void = await self._try_case(case, symbol)
        tries = 1
        while is_void and tries < TRIES:
            outcome, is_void = await self._try_case(case, symbol)
            tries += 1
        self._report(replace(outcome, tries=tries))

    async def _try_case(self, case: Case, symbol: str) -> tuple[Outcome, bool]:
        """Run one case; return its outcome, and whether it is void because the machine stalled."""
        judged, exempt = self._concerned(case, symbol)
        if not await self._wait_at_rest((*judged, *exempt), judged):
            halted = [name for name in judged if not self._observer.is_open(name)]
            problem = f"not begun: {', '.join(halted or exempt)} did not come to rest"
            return Outcome(case, symbol, (), None, None, (problem,)), False
        counted = None if case.scope is Scope.ALL else symbol
        run = _CaseRun(case, judged, exempt, counted, self._observer.snapshot(counted))
        with self._tracking(run):
            await self._perform(run, symbol)
        outcome = self._outcome(run)
        return outcome, not outcome.is_right and await self._was_disturbed(run)

    async def _was_disturbed(self, run: _CaseRun) -> bool:
        """Say whether this machine, or the daemon's event loop, has stalled during a case."""
        await self._observer.refresh()
        if any(self._was_stalled(name, run.began, time.monotonic()) for name in run.judged):
            return True
        allowed = STALL_PART * min(self.target.limits[name].latency for name in run.judged)
        series = "feedd_event_loop_lag_seconds"
        stalls = self._observer.snapshot(run.counted).above(series, allowed)
        return stalls > run.before.above(series, allowed)

    def _concerned(self, case: Case, symbol: str) -> tuple[tuple[str, ...], frozenset[str]]:
        symbols = [name for name in self.target.symbols if name not in self._retired]
        if case.scope is Scope.ALL:
            return tuple(symbols), frozenset()
        return (symbol,), frozenset(symbols) - {symbol} if case.scope is Scope.OTHERS else frozenset()

    async def _wait_ready(self, symbols: Sequence[str]) -> bool:
        """Wait until these symbols are open, and earlier bad messages have left their windows."""
        deadline = time.monotonic() + self._ready_seconds
        are_ready = await self._observer.wait_until(
            lambda: all(self._observer.is_open(name) and self._observer.is_clean(name) for name in symbols),
            lambda: deadline,
        )
        if not are_ready:
            self._ready_seconds = self._timing.hopeless
        return are_ready

    async def _wait_at_rest(self, symbols: Sequence[str], judged: Sequence[str]) -> bool:
        """Wait until these symbols are open by metrics that were polled after this call, and are alone."""
        if not await self._wait_ready(symbols):
            return False
        await self._observer.refresh()
        await self._wait_alone(judged)
        return await self._wait_ready(symbols)  # a halt may have been on its way

    async def _wait_alone(self, symbols: Sequence[str]) -> None:
        """Wait until second connections have closed: what breaks one doesn't halt while another is good."""
        deadline = time.monotonic() + self._timing.alone
        await self._observer.wait_until(
            lambda: all(self._is_alone(name) or not self._observer.is_open(name) for name in symbols),
            lambda: deadline,
        )

    def _is_alone(self, symbol: str) -> bool:
        return self._observer.connections(symbol) < 2

    @contextmanager
    def _tracking(self, run: _CaseRun) -> Iterator[None]:
        self._running.append(run)
        self._retired -= set(run.judged)
        try:
            yield
        finally:
            self._running.remove(run)
            # Late effects of this case must not count against the others.
            self._retired |= {name for name in (*run.judged, *run.exempt) if not self._observer.is_open(name)}
            if run.case.is_harm:
                self._retired |= set(run.judged) - {change.symbol for change in run.changes}

    async def _perform(self, run: _CaseRun, symbol: str) -> None:
        case = run.case
        try:
            run.begin()
            for step in case.does:
                await self._perform_step(step, run, symbol)
            if not case.is_harm:
                await asyncio.sleep(case.hold.of(self.target.limits[symbol]))
                await self._collect_proof(run, symbol)
            elif await self._wait_halted(run):
                if run.lasts:
                    await asyncio.sleep(case.hold.of(self.target.limits[symbol]))
                await self._collect_proof(run, symbol)
        except (BoardError, AnswerError) as error:
            run.troubles.append(str(error))
        finally:
            await self._end_faults(run)
        if not case.is_harm:
            await asyncio.sleep(self._timing.settle)
            await self._wait_ready(tuple(run.exempt))
        elif not case.is_slow:
            await self._wait_open(run)

    # --- steps, and their end

    async def _perform_step(self, step: Step, run: _CaseRun, symbol: str) -> None:
        match step:
            case InjectedFault():
                limits = self.target.limits[symbol]
                for name in self._fault_symbols(run, symbol):
                    for stream in self.target.streams if step.stream == EACH else (step.stream,):
                        run.posted.append(await self._board.post(step, name, stream, limits))
            case EnvFileEdit():
                assert self.target.env_file is not None
                run.note_edit(_edit(self.target.env_file, step))
            case _:
                await apply_load(step, self._http, self.target.url)

    def _fault_symbols(self, run: _CaseRun, symbol: str) -> Sequence[str | None]:
        match run.case.scope:
            case Scope.ALL:
                return (None,)
            case Scope.OTHERS:
                return sorted(run.exempt)
            case _:
                return (symbol,)

    async def _end_faults(self, run: _CaseRun) -> None:
        """Clear faults and revert the env-file, and note when that was."""
        began = time.monotonic()
        if run.env_file_before is not None:
            assert self.target.env_file is not None
            _write(self.target.env_file, run.env_file_before)
            run.end(began)
        lasting = [posted for posted in run.posted if posted.is_lasting]
        # A fault that has hit as many messages as it was to hit is over already.
        if any([await self._board.clear(posted) for posted in lasting]):
            run.end(began)
        ends_at = [posted.ends_at for posted in run.posted if posted.ends_at is not None]
        if ends_at:
            run.end(over := max(ends_at))
            await asyncio.sleep(max(0.0, over - time.monotonic()))

    # --- observing

    async def _wait_halted(self, run: _CaseRun) -> bool:
        case, limits = run.case, self.target.limits
        deadline = run.began + max(case.halt.of(limits[name]) for name in run.judged)

        def have_halted() -> bool:
            halted = {change.symbol for change in run.changes if case.expected in change.added}
            return halted >= set(run.judged)

        return await self._observer.wait_until(have_halted, lambda: deadline)

    async def _wait_open(self, run: _CaseRun) -> None:
        over = time.monotonic() if run.over is None else run.over

        def deadline() -> float:
            return max(
                resume_deadline(
                    run.case, self.target.limits[name], over, self._observer.backoff(name, run.began)
                )
                for name in run.judged
            )

        await self._observer.wait_until(lambda: all(map(self._observer.is_open, run.judged)), deadline)

    async def _collect_proof(self, run: _CaseRun, symbol: str) -> None:
        """Wait until all proofs of the case have shown; note those that haven't in time."""
        case, limits = run.case, self.target.limits[symbol]
        began = time.monotonic()
        wants_hits = any(isinstance(proof, Hits) for proof in case.proof)
        while True:
            hits = await self._board.hits(run.posted) if wants_hits else 0
            now = self._observer.snapshot(run.counted)
            lacking = [proof for proof in case.proof if not proof.holds(run.before, now, hits, limits)]
            pause = self._observer.backoff(symbol, run.began)
            if not lacking or time.monotonic() > began + case.proven.of(limits) + pause:
                break
            await self._observer.refresh()
        run.note_unproven(lacking)

    def _outcome(self, run: _CaseRun) -> Outcome:
        """Judge each symbol that the case is about; return a wrong outcome if any, else the slowest."""
        outcomes = [
            judge(run.case, self.target.limits[name], self._observation(run, name)) for name in run.judged
        ]
        return max(outcomes, key=lambda outcome: (not outcome.is_right, outcome.halted_after or 0.0))

    def _observation(self, run: _CaseRun, symbol: str) -> Observation:
        return Observation(
            symbol=symbol,
            began=run.began,
            over=run.over,
            changes=tuple(change for change in run.changes if change.symbol == symbol),
            pause=self._observer.backoff(symbol, run.began),
            unproven=run.unproven,
            troubles=(*run.troubles, *self._describe(run.strays)),
        )


def spread(cases: Sequence[Case]) -> list[Case]:
    """Spread the cases that cut a connection evenly among the others.

    A daemon's backoff grows each time it is cut without a period of good data in between.
    """
    kinds: dict[bool, list[Case]] = {True: [], False: []}
    for case in cases:
        kinds[case.expected is Reason.DISCONNECTED].append(case)
    placed = [(place / len(kind), case) for kind in kinds.values() for place, case in enumerate(kind)]
    return [case for _, case in sorted(placed, key=lambda pair: pair[0])]


def _edit(path: Path, step: EnvFileEdit) -> bytes:
    """Edit a file atomically; return what it was."""
    before = path.read_bytes()
    after = step.edit(before)
    if after is None:
        path.unlink()
    else:
        _write(path, after)
    return before


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.drill")
    beside.write_bytes(content)
    beside.replace(path)
