"""A whole drill: checks that the daemon can be drilled, runs the cases that apply, prints the report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from feedd.drill.case import Case
from feedd.drill.durations import DurationLimits
from feedd.drill.fault_board_client import find_fault_board
from feedd.drill.harmless import HARMLESS, HEALED
from feedd.drill.harms import HARMS
from feedd.drill.judgement import Outcome
from feedd.drill.observer import WINDOW_MESSAGES, Observer
from feedd.drill.runner import CaseRunner, DrillTarget
from feedd.drill.table import ReportTable, summary
from feedd.drill.timing import DEFAULT_TIMING, DrillTiming
from feedd.errors import FeeddError, NotDrillableError

CASES: Final = (*HARMS, *HARMLESS)
PACE_MARGIN: Final = 1.5
"""A window of messages is given so many times what it takes at the measured rate, as rates vary."""


class NotReadyError(FeeddError):
    """The daemon's gates aren't open, so that no halt could be observed."""


def named(names: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases of these names, or all without any.

    Raises:
        NotDrillableError: there is no such case.
    """
    unknown = set(names) - {case.name for case in CASES}
    if unknown:
        raise NotDrillableError(f"no such case: {', '.join(sorted(unknown))}; `feedd drill --list` has all")
    return tuple(case for case in CASES if case.name in names) if names else CASES


async def drill(
    url: str,
    cases: Sequence[Case],
    print_line: Callable[[str], None],
    *,
    env_file: Path | None = None,
    stays: bool = True,
    timing: DrillTiming = DEFAULT_TIMING,
) -> bool:
    """Drill the daemon whose HTTP side is at `url`, printing the report; return whether all was right.

    Args:
        print_line: called with each line of the report.
        env_file: the daemon's env-file, if it may be edited.
        stays: the daemon is needed afterwards: wait until all its gates are open again.

    Raises:
        NotDrillableError: it doesn't watch an embedded exchange, or something forbids a drill.
        NotReadyError: its gates don't open.
        UnavailableError: it doesn't answer, or is gone.
    """
    table, outcomes = ReportTable(cases), list[Outcome]()

    def report(outcome: Outcome) -> None:
        outcomes.append(outcome)
        print_line(table.row(outcome))

    async with prepared(url, report, env_file, timing) as runner:
        began, target = time.monotonic(), runner.target
        skipped = {case.name: lacking for case in cases if (lacking := target.lacks(case))}
        possible = [case for case in cases if case.name not in skipped]
        print_line(f"{len(possible)} cases on {target}")
        print_line(table.heading())
        problems = await _run(runner, possible, stays)
    for name, lacking in skipped.items():
        print_line(f"skipped {name}: {lacking}")
    for problem in problems:
        print_line(f"WRONG: {problem}")
    print_line(f"{summary(outcomes)}, {len(skipped)} skipped, in {time.monotonic() - began:.0f} s")
    return not problems and all(outcome.is_right for outcome in outcomes)


async def _run(runner: CaseRunner, cases: Sequence[Case], stays: bool) -> list[str]:
    """Run the cases; return the problems that are no case's."""
    await runner.run(in_order(cases))
    problems = list(runner.strays())
    if stays and not await runner.wait_all_open():
        problems.append("not every gate is open again")
    return problems


def in_order(cases: Iterable[Case]) -> list[Case]:
    """Put the cases first that a second connection heals.

    If one was opened in vain, because a symbol was silent, the daemon waits longer before it opens another.
    """
    return sorted(cases, key=lambda case: case not in HEALED)


@asynccontextmanager
async def prepared(
    url: str,
    report: Callable[[Outcome], None],
    env_file: Path | None = None,
    timing: DrillTiming = DEFAULT_TIMING,
) -> AsyncIterator[CaseRunner]:
    """Check the daemon at `url` and its exchange, and yield a runner; `report` is called with each outcome.

    Raises what `drill` does.
    """
    async with aiohttp.ClientSession() as http:
        observer = Observer(http, url.rstrip("/"), timing)
        status = await observer.status()
        board = await find_fault_board(http, _rest_url(status, url))
        async with _observing(observer):
            limits = await _limits(observer, status, timing)
            target = DrillTarget(observer.url, limits, _streams(status), env_file)
            runner = CaseRunner(target, observer, board, http, report, timing)
            observer.on_change(runner.note_change)
            yield runner


@asynccontextmanager
async def _observing(observer: Observer) -> AsyncIterator[None]:
    """Run the observer meanwhile; a daemon that is gone cancels the block."""
    try:
        async with asyncio.TaskGroup() as tasks:
            observing = tasks.create_task(observer.run())
            yield
            observing.cancel()
    except* FeeddError as errors:
        raise errors.exceptions[0] from None


def _rest_url(status: Mapping[str, Any], url: str) -> str:
    if status["source"] != "realtime":
        raise NotDrillableError(f"the daemon at {url} plays static data: there is no exchange to break")
    endpoints = status.get("endpoints")
    if not endpoints:
        raise NotDrillableError(f"the daemon at {url} is too old: it does not say which exchange it watches")
    latching = [name for name, symbol in status["symbols"].items() if symbol["limits"]["resume"] != "auto"]
    if latching:
        raise NotDrillableError(
            "FEEDD_RESUME=manual lets no halt lift by itself; set it to auto for the time of the drill"
        )
    rest_url: str = endpoints["rest_url"]
    return rest_url


def _streams(status: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(next(iter(status["symbols"].values()))["streams"])


async def _limits(
    observer: Observer, status: Mapping[str, Any], timing: DrillTiming
) -> dict[str, DurationLimits]:
    """Read each symbol's thresholds from the status, and measure its message rate once all gates are open."""
    symbols = tuple(status["symbols"])
    deadline = time.monotonic() + timing.open
    if not await observer.wait_until(lambda: all(map(observer.is_open, symbols)), lambda: deadline):
        halted = [
            f"{name} ({', '.join(observer.reasons(name))})" for name in symbols if not observer.is_open(name)
        ]
        raise NotReadyError(f"trading is halted before anything was done: {', '.join(halted)}")
    rates = await _rates(observer, symbols, timing)
    return {
        name: DurationLimits(
            stale=symbol["limits"]["stale_after_seconds"],
            latency=symbol["limits"]["latency_seconds"],
            resume=symbol["limits"]["resume_after_seconds"],
            status=status["exchange_status_seconds"],
            window=PACE_MARGIN * WINDOW_MESSAGES / rates[name],
        )
        for name, symbol in status["symbols"].items()
    }


async def _rates(observer: Observer, symbols: Sequence[str], timing: DrillTiming) -> dict[str, float]:
    """Measure each symbol's messages a second."""
    await observer.refresh()
    began, before = observer.polled_at, {name: observer.messages(name) for name in symbols}
    await asyncio.sleep(timing.pace)
    await observer.refresh()
    elapsed = observer.polled_at - began
    return {name: max(1.0, observer.messages(name) - before[name]) / elapsed for name in symbols}
