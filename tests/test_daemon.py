"""The daemon follows its env-file: flags, symbols, thresholds and the source change while it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from feedd.config.settings import Settings
from feedd.core.gate import GateChange
from feedd.core.symbol_state import SymbolState
from feedd.daemon import DaemonTiming
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Reason, Source
from feedd.outputs.output import Delivered, Output, Phase
from feedd.outputs.table import OUTPUTS
from feedd.sources.options import SourceOptions
from feedd.sources.rest.pollers import ClockTiming
from tests.running import LATENCY_LIMIT, SYMBOLS, EnvFile, Running, running, running_on, settings_for

HIT, OTHER = SYMBOLS
EXCHANGE = ExchangeSettings(symbols=(*SYMBOLS, "SOLUSDT"), rate=20.0)
BARS = "timestamp,open,high,low,close,volume\n" + "".join(
    f"2026-11-20T14:{minute:02}:00Z,10,11,9,10.{minute:02},100\n" for minute in range(30)
)


def reasons(feedd: Running, symbol: str = HIT) -> tuple[Reason, ...]:
    return feedd.symbol_state(symbol).gate.reasons


@pytest.mark.parametrize("save", ["set", "replace"])
async def test_kill_switch_in_the_file_halts_and_its_end_reopens(tmp_path: Path, save: str) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            getattr(env_file, save)(FLAG_TRADING_HALTED="1")
            await feedd.until(
                lambda _: all(reasons(feedd, symbol) == (Reason.KILL_SWITCH,) for symbol in SYMBOLS)
            )
            getattr(env_file, save)(FLAG_TRADING_HALTED="0")
            await feedd.until_open()
            assert feedd.symbol_state(HIT).counts.connects == 1


async def test_kill_switch_closes_the_gate_within_50_ms_of_the_save(tmp_path: Path) -> None:
    """p99 over 200 flips, heard by a listener at the gate."""
    async with Exchange(ExchangeSettings(symbols=SYMBOLS, rate=20.0)) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            delays = []
            async with feedd.listening() as listener:
                for flip in range(200):
                    heard = len(listener.heard)
                    save = env_file.set if flip % 2 else env_file.replace
                    save(FLAG_TRADING_HALTED="1")
                    saved_at = time.monotonic()
                    halted = await listener.wait(HIT, lambda event: event["halted"], since=heard)
                    delays.append(halted.at - saved_at)
                    save(FLAG_TRADING_HALTED="0")
                    feedd.daemon.reload()
                    await feedd.until(lambda feedd: not feedd.daemon.state.kill_switch)
                    await feedd.until_open()
            assert sorted(delays)[197] < 0.05, sorted(delays)[-5:]


@pytest.mark.parametrize("value", ["maybe", "", "2", "no, wait"])
async def test_garbage_in_the_kill_switch_halts(tmp_path: Path, value: str) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            env_file.set(FLAG_TRADING_HALTED=value)
            await feedd.until(lambda _: Reason.KILL_SWITCH in reasons(feedd))


@pytest.mark.parametrize("harm", ["removed", "emptied", "not UTF-8", "a folder"])
async def test_unreadable_file_halts_after_a_second_and_reopens_when_it_is_back(
    tmp_path: Path, harm: str
) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            began = time.monotonic()
            match harm:
                case "removed":
                    env_file.path.unlink()
                case "emptied":
                    env_file.path.write_bytes(b"")
                case "not UTF-8":
                    env_file.path.write_bytes(b"\xff\xfe\xfa")
                case _:
                    env_file.path.unlink()
                    env_file.path.mkdir()
            await feedd.until(lambda _: reasons(feedd) == (Reason.FLAGS_UNREADABLE,))
            assert 0.9 < time.monotonic() - began < 1.6
            assert feedd.daemon.state.flags_unreadable
            if env_file.path.is_dir():
                env_file.path.rmdir()
            env_file.save()
            await feedd.until_open()
            assert feedd.symbol_state(HIT).counts.connects == 1


async def test_bad_file_keeps_the_last_good_settings_and_says_where_it_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            good = feedd.daemon.state.settings
            env_file.set(FEEDD_LATENCY_LIMIT_SECONDS="soon")
            await feedd.until(lambda _: not feedd.daemon.state.last_reload_successful)
            assert feedd.daemon.state.settings == good
            _, metrics = await feedd.get("/metrics")
            assert "feedd_config_last_reload_successful 0\n" in metrics
            problems = [str(getattr(record, "fields", {}).get("problem")) for record in caplog.records]
            assert any(
                f"{env_file.path}:9: FEEDD_LATENCY_LIMIT_SECONDS: expected" in text for text in problems
            )
            env_file.set(FLAG_TRADING_HALTED="1")
            await feedd.until(lambda _: reasons(feedd) == (Reason.KILL_SWITCH,))
            env_file.set(FEEDD_LATENCY_LIMIT_SECONDS="2", FLAG_TRADING_HALTED="0")
            await feedd.until_open()
            assert feedd.daemon.state.last_reload_successful
            assert feedd.daemon.state.settings.latency_limit_seconds == 2.0


async def test_symbols_come_and_go_without_touching_the_others(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd, feedd.listening() as listener:
            await feedd.until_open()
            env_file.set(FEEDD_SYMBOLS=f"{OTHER},SOLUSDT")
            await feedd.until(lambda _: "SOLUSDT" in feedd.daemon.state.symbols)
            await feedd.until_open()
            assert set(feedd.daemon.state.symbols) == {OTHER, "SOLUSDT"}
            assert feedd.symbol_state(OTHER).counts.connects == 1
            assert exchange.stats.connects_by_symbol[OTHER] == 1
            await exchange.wait_disconnected(HIT)
            assert exchange.stats.close_codes[1001] == 1
            _, metrics = await feedd.get("/metrics")
            assert f'symbol="{HIT}"' not in metrics
            assert 'feedd_trading_halted{symbol="SOLUSDT"} 0\n' in metrics
            states = [heard.event for heard in listener.heard if heard.event["type"] == "state"]
            await feedd.until(lambda _: len(listener.heard) > 1)
            assert set(states[-1]["symbols"]) == {OTHER, "SOLUSDT"}


async def test_threshold_moves_without_a_new_connection(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_STALE_AFTER_SECONDS="60")
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            exchange.set_fault("mute", symbol=HIT)
            env_file.set(FEEDD_STALE_AFTER_SECONDS="0.7")
            await feedd.until(lambda _: reasons(feedd) == (Reason.STALE,), timeout=3.0)
            assert not any(feedd.symbol_state(HIT).counts.disconnects.values())
            assert feedd.symbol_state(OTHER).counts.connects == 1


async def test_new_streams_reconnect_and_the_old_counts_stay(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            env_file.set(FEEDD_STREAMS="trade,aggTrade,kline_1s")
            await feedd.until(lambda _: feedd.symbol_state(HIT).counts.connects == 2)
            await feedd.until_open()
            stream_states = feedd.symbol_state(HIT).streams
            await feedd.until(lambda _: stream_states["btcusdt@aggTrade"].messages > 0)
            assert stream_states["btcusdt@bookTicker"].messages > 0
            assert sum(feedd.symbol_state(HIT).gate.halts.values()) == 0, (
                "what an operator asked for is no trouble"
            )
            _, metrics = await feedd.get("/metrics")
            assert 'stream="aggTrade"' in metrics


async def test_listen_address_needs_a_restart_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path) as feedd:
            await feedd.until_open()
            env_file.set(FEEDD_LISTEN="127.0.0.1:1")
            await feedd.until(lambda _: any("needs a restart" in record.message for record in caplog.records))
            assert (await feedd.get("/-/healthy"))[0] == 200


async def test_source_switches_to_static_data_and_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for symbol in SYMBOLS:
        (tmp_path / f"{symbol}.csv").write_text(BARS)
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_CSV_PATH=str(tmp_path))
        async with (
            running_on(env_file.path) as feedd,
            feedd.listening() as live,
            feedd.listening("?allow=static") as static,
        ):
            await feedd.until_open()
            before = len(static.heard)
            env_file.set(FLAG_REALTIME="0")
            await feedd.until(lambda _: feedd.daemon.state.source is Source.STATIC)
            await feedd.until_open()
            assert exchange.open_connections() == 0
            assert exchange.stats.close_codes[1001] == len(SYMBOLS)
            assert _was_closed_in_between(static.gates(HIT, before))
            status, answer = await feedd.get_json("/gate")
            assert (status, answer["source"], answer["reasons"]) == (503, "static", ["static_source"])
            assert (await feedd.get_json("/gate?allow=static"))[0] == 200
            assert live.heard[-1].event.get("halted") is not False
            assert feedd.symbol_state(HIT).streams["btcusdt@kline_1m"].messages == 1
            _, metrics = await feedd.get("/metrics")
            assert 'feedd_source_active{source="static"} 1\n' in metrics

            latencies = sum(feedd.symbol_state(HIT).total_latency.counts)
            env_file.set(FLAG_REALTIME="1")
            await feedd.until(lambda _: feedd.daemon.state.source is Source.REALTIME)
            await feedd.until_open()
            assert (await feedd.get_json("/gate"))[0] == 200
            assert sum(feedd.symbol_state(HIT).total_latency.counts) > latencies
    said = [record.message for record in caplog.records if record.message.startswith("source is")]
    assert [text.split(":")[0] for text in said] == [
        "source is REALTIME",
        "source is STATIC",
        "source is REALTIME",
    ]


def _was_closed_in_between(gates: list[Any]) -> bool:
    return any("starting" in heard.event["added"] for heard in gates)


async def test_reload_rearms_a_latched_halt_only_when_its_cause_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_RESUME="manual")
        async with running_on(env_file.path) as feedd:
            await feedd.until(lambda _: not reasons(feedd))
            exchange.set_fault("mute", symbol=HIT, seconds=2.0)
            await feedd.until(lambda _: set(reasons(feedd)) == {Reason.STALE, Reason.LATCHED})
            feedd.daemon.reload()
            await feedd.until(lambda _: any("can't be lifted" in record.message for record in caplog.records))
            await feedd.until(lambda _: reasons(feedd) == (Reason.LATCHED,))
            feedd.daemon.reload()
            await feedd.until_open()


async def test_environment_s_kill_switch_holds_whatever_the_file_says(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path, FLAG_TRADING_HALTED="1") as feedd:
            await feedd.until(lambda _: reasons(feedd) == (Reason.KILL_SWITCH,))
            env_file.set(FEEDD_LATENCY_LIMIT_SECONDS="3")
            await feedd.until(lambda _: feedd.daemon.state.settings.latency_limit_seconds == 3.0)
            assert reasons(feedd) == (Reason.KILL_SWITCH,)


async def test_exchange_that_is_down_does_not_hang_the_start(tmp_path: Path) -> None:
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
    began = time.monotonic()
    async with running_on(env_file.path) as feedd:
        assert (await feedd.get("/-/healthy"))[0] == 200
        assert time.monotonic() - began < 1.0
        await feedd.until(lambda _: Reason.DISCONNECTED in reasons(feedd))
        await asyncio.sleep(0)


@asynccontextmanager
async def running_open(
    settings: Settings, timing: DaemonTiming, sources: SourceOptions | None = None
) -> AsyncIterator[Running]:
    """Run a daemon whose gates are open, so that nobody hears of their opening any more."""
    async with running(settings, timing=timing, sources=sources) as feedd:
        await feedd.until_open()
        yield feedd


class Diary(Output):
    """An output that notes what comes to it, in order."""

    name = "diary"

    def __init__(self) -> None:
        self.notes: list[object] = []

    def deliver(self, message: Delivered) -> None:
        is_static = b'"source":"static"' in message.frame
        self.note("static message" if is_static else "live message")

    def phase_changed(self, phase: Phase) -> None:
        self.note(phase)

    def apply_settings(self, old: Settings, new: Settings) -> None:
        self.note(f"realtime {old.realtime} -> {new.realtime}")

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        self.note("halted" if change.halted else "open")

    async def stop(self) -> None:
        self.note("stop")

    def note(self, what: object) -> None:
        """Note something, unless it only goes on."""
        if self.notes[-1:] != [what]:
            self.notes.append(what)


async def test_outputs_follow_the_settings_before_the_first_message_of_theirs(tmp_path: Path) -> None:
    for symbol in SYMBOLS:
        (tmp_path / f"{symbol}.csv").write_text(BARS)
    diary = Diary()
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        env_file.set(FEEDD_CSV_PATH=str(tmp_path), FEEDD_CSV_SPEED="0")
        async with running_on(env_file.path, table={**OUTPUTS, "diary": lambda _: diary}) as feedd:
            await feedd.until_open()
            await feedd.until(lambda _: "live message" in diary.notes)
            env_file.set(FLAG_REALTIME="0")
            await feedd.until(lambda _: "static message" in diary.notes)
            env_file.set(FLAG_REALTIME="1")
            await feedd.until(lambda _: diary.notes[-1] == "live message")
    notes = [note for note in diary.notes if str(note).endswith("message") or "->" in str(note)]
    assert [note for note, _ in groupby(notes)] == [
        "live message",
        "realtime True -> False",
        "static message",
        "realtime False -> True",
        "live message",
    ]


async def test_outputs_are_told_of_every_phase_and_stopped_after_the_feeds(tmp_path: Path) -> None:
    diary = Diary()
    async with Exchange(EXCHANGE) as exchange:
        env_file = EnvFile(tmp_path, exchange)
        async with running_on(env_file.path, table={**OUTPUTS, "diary": lambda _: diary}) as feedd:
            await feedd.until_open()
            await feedd.until(lambda _: "live message" in diary.notes)
            feedd.daemon.reload()
            await feedd.until(lambda _: diary.notes.count(Phase.READY) == 2)
    phases = [note for note in diary.notes if isinstance(note, Phase)]
    assert phases == [Phase.READY, Phase.RELOADING, Phase.READY, Phase.STOPPING]
    after = diary.notes[diary.notes.index(Phase.STOPPING) + 1 :]
    assert after[-1] == "stop"
    assert after.count("stop") == 1


CLOCK_SET = "the host's clock was set; times told to others move with it, no gate does"


@pytest.mark.parametrize("is_measured", [True, False])
async def test_jump_of_the_hosts_clock_halts_and_blinds_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_measured: bool
) -> None:
    """Whether the venue's clock is known or, because REST doesn't answer, is not."""
    ahead, real = 0.0, time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)  # the exchange has a clock of its own
    options = SourceOptions(clock=ClockTiming(every=15.0, at_most_every=0.05))
    async with Exchange(EXCHANGE) as exchange:
        if not is_measured:
            exchange.set_fault("rest_http", status=503)
        timing = DaemonTiming(supervise_seconds=0.02)
        async with (
            running_open(settings_for(exchange), timing, options) as feedd,
            feedd.listening() as listener,
        ):
            symbol_state, clock = feedd.symbol_state(), feedd.daemon.state.clock
            await feedd.until(lambda _: (clock.synced_at is not None) is is_measured)
            await feedd.until(lambda _: bool(listener.heard))
            heard = len(listener.heard)
            for ahead in (3_600.0, -86_400.0, 0.0):
                await jumped(feedd, caplog, is_measured)
                page = (await feedd.get("/metrics"))[1]
                assert metric(page, "feedd_clock_offset_seconds") == pytest.approx(-ahead, abs=0.05)
            assert listener.gates(HIT, since=heard) == []
            assert (symbol_state.counts.negative_latency, symbol_state.counts.connects) == (0, 1)
            ahead = -7.0
            exchange.set_fault("delay", symbol=HIT, ms=LATENCY_LIMIT * 2000)
            await feedd.until(lambda _: reasons(feedd) == (Reason.LATENCY,))


async def jumped(feedd: Running, caplog: pytest.LogCaptureFixture, is_measured: bool) -> None:
    """Wait until the jump was noticed, and what it could have harmed has gone on."""
    latencies, clock = feedd.symbol_state().exchange_latency, feedd.daemon.state.clock
    noticed, observed, synced_at = caplog.messages.count(CLOCK_SET), sum(latencies.counts), clock.synced_at
    await feedd.until(lambda _: caplog.messages.count(CLOCK_SET) == noticed + 1)
    await feedd.until(lambda _: sum(latencies.counts) > observed + 20)
    await feedd.until(lambda _: (clock.synced_at != synced_at) is is_measured)


def metric(page: str, name: str) -> float:
    return float(next(line for line in page.splitlines() if line.startswith(f"{name} ")).split()[1])


async def test_settled_once_every_symbol_has_begun_or_was_waited_for() -> None:
    settled: list[bool] = []
    async with Exchange(ExchangeSettings(symbols=SYMBOLS)) as exchange:
        exchange.set_fault("mute", symbol=SYMBOLS[0])
        patient = DaemonTiming(supervise_seconds=0.01)
        async with running(
            settings_for(exchange), settled=lambda: settled.append(True), timing=patient
        ) as feedd:
            await feedd.until_open(SYMBOLS[1])
            assert not settled
            exchange.clear_faults()
            await feedd.until(lambda _: bool(settled))
        exchange.set_fault("mute", symbol=SYMBOLS[0])
        hasty = DaemonTiming(supervise_seconds=0.01, settled_seconds=0.0)
        async with running(
            settings_for(exchange), settled=lambda: settled.append(True), timing=hasty
        ) as feedd:
            await feedd.until(lambda _: len(settled) == 2)
            assert Reason.STARTING in reasons(feedd)
    assert settled == [True, True]
