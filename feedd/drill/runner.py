"""Runs the cases: most on a symbol each, several at the same time; what concerns all symbols runs alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import aiohttp

from feedd.drill.case import EACH, Case, EnvFile, Fault, Hits, Scope, Step
from feedd.drill.durations import Limits
from feedd.drill.fault_board_client import BoardError, FaultBoard, Posted
from feedd.drill.gate_change import Change
from feedd.drill.http_load import AnswerError, annoy
from feedd.drill.judgement import Outcome, Seen, judge, resume_deadline
from feedd.drill.metrics_snapshot import Numbers
from feedd.drill.observer import Observer
from feedd.model import Reason

READY_SECONDS: Final = 150.0
"""How long a symbol may take to be open before its next case: a daemon pauses for 90 s where a rule of the
exchange has turned it away."""
ALONE_SECONDS: Final = 3.0
"""A daemon that keeps two connections for good is drilled with both."""
HOPELESS_SECONDS: Final = 5.0
"""The same, once some symbol has taken longer than that: it won't come back for the cases that are left."""
SETTLE_SECONDS: Final = 0.3
"""How long a symbol is looked at after something harmless is over."""
LANES_MAX: Final = 16
TRIES: Final = 3
STILL: Final = 0.25
"""The part of the latency limit for which a machine that stands still can be borne."""
ECHO_SECONDS: Final = 2.0
"""For how long something may come of it after that."""
STRAYS_TOLD: Final = 3


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon that can be drilled."""

    url: str
    limits: Mapping[str, Limits]
    """Of each symbol that it has, in its order."""
    streams: tuple[str, ...]
    env_file: Path | None
    """Its env-file, if that may be edited."""

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self.limits)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The symbols that cases run on. One of several is left alone: nothing may ever happen to it."""
        return (self.symbols[:-1] if len(self.symbols) > 3 else self.symbols)[:LANES_MAX]

    def lacks(self, case: Case) -> str | None:
        """Say what a case needs that there isn't; None if nothing is lacking."""
        if missing := sorted(case.streams - set(self.streams)):
            return f"the daemon has no {', '.join(missing)}"
        if case.needs_env_file and self.env_file is None:
            return "it edits the env-file"
        if case.scope is Scope.OTHERS and len(self.symbols) == 1:
            return "there is only one symbol"
        return None


@dataclass(slots=True)
class _Run:
    """A case under way."""

    case: Case
    judged: tuple[str, ...]
    exempt: frozenset[str]
    """Symbols that are in trouble on purpose, and are not judged."""
    counted: str | None
    """The symbol whose numbers prove the case; None where those of all are added up."""
    before: Numbers
    began: float = 0.0
    over: float | None = None
    posted: list[Posted] = field(default_factory=list)
    env_file_before: bytes | None = None
    changes: list[Change] = field(default_factory=list)
    unproven: tuple[str, ...] = ()
    troubles: list[str] = field(default_factory=list)
    strays: list[Change] = field(default_factory=list)
    """Changes of symbols that no case was about."""

    @property
    def lasts(self) -> bool:
        """Whether something was done that must be taken back."""
        return self.env_file_before is not None or any(posted.is_lasting for posted in self.posted)


class Runner:
    """Drills one daemon."""

    def __init__(
        self,
        target: Target,
        observer: Observer,
        board: FaultBoard,
        http: aiohttp.ClientSession,
        tell: Callable[[Outcome], None],
    ) -> None:
        self.target = target
        self._observer = observer
        self._board = board
        self._http = http
        self._tell = tell
        self._running: list[_Run] = []
        self._retired: set[str] = set()
        """Symbols whose gates still move on account of a case that has ended."""
        self._patience = READY_SECONDS
        self._changed_at: dict[str, float] = {}
        self._strays: list[Change] = []
        """Changes of gates at times when no case ran."""

    def heard(self, change: Change) -> None:
        """Give a change of a gate to the case that it belongs to, or hold it against all that run."""
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
        """Run these cases, telling each outcome as it is known."""
        shared = spread([case for case in cases if case.scope is Scope.SYMBOL and not case.is_slow])
        of_venue = [case for case in cases if case.scope is Scope.VENUE]
        slow = [case for case in cases if case.is_slow]
        await self._run_shared(shared, of_venue)
        for case in cases:
            if case.scope in (Scope.ALONE, Scope.ALL, Scope.OTHERS):
                await self.run_case(case, self._calmest(self.target.lanes))
        await self._run_shared(slow)

    def _calmest(self, symbols: Sequence[str]) -> str:
        """Choose the symbol that nothing has happened to for longest: it reconnects soonest."""
        return min(symbols, key=lambda name: self._changed_at.get(name, 0.0))

    def strays(self) -> tuple[str, ...]:
        """Tell which gates changed at times when no case ran."""
        return self._found(self._strays)

    def _found(self, strays: Sequence[Change]) -> tuple[str, ...]:
        """Word the first changes for which no machine that stood still is to blame."""
        found = [
            f"{change.symbol} changed to {', '.join(change.reasons) or 'open'}, and nothing was done to it"
            for change in strays
            if not self._stood_still(change.symbol, change.at, change.at)
        ]
        return tuple(found[:STRAYS_TOLD])

    def _stood_still(self, symbol: str, began: float, ended: float) -> bool:
        """Tell whether this machine stood still from `began` to `ended`, or shortly before, for too long."""
        limits = self.target.limits[symbol]
        since = began - ECHO_SECONDS - limits.resume
        return self._observer.stood_still(since, ended + ECHO_SECONDS) > STILL * limits.latency

    async def see_all_open(self) -> bool:
        """Wait until every gate is open again."""
        return await self._ready(self.target.symbols)

    async def _run_shared(self, cases: Sequence[Case], of_venue: Sequence[Case] = ()) -> None:
        """Let every lane take the next case as soon as it is done with one.

        What needs the venue's REST side for itself runs in the first lane, one after the other.
        """
        waiting = deque(cases)
        async with asyncio.TaskGroup() as tasks:
            for position, symbol in enumerate(self.target.lanes):
                own = deque(of_venue) if position == 0 else deque()
                tasks.create_task(self._run_lane(symbol, own, waiting))

    async def _run_lane(self, symbol: str, *queues: deque[Case]) -> None:
        for queue in queues:
            while queue:
                await self.run_case(queue.popleft(), symbol)

    async def run_case(self, case: Case, symbol: str) -> None:
        """Run one case on a symbol as soon as it is at rest, and tell its outcome.

        On a machine that stands still data is late and the daemon slow: what is wrong then is no finding.
        """
        outcome, is_void = await self._try_case(case, symbol)
        tries = 1
        while is_void and tries < TRIES:
            outcome, is_void = await self._try_case(case, symbol)
            tries += 1
        self._tell(replace(outcome, tries=tries))

    async def _try_case(self, case: Case, symbol: str) -> tuple[Outcome, bool]:
        """Run one case; return its outcome, and whether it is void because the machine stood still."""
        judged, exempt = self._concerned(case, symbol)
        if not await self._rested((*judged, *exempt), judged):
            halted = [name for name in judged if not self._observer.is_open(name)]
            problem = f"not begun: {', '.join(halted or exempt)} did not come to rest"
            return Outcome(case, symbol, (), None, None, (problem,)), False
        counted = None if case.scope is Scope.ALL else symbol
        run = _Run(case, judged, exempt, counted, self._observer.numbers(counted))
        with self._attending(run):
            await self._carry_out(run, symbol)
        outcome = self._outcome(run)
        return outcome, not outcome.is_right and await self._was_disturbed(run)

    async def _was_disturbed(self, run: _Run) -> bool:
        """Tell whether this machine, or the daemon's event loop, has stood still during a case."""
        await self._observer.look_anew()
        if any(self._stood_still(name, run.began, time.monotonic()) for name in run.judged):
            return True
        bearable = STILL * min(self.target.limits[name].latency for name in run.judged)
        series = "feedd_event_loop_lag_seconds"
        stops = self._observer.numbers(run.counted).above(series, bearable)
        return stops > run.before.above(series, bearable)

    def _concerned(self, case: Case, symbol: str) -> tuple[tuple[str, ...], frozenset[str]]:
        symbols = [name for name in self.target.symbols if name not in self._retired]
        if case.scope is Scope.ALL:
            return tuple(symbols), frozenset()
        return (symbol,), frozenset(symbols) - {symbol} if case.scope is Scope.OTHERS else frozenset()

    async def _ready(self, symbols: Sequence[str]) -> bool:
        """Wait until these symbols are open, and no bad message of before weighs on them."""
        deadline = time.monotonic() + self._patience
        are_ready = await self._observer.wait(
            lambda: all(self._observer.is_open(name) and self._observer.is_clean(name) for name in symbols),
            lambda: deadline,
        )
        if not are_ready:
            self._patience = HOPELESS_SECONDS
        return are_ready

    async def _rested(self, symbols: Sequence[str], judged: Sequence[str]) -> bool:
        """Wait until these symbols are at rest, by numbers that were asked for afterwards."""
        if not await self._ready(symbols):
            return False
        await self._observer.look_anew()
        await self._alone(judged)
        return await self._ready(symbols)  # a halt may have been on its way

    async def _alone(self, symbols: Sequence[str]) -> None:
        """Let a second connection go first: what spoils one is no harm while another one is good."""
        deadline = time.monotonic() + ALONE_SECONDS
        await self._observer.wait(
            lambda: all(self._is_alone(name) or not self._observer.is_open(name) for name in symbols),
            lambda: deadline,
        )

    def _is_alone(self, symbol: str) -> bool:
        return self._observer.connections(symbol) < 2

    @contextmanager
    def _attending(self, run: _Run) -> Iterator[None]:
        self._running.append(run)
        self._retired -= set(run.judged)
        try:
            yield
        finally:
            self._running.remove(run)
            # What still comes of this case, if only late, must not be held against the others.
            self._retired |= {name for name in (*run.judged, *run.exempt) if not self._observer.is_open(name)}
            if run.case.is_harm:
                self._retired |= set(run.judged) - {change.symbol for change in run.changes}

    async def _carry_out(self, run: _Run, symbol: str) -> None:
        case = run.case
        try:
            run.began = time.monotonic()
            for step in case.does:
                await self._do(step, run, symbol)
            if not case.is_harm:
                await asyncio.sleep(case.hold.of(self.target.limits[symbol]))
                await self._prove(run, symbol)
            elif await self._see_halted(run):
                if run.lasts:
                    await asyncio.sleep(case.hold.of(self.target.limits[symbol]))
                await self._prove(run, symbol)
        except (BoardError, AnswerError) as error:
            run.troubles.append(str(error))
        finally:
            await self._take_back(run)
        if not case.is_harm:
            await asyncio.sleep(SETTLE_SECONDS)
            await self._ready(tuple(run.exempt))
        elif not case.is_slow:
            await self._see_open(run)

    # --- doing, and taking back

    async def _do(self, step: Step, run: _Run, symbol: str) -> None:
        match step:
            case Fault():
                limits = self.target.limits[symbol]
                for name in self._fault_symbols(run, symbol):
                    for stream in self.target.streams if step.stream == EACH else (step.stream,):
                        run.posted.append(await self._board.post(step, name, stream, limits))
            case EnvFile():
                assert self.target.env_file is not None
                run.env_file_before = _edit(self.target.env_file, step)
            case _:
                await annoy(step, self._http, self.target.url)

    def _fault_symbols(self, run: _Run, symbol: str) -> Sequence[str | None]:
        match run.case.scope:
            case Scope.ALL:
                return (None,)
            case Scope.OTHERS:
                return sorted(run.exempt)
            case _:
                return (symbol,)

    async def _take_back(self, run: _Run) -> None:
        """End what lasts, and note when that was."""
        began = time.monotonic()
        if run.env_file_before is not None:
            assert self.target.env_file is not None
            _write(self.target.env_file, run.env_file_before)
            run.over = began
        lasting = [posted for posted in run.posted if posted.is_lasting]
        # A fault that has hit all it was to hit is over already.
        if any([await self._board.take_back(posted) for posted in lasting]):
            run.over = began
        ends_at = [posted.ends_at for posted in run.posted if posted.ends_at is not None]
        if ends_at:
            run.over = max(ends_at)
            await asyncio.sleep(max(0.0, run.over - time.monotonic()))

    # --- seeing

    async def _see_halted(self, run: _Run) -> bool:
        case, limits = run.case, self.target.limits
        deadline = run.began + max(case.halt.of(limits[name]) for name in run.judged)

        def have_halted() -> bool:
            halted = {change.symbol for change in run.changes if case.expected in change.added}
            return halted >= set(run.judged)

        return await self._observer.wait(have_halted, lambda: deadline)

    async def _see_open(self, run: _Run) -> None:
        over = time.monotonic() if run.over is None else run.over

        def deadline() -> float:
            return max(
                resume_deadline(
                    run.case, self.target.limits[name], over, self._observer.backoff(name, run.began)
                )
                for name in run.judged
            )

        await self._observer.wait(lambda: all(map(self._observer.is_open, run.judged)), deadline)

    async def _prove(self, run: _Run, symbol: str) -> None:
        """Wait until all that proves the case has shown; note what hasn't."""
        case, limits = run.case, self.target.limits[symbol]
        began = time.monotonic()
        wants_hits = any(isinstance(proof, Hits) for proof in case.proof)
        while True:
            hits = await self._board.hits(run.posted) if wants_hits else 0
            now = self._observer.numbers(run.counted)
            lacking = [proof for proof in case.proof if not proof.holds(run.before, now, hits, limits)]
            pause = self._observer.backoff(symbol, run.began)
            if not lacking or time.monotonic() > began + case.proven.of(limits) + pause:
                break
            await self._observer.look_anew()
        run.unproven = tuple(map(str, lacking))

    def _outcome(self, run: _Run) -> Outcome:
        """Judge each symbol that the case is about; one that is wrong speaks for all, else the slowest."""
        outcomes = [judge(run.case, self.target.limits[name], self._seen(run, name)) for name in run.judged]
        return max(outcomes, key=lambda outcome: (not outcome.is_right, outcome.halted_after or 0.0))

    def _seen(self, run: _Run, symbol: str) -> Seen:
        return Seen(
            symbol=symbol,
            began=run.began,
            over=run.over,
            changes=tuple(change for change in run.changes if change.symbol == symbol),
            pause=self._observer.backoff(symbol, run.began),
            unproven=run.unproven,
            troubles=(*run.troubles, *self._found(run.strays)),
        )


def spread(cases: Sequence[Case]) -> list[Case]:
    """Spread the cases that cut a connection evenly among the others.

    A daemon pauses the longer the more often it was cut without a spell of good data in between.
    """
    kinds: dict[bool, list[Case]] = {True: [], False: []}
    for case in cases:
        kinds[case.expected is Reason.DISCONNECTED].append(case)
    placed = [(place / len(kind), case) for kind in kinds.values() for place, case in enumerate(kind)]
    return [case for _, case in sorted(placed, key=lambda pair: pair[0])]


def _edit(path: Path, step: EnvFile) -> bytes:
    """Edit a file all at once; return what it was."""
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
