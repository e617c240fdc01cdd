"""The static feed: plays one symbol's CSV file, once, at its own pace or faster.

It is for rehearsal and rollback: every message says that it is static, and the end of the data halts the
symbol. A row is due by its distance from the first one, so that no delay adds up. A recording knows when its
next row comes; the symbol is told, so that bars a minute apart are not taken for silence.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from feedd.core.backoff import Backoff
from feedd.errors import DecodeError
from feedd.logs import fields
from feedd.sources.replay.csv_files import BadRow, CsvRecording, Row, UnusableFile, find_file
from feedd.sources.symbol_pipeline import SymbolPipeline

log = logging.getLogger(__name__)

BATCH_ROWS: Final = 256
"""Read at once, in a thread, in about 2 ms. More would hold up the event loop, less would cost more."""
TURN_ROWS: Final = 64
"""How many rows are played before everything else has its turn,"""
TURN_SECONDS: Final = 0.002
"""or for how long."""
_EXPECTATION_STEP_SECONDS: Final = 0.001

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class _Schedule:
    """When each row is due, on the monotonic clock: by its distance from the first one."""

    def __init__(self, minutes: float, speed: float) -> None:
        self._length = minutes * 60.0
        self._speed = speed
        self._first_time: int | None = None
        self._began_at = 0.0

    @property
    def end(self) -> float:
        return self._began_at + self._scaled(self._length)

    def due(self, time: int, now: float) -> float | None:
        """Return when a row of that time (ms) is due, the first one now; None if that is past the minutes."""
        if self._first_time is None:
            self._first_time = time
            self._began_at = now
        offset = (time - self._first_time) / 1000.0
        return self._began_at + self._scaled(offset) if offset < self._length else None

    def put_off(self, seconds: float) -> None:
        """Move all that is to come."""
        self._began_at += seconds

    def _scaled(self, seconds: float) -> float:
        return seconds / self._speed if self._speed > 0.0 else 0.0


class StaticFeed:
    """Plays one symbol's file."""

    def __init__(
        self,
        pipeline: SymbolPipeline,
        path: Path | None,
        minutes: float,
        speed: float,
        *,
        is_only_symbol: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        open_recording: Callable[[Path, str], CsvRecording] = CsvRecording,
    ) -> None:
        """Prepare to play the first `minutes` of what is found at `path`, a file or a folder.

        Args:
            speed: how many times faster than recorded; 0 is as fast as it reads.
            is_only_symbol: a single file is then this symbol's, whatever its name.
            open_recording: opens a file, in a thread. Raises UnusableFile.
        """
        self._pipeline = pipeline
        self._path = path
        self._minutes = minutes
        self._speed = speed
        self._is_only_symbol = is_only_symbol
        self._monotonic = monotonic
        self._sleep = sleep
        self._open_recording = open_recording
        self._backoff = Backoff()
        self._recording: CsvRecording | None = None
        self._batch: Iterator[Row | BadRow] = iter(())
        self._schedule = _Schedule(minutes, speed)
        self._newest_at = 0.0
        self._expected = 0.0
        self._played = 0
        self._bad = 0
        self._turn_rows = 0
        self._turn_began_at = 0.0

    async def run(self) -> None:
        """Play the file; returns when it has ended, or can't be used."""
        symbol = self._pipeline.symbol_state.symbol
        try:
            recording = await _in_thread(self._open)
            log.info(
                "playing recorded data, not the market's",
                extra=fields(
                    symbol=symbol,
                    path=recording.path,
                    stream=recording.subscription.stream.name,
                    minutes=self._minutes,
                    speed=self._speed,
                ),
            )
            self._pipeline.begin((recording.subscription.stream,), measures_latency=False)
            why = await self._play_through(recording)
            self._pipeline.ended(f"{why}; {self._played} rows were played, {self._bad} were bad")
        except UnusableFile as error:
            log.error(
                "no data for the symbol: its gate stays closed", extra=fields(symbol=symbol, error=error)
            )
        finally:
            if self._recording is not None:
                self._recording.close()

    def _open(self) -> CsvRecording:
        symbol = self._pipeline.symbol_state.symbol
        path = find_file(self._path, symbol, self._is_only_symbol)
        self._recording = self._open_recording(path, symbol)
        return self._recording

    async def _play_through(self, recording: CsvRecording) -> str:
        """Play to the end, whatever bugs are met on the way. Returns why it ended."""
        good_since = self._monotonic()
        while True:
            try:
                return await self._play(recording)
            except Exception:
                # A bug in handling this symbol must not take the others down, nor hide.
                self._pipeline.failed()
                failed_at = self._monotonic()
                self._backoff.connection_ended(failed_at - good_since)
                await self._sleep(self._backoff.delay(chance=1.0))  # nobody else is asked: no need to spread
                good_since = self._monotonic()
                self._schedule.put_off(good_since - failed_at)
                self._pipeline.rebuilt()

    async def _play(self, recording: CsvRecording) -> str:
        """Play on from where it is. Returns why it ended."""
        while True:
            for row in self._batch:
                if isinstance(row, BadRow):
                    self._refuse(row, recording)
                    await self._give_turn()
                    continue
                due = self._schedule.due(row.time, self._monotonic())
                if due is None:
                    await self._wait_until(self._schedule.end)
                    return f"the first {self._minutes:g} minutes of {recording.path} are over"
                await self._wait_until(due)
                self._play_row(row)
            batch = await _in_thread(recording.read, BATCH_ROWS)
            if not batch:
                return _why_file_ended(recording)
            self._batch = iter(batch)
            self._begin_turn()  # all else had its turn while the batch was read

    def _play_row(self, row: Row) -> None:
        self._newest_at = self._monotonic()
        self._played += 1
        stream_state = self._pipeline.symbol_state.streams[row.frame.stream]
        self._pipeline.accept(stream_state, row.frame.data, row.raw, self._newest_at)

    def _refuse(self, row: BadRow, recording: CsvRecording) -> None:
        self._bad += 1
        error = DecodeError(row.reason, str(row), recording.subscription.wire_name)
        self._pipeline.reject(error, row.line, self._monotonic())

    async def _wait_until(self, due: float) -> None:
        left = due - self._monotonic()
        if left <= 0.0:
            self._expect(0.0)
            await self._give_turn()
            return
        self._expect(due - self._newest_at)
        while left > 0.0:
            await self._sleep(left)
            left = due - self._monotonic()
        self._begin_turn()

    def _expect(self, seconds: float) -> None:
        if abs(seconds - self._expected) >= _EXPECTATION_STEP_SECONDS:
            self._expected = seconds
            self._pipeline.expect_next(seconds)

    async def _give_turn(self) -> None:
        self._turn_rows += 1
        if self._turn_rows >= TURN_ROWS or self._monotonic() - self._turn_began_at >= TURN_SECONDS:
            await self._sleep(0.0)
            self._begin_turn()

    def _begin_turn(self) -> None:
        self._turn_rows = 0
        self._turn_began_at = self._monotonic()


def _why_file_ended(recording: CsvRecording) -> str:
    if recording.damage is not None:
        return f"{recording.path} can't be read any further: {recording.damage}"
    return f"{recording.path} has ended"


async def _in_thread(
    work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Do blocking work in a thread; a cancellation waits for it, so that its file can be closed after."""
    done = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.gather(done, return_exceptions=True)
        raise
