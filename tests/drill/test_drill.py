"""The drill against real daemons: the whole list on a sound one, and daemons with one broken rule each."""

from __future__ import annotations

import asyncio
import math
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from feedd.config.resolve import resolve
from feedd.config.settings import Settings
from feedd.core.decode_failures import DecodeFailureRule
from feedd.core.sequence import StepSequence
from feedd.core.symbol_state import SymbolState
from feedd.drill import drill, named
from feedd.drill.harmless import HARMLESS
from feedd.drill.harms import HARMS
from feedd.drill.judgement import Outcome
from feedd.drill.run import prepared
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Reason
from feedd.venues.binance.spot.payloads import Trade
from tests.cli.test_main import ENVIRONMENT, feedd
from tests.running import SYMBOLS, running, settings_for

EXCHANGE = ExchangeSettings(symbols=SYMBOLS)
HIT, OTHER = SYMBOLS


@pytest.mark.timeout(300)
def test_every_harm_is_caught_for_its_reason_in_its_time_and_nothing_harmless_halts() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "feedd", "drill"],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        check=False,
        timeout=280,
    )
    rows = {line.split()[0]: line for line in outcome.stdout.splitlines()}
    wrong = [line for line in outcome.stdout.splitlines() if "WRONG" in line or line.startswith("skipped")]
    assert wrong == []
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert all(" right" in rows[case.name] for case in (*HARMS, *HARMLESS))
    assert re.match(
        rf"harms: {len(HARMS)} of {len(HARMS)} right, harmless: {len(HARMLESS)} of {len(HARMLESS)} right, "
        r"0 skipped, in \d+ s$",
        outcome.stdout.splitlines()[-1],
    )


# --- one broken rule


class Deaf(DecodeFailureRule):
    def is_failing(self, ordinal: int) -> bool:
        return False


class Touchy(DecodeFailureRule):
    def is_failing(self, ordinal: int) -> bool:
        return bool(self._bad) and self._bad[-1] == ordinal


class Naive(StepSequence):
    def admit(self, payload: Trade) -> bool:
        return True


def no_staleness(symbol_state: SymbolState, _: SymbolState) -> None:
    for route in symbol_state.routes.values():
        route.staleness.apply_limit(3600.0)


def no_latency(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state._latency_rule.limit = math.inf


def no_schema(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state._decode_failures = Deaf()


def touchy_schema(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state._decode_failures = Touchy()


def no_status(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state._judge_status = lambda now: None  # type: ignore[method-assign]


def no_disconnect(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state._note_disconnected = lambda now: None  # type: ignore[method-assign]


def wrong_reason(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state._note_disconnected = lambda now: symbol_state.gate.trip(Reason.STALE, now)  # type: ignore[method-assign]


def too_many_reasons(symbol_state: SymbolState, _: SymbolState) -> None:
    def note(now: float) -> None:
        symbol_state.gate.trip(Reason.DISCONNECTED, now)
        symbol_state.gate.trip(Reason.SCHEMA, now)
        symbol_state.gate.clear(Reason.SCHEMA, now)

    symbol_state._note_disconnected = note  # type: ignore[method-assign]


def hasty_gate(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state.gate.resume_after = 0.0


def stubborn_gate(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state.gate.resume_after = 3600.0


def uncounted_repetitions(symbol_state: SymbolState, _: SymbolState) -> None:
    symbol_state.streams[f"{symbol_state.symbol.lower()}@trade"].sequence = Naive("trade_id")


def neighbour_halts_too(symbol_state: SymbolState, other: SymbolState) -> None:
    def note(now: float) -> None:
        symbol_state.gate.trip(Reason.DISCONNECTED, now)
        other.gate.trip(Reason.SCHEMA, now)

    symbol_state._note_disconnected = note  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that is broken in every symbol of a daemon, a case that must find out, and what it must say."""

    rule: Callable[[SymbolState, SymbolState], None]
    case: str
    verdict: str


BROKEN = (
    Broken(no_staleness, "mute", "not halted for stale within 2.0 s"),
    Broken(no_latency, "delay", "not halted for latency within 1.6 s"),
    Broken(no_schema, "garbage_bad_json", "not halted for schema within 1.5 s"),
    Broken(touchy_schema, "one_bad_json", "halted for schema"),
    Broken(no_status, "status_halt", "not halted for exchange within 1.3 s"),
    Broken(no_disconnect, "close_1001", "not halted for disconnected within 1.0 s"),
    Broken(wrong_reason, "close_1001", "not halted for disconnected within 1.0 s"),
    Broken(too_many_reasons, "close_1001", "halted for schema as well"),
    Broken(hasty_gate, "mute", "open after less than 0.5 s of good data"),
    Broken(stubborn_gate, "mute", "not open within 1.5 s of its end"),
    Broken(uncounted_repetitions, "duplicate_trades", "no sign of it: repetitions"),
    Broken(neighbour_halts_too, "close_1001", "changed to schema, and nothing was done to it"),
)


@pytest.mark.interpreted
async def test_broken_rule_is_found() -> None:
    """Each in a symbol of its own, all at the same time."""
    symbols = tuple(f"{broken.rule.__name__.upper()}USDT" for broken in BROKEN)
    outcomes: list[Outcome] = []
    async with Exchange(ExchangeSettings(symbols=(*symbols, OTHER))) as exchange:
        keys = {"FEEDD_SYMBOLS": ",".join((*symbols, OTHER)), "FEEDD_EXCHANGE_STATUS_SECONDS": "0.3"}
        async with running(settings_for(exchange, **keys)) as feedd:
            await feedd.until_open()
            for broken, symbol in zip(BROKEN, symbols, strict=True):
                broken.rule(feedd.symbol_state(symbol), feedd.symbol_state(OTHER))
            async with prepared(feedd.url, outcomes.append) as runner:
                await asyncio.gather(
                    *(
                        runner.run_case(named([broken.case])[0], symbol)
                        for broken, symbol in zip(BROKEN, symbols, strict=True)
                    )
                )
    problems = {outcome.symbol: " ".join(outcome.problems) for outcome in outcomes}
    for broken, symbol in zip(BROKEN, symbols, strict=True):
        assert broken.verdict in problems[symbol], broken


@pytest.mark.interpreted
async def test_finding_on_a_machine_that_gets_on_is_final() -> None:
    outcomes: list[Outcome] = []
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        touchy_schema(feedd.symbol_state(HIT), feedd.symbol_state(OTHER))
        async with prepared(feedd.url, outcomes.append) as runner:
            await runner.run_case(named(["one_bad_json"])[0], HIT)
    [outcome] = outcomes
    assert (outcome.problems, outcome.tries) == (("halted for schema",), 1)


async def test_drill_leaves_the_daemon_as_it_was() -> None:
    said: list[str] = []
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        assert await drill(feedd.url, named(["close_1001", "mute"]), said.append)
        assert exchange.faults.active() == ()
        assert not any(feedd.symbol_state(symbol).gate.halted for symbol in SYMBOLS)


# --- the command


def static_settings() -> Settings:
    return resolve(None, {}, {"FEEDD_SYMBOLS": "SPY", "FEEDD_LISTEN": "127.0.0.1:0"}).settings


async def run_drill(*arguments: str) -> tuple[int, str, str]:
    process = await start_drill(*arguments)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def start_drill(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feedd", "drill", *arguments,
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.interpreted
async def test_broken_daemon_is_exit_1() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        await feedd.until_open()
        for symbol in SYMBOLS:
            no_disconnect(feedd.symbol_state(symbol), feedd.symbol_state(symbol))
        code, out, err = await run_drill("--against", feedd.url, "--only", "close_1001")
    assert (code, err) == (1, "")
    assert out.splitlines()[-1].startswith("harms: 0 of 1 right")


async def test_interrupted_drill_takes_its_faults_back() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        process = await start_drill("--against", feedd.url, "--only", "mute")
        await feedd.until(lambda _: bool(exchange.faults.active()))
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert process.returncode == 1
        assert b"the drill was stopped" in err
        assert exchange.faults.active() == ()


async def test_refusal_is_exit_2() -> None:
    async with running(static_settings()) as feedd:
        code, out, err = await run_drill("--against", feedd.url)
    assert (code, out) == (2, "")
    assert err.startswith("feedd: the daemon at")


def test_unknown_case_is_exit_2() -> None:
    outcome = feedd("drill", "--only", "no_such_case")
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("feedd: no such case: no_such_case")


def test_absent_daemon_is_exit_1() -> None:
    outcome = feedd("drill", "--against", "http://127.0.0.1:9")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("feedd: no daemon answers at http://127.0.0.1:9")


def test_list_shows_every_case_and_does_nothing() -> None:
    outcome = feedd("drill", "--list")
    assert outcome.returncode == 0
    assert [line.split()[0] for line in outcome.stdout.splitlines()] == [
        case.name for case in (*HARMS, *HARMLESS)
    ]
