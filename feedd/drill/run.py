"""A whole drill: is the daemon fit for it, which cases mean something to it, and what came of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from feedd.drill.case import Case
from feedd.drill.durations import Limits
from feedd.drill.fault_board_client import open_board
from feedd.drill.harmless import HARMLESS, HEALED
from feedd.drill.harms import HARMS
from feedd.drill.judgement import Outcome
from feedd.drill.observer import WINDOW_MESSAGES, Observer
from feedd.drill.runner import Runner, Target
from feedd.drill.table import Table, summary
from feedd.errors import FeeddError, NotDrillableError

CASES: Final = (*HARMS, *HARMLESS)
OPEN_SECONDS: Final = 30.0
"""How long a daemon may take to open every gate before the drill begins."""
PACE_SECONDS: Final = 1.0
"""For how long each symbol's pace is taken."""
PACE_MARGIN: Final = 1.5
"""No market keeps its pace."""

Say = Callable[[str], None]


class NotReadyError(FeeddError):
    """The daemon's gates aren't open, so that nothing could be seen to halt."""


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
    url: str, cases: Sequence[Case], say: Say, *, env_file: Path | None = None, stays: bool = True
) -> bool:
    """Drill the daemon at `url`, saying the table line by line; return whether all was right.

    Args:
        url: the daemon's HTTP side, without a path.
        cases: what to do to it.
        say: takes a line.
        env_file: the daemon's env-file, if it may be edited.
        stays: the daemon is needed afterwards: see all its gates open again.

    Raises:
        NotDrillableError: it doesn't watch an embedded exchange, or something forbids a drill.
        NotReadyError: its gates don't open.
        UnavailableError: it doesn't answer, or is gone.
    """
    table, outcomes = Table(cases), list[Outcome]()

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        say(table.row(outcome))

    async with prepared(url, tell, env_file) as runner:
        began, target = time.monotonic(), runner.target
        possible = [case for case in cases if not target.lacks(case)]
        skipped = [(case, lacking) for case in cases if (lacking := target.lacks(case))]
        say(f"{len(possible)} cases on {len(target.lanes)} of {len(target.symbols)} symbols of {target.url}")
        say(table.heading())
        await runner.run(in_order(possible))
        problems = list(runner.strays())
        if stays and not await runner.see_all_open():
            problems.append("not every gate is open again")
    for case, lacking in skipped:
        say(f"skipped {case.name}: {lacking}")
    for problem in problems:
        say(f"WRONG: {problem}")
    say(f"{summary(outcomes)}, {len(skipped)} skipped, in {time.monotonic() - began:.0f} s")
    return not problems and all(outcome.is_right for outcome in outcomes)


def in_order(cases: Iterable[Case]) -> list[Case]:
    """Put first what a second connection heals.

    One that was opened in vain, because a symbol was silent, makes the daemon slow to open another for it.
    """
    return sorted(cases, key=lambda case: case not in HEALED)


@asynccontextmanager
async def prepared(
    url: str, tell: Callable[[Outcome], None], env_file: Path | None = None
) -> AsyncIterator[Runner]:
    """Look at the daemon at `url` and its exchange, and be ready to run cases; `tell` takes each outcome.

    Raises what `drill` does.
    """
    async with aiohttp.ClientSession() as http:
        observer = Observer(http, url.rstrip("/"))
        status = await observer.status()
        board = await open_board(http, _rest_url(status, url))
        async with _observing(observer):
            target = Target(observer.url, await _limits(observer, status), _streams(status), env_file)
            runner = Runner(target, observer, board, http, tell)
            observer.heard = runner.heard
            yield runner


@asynccontextmanager
async def _observing(observer: Observer) -> AsyncIterator[None]:
    """Observe meanwhile; a daemon that is gone ends what is done here."""
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


async def _limits(observer: Observer, status: Mapping[str, Any]) -> dict[str, Limits]:
    """Read each symbol's thresholds, and take its pace."""
    symbols = tuple(status["symbols"])
    deadline = time.monotonic() + OPEN_SECONDS
    if not await observer.wait(lambda: all(map(observer.is_open, symbols)), lambda: deadline):
        halted = [
            f"{name} ({', '.join(observer.reasons(name))})" for name in symbols if not observer.is_open(name)
        ]
        raise NotReadyError(f"trading is halted before anything was done: {', '.join(halted)}")
    paces = await _paces(observer, symbols)
    return {
        name: Limits(
            stale=symbol["limits"]["stale_after_seconds"],
            latency=symbol["limits"]["latency_seconds"],
            resume=symbol["limits"]["resume_after_seconds"],
            status=status["exchange_status_seconds"],
            window=PACE_MARGIN * WINDOW_MESSAGES / paces[name],
        )
        for name, symbol in status["symbols"].items()
    }


async def _paces(observer: Observer, symbols: Sequence[str]) -> dict[str, float]:
    """Take each symbol's messages a second."""
    await observer.look_anew()
    began, before = observer.looked_at, {name: observer.messages(name) for name in symbols}
    await asyncio.sleep(PACE_SECONDS)
    await observer.look_anew()
    elapsed = observer.looked_at - began
    return {name: max(1.0, observer.messages(name) - before[name]) / elapsed for name in symbols}
