"""The fan-out to all outputs: who is told what, and that no output's bug reaches anybody else."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolState
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Reason
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.output import LOG_SECONDS, Delivered, DeliverFrame, Output, OutputFailures, Outputs, Phase
from feedd.outputs.table import OUTPUTS
from tests.outputs.line_counter import LineCounter
from tests.running import SYMBOLS, Running, running, settings_for
from tests.venues.binance.spot.frames import data

FRAME = b'{"stream":"btcusdt@trade","data":{}}'
CHANGE = GateChange(100.0, (Reason.STALE,), (), (Reason.STALE,))


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Path:
    """A fast path that notes what it is called with."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.backfilled: list[bytes] = []
        self.heard: set[str] = set()

    def deliver(self, stream_state: StreamState, frame: bytes) -> None:
        self.frames.append(frame)

    def deliver_backfill(self, stream_state: StreamState, frame: bytes) -> None:
        self.backfilled.append(frame)

    def is_heard(self, symbol: str) -> bool:
        return symbol in self.heard


class Fast(Output):
    """An output with a fast path, like the relay."""

    name = "fast"

    def __init__(self) -> None:
        self.path = self.fast_path = Path()


class Taker(Output):
    """An output that notes all it is told."""

    name = "taker"

    def __init__(self) -> None:
        self.messages: list[Delivered] = []
        self.told: list[object] = []
        self.is_stopped = False

    def deliver(self, message: Delivered) -> None:
        self.messages.append(message)

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        self.told.append((symbol_state.symbol, change))

    def phase_changed(self, phase: Phase) -> None:
        self.told.append(phase)

    def apply_settings(self, old: Settings, new: Settings) -> None:
        self.told.append((old, new))

    async def stop(self) -> None:
        self.is_stopped = True


class Silent(Output):
    """An output that cares for nothing."""

    name = "silent"


class Broken(Output):
    """An output in which nothing works."""

    name = "broken"

    def deliver(self, message: Delivered) -> None:
        raise ZeroDivisionError

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        raise ZeroDivisionError

    def phase_changed(self, phase: Phase) -> None:
        raise ZeroDivisionError

    def apply_settings(self, old: Settings, new: Settings) -> None:
        raise ZeroDivisionError

    async def stop(self) -> None:
        raise ZeroDivisionError


def fan_out(*outputs: Output, **more: Any) -> Outputs:
    return Outputs(outputs, OutputFailures(), **more)


def symbol_state() -> SymbolState:
    return DaemonState(Settings(realtime=True), 0.0, 0.0).symbols["BTCUSDT"]


def stream_state() -> StreamState:
    return symbol_state().streams["btcusdt@trade"]


def failures(outputs: Outputs) -> dict[str, float]:
    """Return what the metric says, by output."""
    *_, (family, rows) = outputs.metrics()
    assert family.name == "feedd_output_failures_total"
    lines = [row.write(ClockReading(0.0, 0.0)).split('"') for row in rows]
    return {output: float(rest.removeprefix("} ")) for _, output, rest in lines}


# --- messages


def test_fast_path_is_called_straight_while_nobody_else_wants_messages() -> None:
    fast = Fast()
    outputs = fan_out(fast, Silent())
    assert outputs.deliver == fast.path.deliver
    assert outputs.deliver_backfill == fast.path.deliver_backfill


def test_message_is_made_once_for_all_who_take_messages() -> None:
    fast, one, other = Fast(), Taker(), Taker()
    outputs = fan_out(fast, one, other)
    state, event = stream_state(), data("trade")
    outputs.deliver_to_all(state, FRAME, event, 12.5)
    assert one.messages == [Delivered(state, event, FRAME, 12.5)]
    assert one.messages[0] is other.messages[0]
    assert fast.path.frames == [FRAME]


def test_message_without_its_time_was_read_when_its_stream_had_its_newest() -> None:
    taker, state = Taker(), stream_state()
    outputs = fan_out(taker)
    state.last_at = 42.0
    outputs.deliver(state, FRAME)
    assert taker.messages == [Delivered(state, None, FRAME, 42.0)]


def test_backfilled_message_bears_its_mark() -> None:
    fast, taker = Fast(), Taker()
    outputs = fan_out(fast, taker)
    outputs.deliver_backfill(stream_state(), FRAME)
    assert (fast.path.backfilled, fast.path.frames) == ([FRAME], [])
    assert [(message.frame, message.is_backfill) for message in taker.messages] == [(FRAME, True)]


@pytest.mark.parametrize("which", ["tap", "backfill_tap"])
def test_tap_hears_every_message_after_the_outputs_and_what_it_raises_is_the_pipeline_s(which: str) -> None:
    fast = Fast()

    def fail(_: StreamState, frame: bytes) -> None:
        assert fast.path.frames or fast.path.backfilled
        raise ZeroDivisionError

    outputs = fan_out(fast, **{which: fail})
    deliver: DeliverFrame = outputs.deliver if which == "tap" else outputs.deliver_backfill
    with pytest.raises(ZeroDivisionError):
        deliver(stream_state(), FRAME)
    assert failures(outputs) == {"fast": 0}


def test_symbol_is_heard_if_any_fast_path_says_so() -> None:
    fast = Fast()
    outputs = fan_out(Taker(), fast)
    assert not outputs.is_heard("BTCUSDT")
    fast.path.heard.add("BTCUSDT")
    assert outputs.is_heard("BTCUSDT")
    assert not outputs.is_heard("ETHUSDT")


# --- bugs


async def test_bug_of_one_output_is_counted_and_the_others_are_told_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taker, symbol = Taker(), symbol_state()
    outputs = fan_out(Broken(), taker)
    old, new = Settings(), Settings(realtime=True)
    outputs.deliver(stream_state(), FRAME)
    outputs.gate_changed(symbol, CHANGE)
    outputs.phase_changed(Phase.READY)
    outputs.apply_settings(old, new)
    await outputs.stop()
    assert len(taker.messages) == 1
    assert taker.told == [("BTCUSDT", CHANGE), Phase.READY, (old, new)]
    assert taker.is_stopped
    assert failures(outputs) == {"broken": 5, "taker": 0}
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 5
    assert all(record.exc_info is not None for record in caplog.records)


def test_bug_met_with_every_message_is_logged_once_a_minute_and_always_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    found = OutputFailures(clock)
    outputs = Outputs([Broken()], found)
    for _ in range(100):
        outputs.deliver(stream_state(), FRAME)
    assert len(caplog.records) == 1
    clock.now += LOG_SECONDS
    outputs.deliver(stream_state(), FRAME)
    assert [getattr(record, "fields", {})["so_far"] for record in caplog.records] == [1, 101]
    assert found.counts == {"broken": 101}


class Runner(Output):
    """An output that works until it has failed so many times."""

    name = "runner"

    def __init__(self, failing: int) -> None:
        self.failing = failing
        self.begun = 0
        self.works = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self.failing:
            raise ZeroDivisionError
        self.works.set()
        await asyncio.Event().wait()


async def test_work_that_fails_is_begun_anew_after_a_pause_and_ends_with_the_daemon() -> None:
    runner = Runner(failing=2)
    outputs = fan_out(runner, restart_after=0.01)
    [(name, work)] = outputs.work()
    began = asyncio.get_running_loop().time()
    task = asyncio.create_task(work)
    async with asyncio.timeout(5):
        await runner.works.wait()
    assert asyncio.get_running_loop().time() - began >= 0.02
    assert (name, runner.begun, failures(outputs)) == ("runner", 3, {"runner": 2})
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failures(outputs) == {"runner": 2}


async def test_output_without_work_is_not_begun_again() -> None:
    async with asyncio.timeout(5):
        for _, work in fan_out(Taker()).work():
            await work


def test_output_is_found_by_its_name() -> None:
    taker = Taker()
    outputs = fan_out(Fast(), taker)
    assert outputs["taker"] is taker
    with pytest.raises(KeyError):
        outputs["nats"]


def test_only_those_who_have_something_to_say_stand_in_the_status() -> None:
    counter = LineCounter()
    outputs = fan_out(Taker(), counter)
    outputs.deliver(stream_state(), FRAME)
    assert outputs.status() == {"line_counter": {"lines": 1}}


# --- a daemon with one more


async def test_another_output_is_a_file_of_its_own_and_a_row_of_the_table() -> None:
    table = {**OUTPUTS, LineCounter.name: LineCounter.of}
    async with (
        Exchange(ExchangeSettings(symbols=SYMBOLS, rate=50.0)) as exchange,
        running(settings_for(exchange), table=table) as feedd,
    ):
        counter = feedd.daemon.outputs[LineCounter.name]
        assert isinstance(counter, LineCounter)
        await feedd.until(lambda _: counter.lines > 20)
        assert isinstance(counter.newest, Delivered)
        assert counter.newest.event is not None
        handed_on, counted = messages(feedd), counter.lines
        assert handed_on == counted
        _, page = await feedd.get("/metrics")
        assert "# TYPE feedd_lines_total counter\nfeedd_lines_total " in page
        assert 'feedd_output_failures_total{output="line_counter"} 0\n' in page
        _, status = await feedd.get_json("/status")
        assert status["outputs"]["line_counter"]["lines"] >= counted


def messages(feedd: Running) -> int:
    return sum(
        stream_state.messages
        for symbol in feedd.daemon.state.symbols.values()
        for stream_state in symbol.streams.values()
    )


async def test_output_that_fails_at_everything_costs_no_symbol_its_gate() -> None:
    table = {**OUTPUTS, Broken.name: lambda _: Broken()}
    async with (
        Exchange(ExchangeSettings(symbols=SYMBOLS, rate=50.0)) as exchange,
        running(settings_for(exchange), table=table) as feedd,
    ):
        await feedd.until(lambda feedd: messages(feedd) > 50)
        assert not any(symbol.gate.halted for symbol in feedd.daemon.state.symbols.values())
        assert all(symbol.counts.discarded == 0 for symbol in feedd.daemon.state.symbols.values())
        _, page = await feedd.get("/metrics")
        assert failures_in(page, "broken") >= 50
        assert failures_in(page, "relay") == 0


def failures_in(page: str, output: str) -> int:
    prefix = f'feedd_output_failures_total{{output="{output}"}} '
    (line,) = [line for line in page.splitlines() if line.startswith(prefix)]
    return int(line.removeprefix(prefix))
