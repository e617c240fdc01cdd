"""A whole drill: which daemons can be drilled, in which order cases run, and what is printed."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from feedd.config.resolve import resolve
from feedd.config.settings import Settings
from feedd.drill import CASES, NotDrillableError, NotReadyError, drill, named
from feedd.drill.harmless import HEALED
from feedd.drill.judgement import Outcome
from feedd.drill.run import PACE_MARGIN, in_order, prepared
from feedd.drill.timing import DrillTiming
from feedd.errors import UnavailableError
from feedd.exchange import Exchange, ExchangeSettings
from tests.running import SYMBOLS, Running, running, settings_for

EXCHANGE = ExchangeSettings(symbols=SYMBOLS)
HIT, OTHER = SYMBOLS


# --- which cases, in which order


def test_cases_are_those_named_in_the_order_of_the_list() -> None:
    assert [case.name for case in named(["mute", "close_1000", "mute"])] == ["close_1000", "mute"]
    assert named([]) == CASES


def test_every_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(NotDrillableError, match="no such case: nonsense, rubbish; "):
        named(["rubbish", "mute", "nonsense"])


def test_what_a_second_connection_heals_comes_before_all_that_makes_one_vain() -> None:
    ordered = in_order(CASES)
    assert sorted(case.name for case in ordered) == sorted(case.name for case in CASES)
    assert {case.name for case in ordered[: len(HEALED)]} == {case.name for case in HEALED}
    assert [case for case in ordered if case not in HEALED] == [case for case in CASES if case not in HEALED]


# --- what is printed


async def test_case_that_means_nothing_to_the_daemon_is_skipped_and_says_why() -> None:
    said: list[str] = []
    async with Exchange(EXCHANGE) as exchange:
        settings = settings_for(exchange, FEEDD_SYMBOLS=HIT, FEEDD_STREAMS="depth@100ms,kline_1s")
        async with running(settings) as feedd:
            cases = named(["duplicate_trades", "kill_switch", "others_reset", "duplicate_candles"])
            assert await drill(feedd.url, cases, said.append)
    assert said[-4:-1] == [
        "skipped kill_switch: it edits the env-file",
        "skipped duplicate_trades: the daemon has no trade",
        "skipped others_reset: there is only one symbol",
    ]
    assert "harmless: 1 of 1 right, 3 skipped" in said[-1]


# --- what the cases are measured by


async def test_limits_are_the_daemons_thresholds_and_the_measured_rate() -> None:
    outcomes: list[Outcome] = []
    exchange_settings = ExchangeSettings(symbols=SYMBOLS, rate=50.0)
    async with Exchange(exchange_settings) as exchange:
        keys = {"FEEDD_STREAMS": "trade", "FEEDD_EXCHANGE_STATUS_SECONDS": "7"}
        async with (
            running(settings_for(exchange, **keys)) as feedd,
            prepared(feedd.url, outcomes.append) as runner,
        ):
            limits = runner.target.limits[HIT]
    assert (limits.stale, limits.latency, limits.resume, limits.status) == (1.0, 0.4, 0.5, 7.0)
    # A hundred messages at fifty a second take two seconds.
    assert 0.7 * 2 * PACE_MARGIN < limits.window < 1.5 * 2 * PACE_MARGIN


async def test_changes_of_gates_reach_the_runner() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange)) as feedd,
        prepared(feedd.url, lambda outcome: None) as runner,
    ):
        exchange.set_fault("mute", symbol=HIT)
        async with asyncio.timeout(10):
            await feedd.until(lambda _: bool(runner.strays()))
        assert runner.strays() == (f"{HIT} changed to stale, and nothing was done to it",)


# --- what can't be drilled


def static_settings() -> Settings:
    return resolve(None, {}, {"FEEDD_SYMBOLS": "SPY", "FEEDD_LISTEN": "127.0.0.1:0"}).settings


async def refused(feedd: Running) -> str:
    with pytest.raises(NotDrillableError) as refusal:
        await drill(feedd.url, named([]), print)
    return str(refusal.value)


async def test_static_data_is_not_drilled() -> None:
    async with running(static_settings()) as feedd:
        assert "plays static data" in await refused(feedd)


async def test_exchange_without_a_fault_board_is_not_drilled() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as other:
        # A daemon's own HTTP side is a server like any other, and has no board.
        async with running(settings_for(exchange, FEEDD_REST_URL=other.url)) as feedd:
            assert "is no embedded exchange" in await refused(feedd)
        assert exchange.faults.active() == ()


async def test_exchange_that_somebody_breaks_already_is_not_drilled() -> None:
    async with Exchange(EXCHANGE) as exchange, running(settings_for(exchange)) as feedd:
        exchange.set_fault("unknown_field", symbol=HIT)
        assert "faults are on" in await refused(feedd)
        assert len(exchange.faults.active()) == 1


async def test_daemon_whose_halts_latch_is_not_drilled() -> None:
    async with (
        Exchange(EXCHANGE) as exchange,
        running(settings_for(exchange, FEEDD_RESUME="manual")) as feedd,
    ):
        assert "FEEDD_RESUME=manual" in await refused(feedd)


async def test_halted_daemon_is_not_drilled() -> None:
    async with Exchange(EXCHANGE) as exchange:
        settings = settings_for(exchange, FLAG_TRADING_HALTED="1")
        async with running(settings) as feedd:
            await feedd.until(lambda feedd: all(feedd.symbol_state(name).is_connected for name in SYMBOLS))
            with pytest.raises(NotReadyError, match=r"BTCUSDT \(kill_switch\), ETHUSDT \(kill_switch\)"):
                await drill(feedd.url, named([]), print, timing=DrillTiming(open=1.0))


async def test_daemon_that_dies_ends_the_drill() -> None:
    async with Exchange(EXCHANGE) as exchange, AsyncExitStack() as stack:
        feedd = await stack.enter_async_context(running(settings_for(exchange)))
        drilling = asyncio.create_task(drill(feedd.url, named(["mute"]), print))
        await feedd.until(lambda _: bool(exchange.faults.active()))
        await stack.aclose()
        with pytest.raises(UnavailableError, match=f"the daemon at {feedd.url} is gone"):
            await drilling
        assert exchange.faults.active() == ()
