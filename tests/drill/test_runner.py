"""The runner: which symbols a case runs on, how it ends, and what counts against whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from feedd.drill import CASES, named
from feedd.drill.case import Case, Hits, fault
from feedd.drill.durations import Span
from feedd.drill.fault_board_client import FaultBoardClient
from feedd.drill.gate_change import ObservedChange
from feedd.drill.judgement import Outcome
from feedd.drill.observer import Observer
from feedd.drill.run import prepared
from feedd.drill.runner import STRAYS_MAX, WORKERS_MAX, CaseRunner, DrillTarget, spread
from feedd.drill.timing import DrillTiming
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Reason
from tests.drill.test_durations import LIMITS
from tests.running import SYMBOLS, EnvFile, Running, running, running_on, settings_for

EXCHANGE = ExchangeSettings(symbols=SYMBOLS)
HIT, OTHER = SYMBOLS
QUICK = DrillTiming(pace=0.2)


# --- which symbols, which cases


def target(symbols: int = 3, env_file: Path | None = None) -> DrillTarget:
    limits = {f"S{number}": LIMITS for number in range(symbols)}
    return DrillTarget("http://daemon", limits, ("trade", "bookTicker"), env_file)


@pytest.mark.parametrize(("symbols", "drilled"), [(1, 1), (3, 3), (4, 3), (17, 16), (40, WORKERS_MAX)])
def test_of_several_symbols_one_at_least_is_left_out(symbols: int, drilled: int) -> None:
    assert target(symbols).drilled_symbols == tuple(f"S{number}" for number in range(drilled))
    assert str(target(symbols)) == f"{drilled} of {symbols} symbols of http://daemon"


def test_case_applies_where_the_daemon_has_what_it_needs() -> None:
    cases = {case.name: case for case in CASES}
    assert target().lacks(cases["duplicate_trades"]) is None
    assert target().lacks(cases["duplicate_candles"]) == "the daemon has no kline_1s"
    assert target().lacks(cases["kill_switch"]) == "it edits the env-file"
    assert target(env_file=Path("feedd.env")).lacks(cases["kill_switch"]) is None
    assert target(symbols=1).lacks(cases["others_reset"]) == "there is only one symbol"
    assert target(symbols=2).lacks(cases["others_reset"]) is None


def test_cases_that_cut_a_connection_are_spread_among_the_others() -> None:
    cutting = [case for case in CASES if case.expected is Reason.DISCONNECTED][:4]
    others = [case for case in CASES if case.expected is not Reason.DISCONNECTED][:8]
    ordered = spread([*cutting, *others])
    assert [case in cutting for case in ordered] == [True, False, False] * 4
    assert [case for case in ordered if case in cutting] == cutting
    assert [case for case in ordered if case in others] == others


# --- changes while no case runs


@asynccontextmanager
async def idle_runner() -> AsyncIterator[CaseRunner]:
    """Make a runner that runs nothing, on a daemon that isn't there."""
    async with aiohttp.ClientSession() as http:
        board = FaultBoardClient(http, "http://exchange", {})
        yield CaseRunner(target(5), Observer(http, "http://daemon"), board, http, lambda outcome: None)


def change(symbol: str, *reasons: Reason) -> ObservedChange:
    return ObservedChange(at=time.monotonic(), reported_at=0.0, symbol=symbol, added=reasons, reasons=reasons)


async def test_change_while_no_case_runs_is_described() -> None:
    async with idle_runner() as runner:
        assert runner.strays() == ()
        runner.note_change(change("S1", Reason.STALE, Reason.SCHEMA))
        runner.note_change(change("S1"))
        assert runner.strays() == (
            "S1 changed to stale, schema, and nothing was done to it",
            "S1 changed to open, and nothing was done to it",
        )


async def test_only_the_first_few_such_changes_are_described() -> None:
    async with idle_runner() as runner:
        for number in (4, 3, 2, 1, 0):
            runner.note_change(change(f"S{number}", Reason.STALE))
        assert [stray[:2] for stray in runner.strays()] == ["S4", "S3", "S2", "S1", "S0"][:STRAYS_MAX]


# --- running a case on a real daemon


@asynccontextmanager
async def drilling(
    outcomes: list[Outcome], timing: DrillTiming = QUICK
) -> AsyncIterator[tuple[Exchange, Running, CaseRunner]]:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange)) as feedd,
        prepared(feedd.url, outcomes.append, timing=timing) as runner,
    ):
        yield exchange, feedd, runner


async def test_case_ends_with_its_fault_cleared_and_the_gate_open() -> None:
    outcomes: list[Outcome] = []
    async with drilling(outcomes) as (exchange, feedd, runner):
        await runner.run_case(named(["mute"])[0], HIT)
        assert exchange.faults.active() == ()
        assert not feedd.symbol_state(HIT).gate.halted
        assert runner.strays() == ()
    [outcome] = outcomes
    assert (outcome.symbol, outcome.reasons, outcome.problems) == (HIT, (Reason.STALE,), ())


async def test_proof_that_does_not_show_is_a_problem() -> None:
    outcomes: list[Outcome] = []
    never = Case(
        name="never", does=(fault("unknown_field", count=1),), proof=(Hits(10**9),), proven=Span(seconds=0.2)
    )
    async with drilling(outcomes) as (_, _, runner):
        await runner.run_case(never, HIT)
    [outcome] = outcomes
    assert outcome.problems == ("no sign of it: the fault hits 1000000000",)


async def test_fault_that_the_exchange_refuses_is_a_problem_and_no_fault_stays() -> None:
    outcomes: list[Outcome] = []
    refused = Case(name="refused", does=(fault("unknown_field"), fault("close", code=7)))
    async with drilling(outcomes) as (exchange, _, runner):
        await runner.run_case(refused, HIT)
        assert exchange.faults.active() == ()
    [outcome] = outcomes
    assert outcome.problems[0].startswith("close (code=7): code: expected a whole number")


async def test_halt_of_a_symbol_that_no_case_is_about_counts_against_the_case_that_runs() -> None:
    outcomes: list[Outcome] = []
    case = replace(named(["unknown_field"])[0], hold=Span(seconds=2.5))
    async with drilling(outcomes) as (exchange, feedd, runner):
        run = asyncio.create_task(runner.run_case(case, HIT))
        await feedd.until(lambda _: bool(exchange.faults.active()))
        exchange.set_fault("mute", symbol=OTHER)
        await run
    [outcome] = outcomes
    assert outcome.problems == (f"{OTHER} changed to stale, and nothing was done to it",)


async def test_case_of_all_the_others_is_judged_by_the_one_that_it_spares() -> None:
    outcomes: list[Outcome] = []
    async with drilling(outcomes) as (_, _, runner):
        await runner.run_case(named(["others_mute"])[0], HIT)
    [outcome] = outcomes
    assert (outcome.symbol, outcome.reasons, outcome.problems) == (HIT, (), ())


async def test_env_file_is_reverted(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        before = env_file.path.read_bytes()
        async with (
            running_on(env_file.path) as feedd,
            prepared(feedd.url, outcomes.append, env_file.path, QUICK) as runner,
        ):
            await runner.run(named(["kill_switch", "env_file_gone"]))
            assert env_file.path.read_bytes() == before
            assert not env_file.path.with_name(".feedd.env.drill").exists()
    assert [(outcome.reasons, outcome.problems) for outcome in outcomes] == [
        ((Reason.KILL_SWITCH,), ()),
        ((Reason.FLAGS_UNREADABLE,), ()),
    ]


async def test_cases_of_single_symbols_run_at_the_same_time() -> None:
    outcomes: list[Outcome] = []
    cases = [
        Case(name=name, does=(fault("unknown_field"),), hold=Span(seconds=1.0)) for name in ("one", "two")
    ]
    async with drilling(outcomes) as (exchange, feedd, runner):
        run = asyncio.create_task(runner.run(cases))
        await feedd.until(lambda _: {active.symbol for active in exchange.faults.active()} == {HIT, OTHER})
        await run
    assert {outcome.symbol for outcome in outcomes} == {HIT, OTHER}


async def test_what_is_found_while_the_machine_stands_still_is_no_finding() -> None:
    outcomes: list[Outcome] = []
    async with drilling(outcomes) as (exchange, feedd, runner):
        run = asyncio.create_task(runner.run_case(named(["short_mute"])[0], HIT))
        await feedd.until(lambda _: bool(exchange.faults.active()))
        time.sleep(1.2)  # noqa: ASYNC251  # longer than the symbol may be silent
        await run
    [outcome] = outcomes
    assert (outcome.problems, outcome.tries) == ((), 2)


async def test_symbol_that_does_not_come_to_rest_is_wrong_and_keeps_nobody_waiting() -> None:
    outcomes: list[Outcome] = []
    timing = DrillTiming(pace=0.2, ready=2.0, hopeless=0.1)
    async with drilling(outcomes, timing) as (exchange, feedd, runner):
        exchange.set_fault("mute")
        await feedd.until(lambda feedd: all(feedd.symbol_state(name).gate.halted for name in SYMBOLS))
        began = time.monotonic()
        await runner.run(named(["close_1001", "close_1000", "others_reset"]))
        assert not await runner.wait_all_open()
        # The first two cases wait at the same time; after that nothing is waited for but briefly.
        assert 2.0 <= time.monotonic() - began < 4.0
    assert len(outcomes) == 3
    assert all(outcome.problems[0].startswith("not begun: ") for outcome in outcomes)
