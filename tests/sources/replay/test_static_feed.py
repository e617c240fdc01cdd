"""Playing a CSV file: what comes, when it comes, what the gate makes of it, and how it ends."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

import feedd
from feedd.core.gate import GateChange
from feedd.core.stream_state import StreamState
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import VenueClock
from feedd.model import InvalidReason, Reason, ResumePolicy, Stream
from feedd.sources.replay import static_feed as static
from feedd.sources.replay.csv_files import CsvRecording
from feedd.sources.replay.static_feed import StaticFeed
from feedd.sources.symbol_pipeline import Deliver, SymbolPipeline

SAMPLES = Path(feedd.__file__).parent / "samples"
START = 1_740_000_000_000
STALE_AFTER = 10.0
RESUME_AFTER = 5.0
BEGAN_AT = 1000.0
NO_STREAMS: tuple[Stream, ...] = ()


class Stage:
    """A symbol's session and intake, and a clock that moves only while the player sleeps.

    Time passes for the session as it does with the intake's timer: it is looked at when its deadline comes.
    """

    def __init__(self, deliver: Deliver | None = None) -> None:
        self.now = BEGAN_AT
        limits = SymbolLimits(STALE_AFTER, 1.0, RESUME_AFTER, ResumePolicy.AUTO)
        clock = VenueClock(self.now, wall=1_795_000_000.0)
        self.symbol_state = SymbolState("SPY", NO_STREAMS, limits, clock, self.now)
        self.pipeline = SymbolPipeline(
            self.symbol_state, deliver or self._deliver, self._announce, self.monotonic
        )
        self.played: list[tuple[float, Any]] = []
        """Each message, and how long after the start it came."""
        self.changes: list[GateChange] = []
        self.sleeps: list[float] = []
        self.at_sleep: Callable[[], None] = lambda: None

    def feed(self, path: Path | None, minutes: float = 15.0, speed: float = 1.0, **more: Any) -> StaticFeed:
        return StaticFeed(
            self.pipeline, path, minutes, speed, monotonic=self.monotonic, sleep=self.sleep, **more
        )

    async def play(
        self, path: Path | None, minutes: float = 15.0, speed: float = 1.0, **more: Any
    ) -> StaticFeed:
        feed = self.feed(path, minutes, speed, **more)
        try:
            await feed.run()
        finally:
            self.pipeline.stop()
        return feed

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.at_sleep()
        until = self.now + seconds
        deadline = self.symbol_state.deadline
        while deadline is not None and deadline <= until:
            self.now = deadline
            self.symbol_state.tick(self.now)
            self.pipeline.emit_changes()
            deadline = self.symbol_state.deadline
        self.now = until
        await asyncio.sleep(0.0)

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.played]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.symbol_state.gate.reasons

    def _deliver(self, stream_state: StreamState, raw: bytes) -> None:
        self.played.append((self.now - BEGAN_AT, orjson.loads(raw)))

    def _announce(self, symbol_state: SymbolState, change: GateChange) -> None:
        self.changes.append(change)


def bars(*minutes: float) -> list[str]:
    rows = [f"{START + round(minute * 60_000)},450.10,450.55,449.90,450.20,1200" for minute in minutes]
    return ["timestamp,open,high,low,close,volume", *rows]


def trades(*seconds: float) -> list[str]:
    return [
        f"{number},17.80,5.69,101.29,{START + round(second * 1000)},true,true"
        for number, second in enumerate(seconds)
    ]


def write(folder: Path, lines: list[str], name: str = "SPY.csv") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def details(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return what the log says at that level, each line with its fields."""
    return [
        f"{record.getMessage()} {getattr(record, 'fields', '')}"
        for record in caplog.records
        if record.levelno == level
    ]


# Pace


async def test_bars_come_at_their_own_pace(tmp_path: Path) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, bars(0, 1, 2, 5)))
    assert stage.times == [0.0, 60.0, 120.0, 300.0]
    assert [data["data"]["k"]["t"] for _, data in stage.played] == [
        START + minute * 60_000 for minute in (0, 1, 2, 5)
    ]


@pytest.mark.parametrize("speed", [0.5, 2.0, 60.0])
async def test_speed_divides_the_pace(tmp_path: Path, speed: float) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, trades(0, 0.25, 1, 1, 7.5)), speed=speed)
    assert stage.times == pytest.approx([offset / speed for offset in (0, 0.25, 1, 1, 7.5)])


async def test_speed_zero_is_as_fast_as_it_reads(tmp_path: Path) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, trades(*range(600))), speed=0.0)
    assert stage.times == [0.0] * 600
    assert [data["data"]["t"] for _, data in stage.played] == list(range(600))


async def test_delays_do_not_add_up(tmp_path: Path) -> None:
    stage = Stage()

    def lag() -> None:
        stage.now += 0.3

    stage.at_sleep = lag
    await stage.play(write(tmp_path, trades(*range(10))))
    assert [at - offset for offset, at in enumerate(stage.times)] == pytest.approx([0.0] + [0.3] * 9)


async def test_what_is_overdue_comes_at_once_and_in_order(tmp_path: Path) -> None:
    stage = Stage()

    def stall() -> None:
        stage.now += 3.0 if len(stage.sleeps) == 2 else 0.0

    stage.at_sleep = stall
    await stage.play(write(tmp_path, trades(*range(8))))
    assert stage.times == [0.0, 1.0, 5.0, 5.0, 5.0, 5.0, 6.0, 7.0]


async def test_sleep_that_ends_early_is_slept_on(tmp_path: Path) -> None:
    stage = Stage()

    async def nap(seconds: float) -> None:
        await stage.sleep(seconds if seconds < 0.01 else seconds / 2)

    feed = StaticFeed(
        stage.pipeline, write(tmp_path, trades(0, 1)), 15.0, 1.0, monotonic=stage.monotonic, sleep=nap
    )
    await feed.run()
    stage.pipeline.stop()
    assert stage.times == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(
    "lines", [trades(*[0.0] * 1000), [*trades(0), *["oops"] * 1000]], ids=["good", "bad"]
)
async def test_other_work_has_its_turn_while_rows_come_thick(tmp_path: Path, lines: list[str]) -> None:
    stage = Stage()
    turns = [0]
    most = [0]

    def turn() -> None:
        rows = len(stage.played) + sum(stage.symbol_state.counts.invalid.values())
        most[0] = max(most[0], rows - turns[0])
        turns[0] = rows

    stage.at_sleep = turn
    await stage.play(write(tmp_path, lines), speed=0.0)
    assert turns[0] > 900
    assert most[0] <= 64


async def test_slow_outputs_do_not_keep_the_loop_from_other_work(tmp_path: Path) -> None:
    def deliver(stream_state: StreamState, raw: bytes) -> None:
        stage.now += 2 * static.TURN_SECONDS

    stage = Stage(deliver)
    await stage.play(write(tmp_path, trades(*[0.0] * 20)), speed=0.0)
    assert len(stage.sleeps) == 19


async def test_reading_happens_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    read = CsvRecording.read

    def noted(recording: CsvRecording, count: int) -> Any:
        threads.add(threading.get_ident())
        return read(recording, count)

    monkeypatch.setattr(CsvRecording, "read", noted)
    await Stage().play(write(tmp_path, trades(*[0.0] * 600)), speed=0.0)
    assert threads
    assert threading.get_ident() not in threads


async def test_sample_plays_in_real_time_too() -> None:
    played = []
    limits = SymbolLimits(STALE_AFTER, 1.0, RESUME_AFTER, ResumePolicy.AUTO)
    symbol_state = SymbolState("QQQ", NO_STREAMS, limits, VenueClock(0.0, 0.0), time.monotonic())
    pipeline = SymbolPipeline(
        symbol_state, lambda stream_state, raw: played.append(time.monotonic()), lambda *_: None
    )
    await StaticFeed(pipeline, SAMPLES, minutes=15.0, speed=6_000.0).run()
    pipeline.stop()
    assert len(played) == 15
    assert played[-1] - played[0] >= 14 * 0.01 - 0.002


# What is played


async def test_only_the_first_minutes_are_played_and_then_the_symbol_halts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    await stage.play(SAMPLES, minutes=15.0)
    assert stage.times == [60.0 * minute for minute in range(15)]
    assert stage.now - BEGAN_AT == 900.0, "the last bar is good until the next one would have come"
    assert stage.reasons == (Reason.STALE,)
    (ended,) = details(caplog, logging.WARNING)
    assert f"the first 15 minutes of {SAMPLES}/SPY.csv are over; 15 rows were played, 0 were bad" in ended


async def test_minutes_count_recorded_time_whatever_the_speed() -> None:
    stage = Stage()
    await stage.play(SAMPLES, minutes=2.5, speed=0.0)
    assert len(stage.played) == 3
    assert stage.now == BEGAN_AT


async def test_end_of_the_file_halts_the_symbol_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    path = write(tmp_path, bars(0, 1, 2))
    await stage.play(path)
    assert stage.now - BEGAN_AT == 120.0
    assert stage.reasons == (Reason.STALE,)
    (ended,) = details(caplog, logging.WARNING)
    assert f"{path} has ended; 3 rows were played, 0 were bad" in ended


async def test_file_that_breaks_off_is_played_up_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "SPY.csv.gz"
    packed = gzip.compress("".join(f"{line}\n" for line in trades(*range(3000))).encode())
    path.write_bytes(packed[:-1000])
    stage = Stage()
    await stage.play(path, minutes=60.0, speed=0.0)
    assert 300 < len(stage.played) < 3000
    assert stage.reasons == (Reason.STALE,)
    ended = details(caplog, logging.WARNING)[-1]
    assert f"{path} can't be read any further: Compressed file ended before the end-of-stream" in ended


@pytest.mark.parametrize("path", [None, SAMPLES / "nowhere", SAMPLES.parent])
async def test_symbol_without_a_file_stays_in_starting(
    path: Path | None, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    await stage.play(path)
    assert stage.reasons == (Reason.STARTING,)
    assert not stage.played
    (line,) = details(caplog, logging.ERROR)
    assert line.startswith("no data for the symbol: its gate stays closed {'symbol': 'SPY', 'error': ")
    assert str(path or "FEEDD_CSV_PATH is not set") in line
    assert "SPY.csv, SPY.csv.gz or SPY.zip" in line


async def test_one_file_is_the_only_symbols_whatever_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, bars(0, 1), name="recorded.csv")
    stage = Stage()
    await stage.play(path)
    assert stage.reasons == (Reason.STARTING,)
    stage = Stage()
    await stage.play(path, is_only_symbol=True)
    assert len(stage.played) == 2


# The gate


async def test_gate_opens_with_the_first_bar_and_no_wait_between_bars_closes_it(tmp_path: Path) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, bars(0, 1, 2, 7)))
    opened, ended = stage.changes[-2:]
    assert (opened.at - BEGAN_AT, opened.reasons) == (0.0, ())
    assert (ended.at - BEGAN_AT, ended.reasons) == (420.0, (Reason.STALE,))
    assert stage.symbol_state.gate.halts[Reason.STALE] == 1


async def test_row_that_does_not_come_when_it_is_due_makes_the_symbol_stale(tmp_path: Path) -> None:
    stage = Stage()
    stuck = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if seconds > 0.0 and stage.times == [0.0, 60.0]:
            await stage.sleep(seconds + 60.0)
            stuck.set()
        else:
            await stage.sleep(seconds)

    feed = StaticFeed(
        stage.pipeline, write(tmp_path, bars(0, 1, 2)), 15.0, 1.0, monotonic=stage.monotonic, sleep=sleep
    )
    await feed.run()
    stage.pipeline.stop()
    assert stuck.is_set()
    halts = [change.at - BEGAN_AT for change in stage.changes if Reason.STALE in change.added]
    assert halts == [120.0 + STALE_AFTER]


async def test_silence_to_expect_is_told_anew_when_rows_come_thick(tmp_path: Path) -> None:
    expected: list[float] = []

    def note(stream_state: StreamState, _: bytes) -> None:
        expected.append(stream_state.route.staleness.expected_after)

    await Stage(note).play(write(tmp_path, trades(0, 0, 60, 60, 60, 120, 180, 180.5)))
    assert expected == [0.0, 0.0, 60.0, 0.0, 0.0, 60.0, 60.0, 0.5]


async def test_age_of_recorded_data_is_no_latency(tmp_path: Path) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, bars(0, 1, 2)))
    assert not any(stage.symbol_state.exchange_latency.counts)
    assert not any(stage.symbol_state.total_latency.counts)
    assert Reason.LATENCY not in {reason for change in stage.changes for reason in change.added}


async def test_bad_rows_are_counted_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = bars(*range(12))
    lines[5] = "oops"
    lines[9] = lines[9].replace("450.55", "NaN")
    path = write(tmp_path, lines)
    stage = Stage()
    await stage.play(path)
    assert stage.symbol_state.counts.invalid[InvalidReason.MISSING_FIELD] == 1
    assert stage.symbol_state.counts.invalid[InvalidReason.WRONG_TYPE] == 1
    assert stage.times == [60.0 * minute for minute in range(12) if minute not in (4, 8)]
    first, second, ended = details(caplog, logging.WARNING)
    assert f"{path}:6: expected 6 fields, found 1" in first
    assert "spy@kline_1m" in first
    assert f"{path}:10: expected a price above 0, found 'NaN'" in second
    assert "10 rows were played, 2 were bad" in ended
    assert {reason for change in stage.changes for reason in change.added} == {Reason.STALE}


async def test_file_that_is_mostly_bad_halts_the_symbol(tmp_path: Path) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, [*trades(0, 1), *["oops"] * 3, *trades(0, 1, 2, 3)[2:]]))
    assert Reason.SCHEMA in {reason for change in stage.changes for reason in change.added}


async def test_gate_opens_again_when_another_file_is_played(tmp_path: Path) -> None:
    stage = Stage()
    await stage.play(write(tmp_path, bars(0, 1)))
    assert stage.reasons == (Reason.STALE,)
    await stage.play(write(tmp_path, trades(*range(10))))
    opened = [change.reasons for change in stage.changes[-3:]]
    assert () in opened
    assert set(stage.symbol_state.streams) == {"spy@kline_1m", "spy@trade"}


# Trouble


async def test_bug_halts_the_symbol_and_the_rest_is_played_after_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def deliver(stream_state: StreamState, raw: bytes) -> None:
        data = orjson.loads(raw)["data"]
        if data["t"] in (2, 3):
            raise ZeroDivisionError("a bug in an output")
        delivered.append((stage.now - BEGAN_AT, data["t"]))

    delivered: list[tuple[float, int]] = []
    stage = Stage(deliver)
    await stage.play(write(tmp_path, trades(*range(12))))
    paused = [at - number for at, number in delivered]
    assert [number for _, number in delivered] == [0, 1, *range(4, 12)]
    assert paused == pytest.approx([0.0, 0.0, *[1.5] * 8]), "0.5 s after the first bug, 1 s after the next"
    internal = [change.reasons for change in stage.changes if Reason.INTERNAL in change.added]
    assert internal == [(Reason.INTERNAL,)]
    reopened = [change.at - BEGAN_AT for change in stage.changes if Reason.INTERNAL in change.removed]
    assert reopened == [pytest.approx(4 + 1.5 + RESUME_AFTER, abs=0.6)]
    assert "ZeroDivisionError" in caplog.text
    assert stage.reasons == (Reason.STALE,)


async def test_stopping_while_waiting_closes_the_file(tmp_path: Path) -> None:
    stage = Stage()
    waiting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    feed = StaticFeed(
        stage.pipeline, write(tmp_path, bars(0, 1)), 15.0, 1.0, monotonic=stage.monotonic, sleep=sleep
    )
    task = asyncio.create_task(feed.run())
    await waiting.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    stage.pipeline.stop()
    assert task.cancelled()
    assert len(stage.played) == 1


@pytest.mark.parametrize("when", ["opening", "reading"])
async def test_stopping_while_the_file_is_read_waits_for_the_read_and_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    loop = asyncio.get_running_loop()
    reading, go_on = asyncio.Event(), threading.Event()
    closed: list[Path] = []

    class Slow(CsvRecording):
        def __init__(self, path: Path, symbol: str) -> None:
            super().__init__(path, symbol)
            self._block("opening")

        def read(self, count: int) -> Any:
            self._block("reading")
            return super().read(count)

        def close(self) -> None:
            closed.append(self.path)
            super().close()

        def _block(self, now: str) -> None:
            if now == when:
                loop.call_soon_threadsafe(reading.set)
                assert go_on.wait(timeout=10.0)

    stage = Stage()
    task = asyncio.create_task(stage.feed(write(tmp_path, bars(0, 1)), open_recording=Slow).run())
    await reading.wait()
    task.cancel()
    await asyncio.sleep(0.0)
    assert not task.done()
    go_on.set()
    await asyncio.wait([task])
    stage.pipeline.stop()
    assert task.cancelled()
    assert closed == [tmp_path / "SPY.csv"]
