"""The observer, on a daemon that says what the test has it say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import pytest

from feedd.drill.gate_change import ObservedChange
from feedd.drill.observer import WINDOW_MESSAGES, Observer
from feedd.drill.timing import DrillTiming
from feedd.errors import UnavailableError
from feedd.model import Reason
from tests.drill.fake_daemon import SYMBOL, FakeDaemon, fake_daemon

TIMING = DrillTiming(poll=0.01, pulse=0.01)
AT = "2027-01-15T08:00:00.250+00:00"


@dataclass(frozen=True, slots=True)
class Observed:
    """An observer that runs, and the daemon that it observes."""

    daemon: FakeDaemon
    observer: Observer
    running: asyncio.Task[None]

    async def until_reasons(self, *reasons: Reason) -> None:
        await self.observer.wait_until(lambda: self.observer.reasons(SYMBOL) == reasons)


@asynccontextmanager
async def observing() -> AsyncIterator[Observed]:
    async with fake_daemon() as daemon, aiohttp.ClientSession() as http, asyncio.timeout(10):
        observer = Observer(http, daemon.url, TIMING)
        running = asyncio.create_task(observer.run())
        observed = Observed(daemon, observer, running)
        try:
            await observed.until_reasons(Reason.STARTING)
            yield observed
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError, UnavailableError):
                await running


def counts(messages: int, invalid: int) -> str:
    return (
        f'feedd_messages_total{{symbol="{SYMBOL}",stream="trade"}} {messages}\n'
        f'feedd_invalid_messages_total{{symbol="{SYMBOL}",reason="bad_json"}} {invalid}\n'
    )


# --- gates


async def test_gate_is_as_the_last_event_said() -> None:
    async with observing() as observed:
        assert not observed.observer.is_open(SYMBOL)
        await observed.daemon.send_change(at=AT)
        await observed.until_reasons()
        assert observed.observer.is_open(SYMBOL)
        await observed.daemon.send_change("stale", added=("stale",), at=AT)
        await observed.until_reasons(Reason.STALE)
        assert not observed.observer.is_open(SYMBOL)


async def test_gate_that_no_event_was_about_is_not_open() -> None:
    async with observing() as observed:
        assert not observed.observer.is_open("ETHUSDT")
        assert observed.observer.reasons("ETHUSDT") == ()


async def test_change_is_handed_on_with_the_daemons_time_and_its_own() -> None:
    changes: list[ObservedChange] = []
    async with observing() as observed:
        observed.observer.on_change(changes.append)
        began = time.monotonic()
        await observed.daemon.send_change("stale", "schema", added=("schema",), at=AT)
        await observed.until_reasons(Reason.STALE, Reason.SCHEMA)
    [change] = changes
    assert began <= change.at <= time.monotonic()
    assert (change.reported_at, change.symbol) == (1_800_000_000.25, SYMBOL)
    assert (change.added, change.reasons) == ((Reason.SCHEMA,), (Reason.STALE, Reason.SCHEMA))
    assert change.halted


async def test_state_and_heartbeat_are_no_changes() -> None:
    changes: list[ObservedChange] = []
    async with observing() as observed:
        observed.observer.on_change(changes.append)
        await observed.daemon.send(type="heartbeat")
        await observed.daemon.send(type="state", symbols={SYMBOL: {"reasons": []}})
        await observed.until_reasons()
    assert changes == []


# --- metrics and status


async def test_snapshot_is_of_what_was_asked_for_after_a_refresh() -> None:
    async with observing() as observed:
        observed.daemon.metrics = counts(messages=7, invalid=0)
        observed.daemon.status["symbols"][SYMBOL]["connections"] = 2
        began = time.monotonic()
        await observed.observer.refresh()
        assert observed.observer.polled_at > began
        assert observed.observer.snapshot(SYMBOL).total("feedd_messages_total") == 7
        assert observed.observer.messages(SYMBOL) == 7
        assert observed.observer.connections(SYMBOL) == 2


async def test_symbol_is_clean_once_its_bad_message_has_left_the_window() -> None:
    async with observing() as observed:
        observer, daemon = observed.observer, observed.daemon
        assert observer.is_clean(SYMBOL)
        for messages, invalid, is_clean in (
            (50, 1, False),
            (50 + WINDOW_MESSAGES - 1, 1, False),
            (50 + WINDOW_MESSAGES, 1, True),
            (50 + WINDOW_MESSAGES, 2, False),
        ):
            daemon.metrics = counts(messages, invalid)
            await observer.refresh()
            assert observer.is_clean(SYMBOL) is is_clean


async def test_longest_backoff_is_that_of_the_time_asked_about() -> None:
    async with observing() as observed:
        observer, began = observed.observer, time.monotonic()
        for pause in ("8", "2"):
            observed.daemon.metrics = f'feedd_connect_backoff_seconds{{symbol="{SYMBOL}"}} {pause}\n'
            await observer.refresh()
        assert observer.backoff(SYMBOL, began) == 8
        assert observer.backoff(SYMBOL, observer.polled_at) == 2
        assert observer.backoff(SYMBOL, time.monotonic() + 1) == 0
        assert observer.backoff("ETHUSDT", began) == 0


# --- this process


async def test_stall_of_the_event_loop_is_measured() -> None:
    async with observing() as observed:
        began = time.monotonic()
        time.sleep(0.2)  # noqa: ASYNC251  # the stall
        stalled_until = time.monotonic()
        assert await observed.observer.wait_until(
            lambda: observed.observer.longest_stall(began, float("inf")) > 0.1
        )
        assert observed.observer.longest_stall(stalled_until + 60, float("inf")) == 0


# --- waiting


async def test_condition_that_does_not_come_true_in_time_is_false() -> None:
    async with observing() as observed:
        began = time.monotonic()
        assert not await observed.observer.wait_until(lambda: False, lambda: began + 0.1)
        assert time.monotonic() >= began + 0.1


async def test_deadline_may_move_while_it_is_waited_for() -> None:
    async with observing() as observed:
        asked: list[float] = []

        def moving() -> float:
            asked.append(time.monotonic())
            return asked[0] + (0.05 if len(asked) < 3 else 0.2)

        assert not await observed.observer.wait_until(lambda: False, moving)
        assert time.monotonic() - asked[0] >= 0.2


# --- a daemon that is gone


async def test_daemon_that_hangs_up_is_gone() -> None:
    async with observing() as observed:
        await observed.daemon.hang_up()
        with pytest.raises(UnavailableError, match=f"the daemon at {observed.daemon.url} is gone"):
            await observed.running


async def test_status_of_no_daemon_is_unavailable() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(UnavailableError, match=r"no daemon answers at http://127\.0\.0\.1:9"):
            await Observer(http, "http://127.0.0.1:9").status()


async def test_status_that_is_no_json_is_unavailable() -> None:
    async with fake_daemon() as daemon, aiohttp.ClientSession() as http:
        with pytest.raises(UnavailableError, match="no daemon answers"):
            await Observer(http, f"{daemon.url}/metrics?").status()
