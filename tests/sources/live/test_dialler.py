"""When a feed may dial, and what it learns of each attempt: budget, backoff, pauses and outages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from feedd.core.backoff import HEALTHY_AFTER_SECONDS
from feedd.core.budgets import OUTAGE_AFTER, ConnectBudget
from feedd.model import ConnectFailure
from feedd.sources.live.connection import ConnectFailed, ConnectionTiming
from feedd.sources.live.dialler import BUDGET_STEP_SECONDS, DialCalls, Dialler
from tests.support.pipelines import said
from tests.support.timers import Timers

URLS = ONE, TWO, THREE = ("wss://one", "wss://two", "wss://three")
TIMING = ConnectionTiming(silence=5.0, request_pause=0.0, handshake=2.0)
BY_RULE = pytest.mark.parametrize(
    "failure", [ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451]
)
OUTAGE = "the exchange is out for all: one attempt a second until it delivers"


class Bench:
    """A dialler, what it was told, and what it showed."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        *urls: str,
        budget: ConnectBudget | None = None,
        label: str = "BTCUSDT",
    ) -> None:
        self.now = 1000.0
        self.turn = 0.0
        self.shown: list[float] = []
        self.budget = ConnectBudget(100) if budget is None else budget
        self._has_shown = asyncio.Event()
        calls = DialCalls(lambda: self.turn, self._show)
        self.dialler = Dialler(http, urls or URLS, label, self.budget, TIMING, calls, lambda: self.now)

    def _show(self, seconds: float) -> None:
        self.shown.append(seconds)
        self._has_shown.set()

    async def until_shown(self, count: int) -> None:
        """Wait until it has shown so many delays."""
        async with asyncio.timeout(5.0):
            while len(self.shown) < count:
                self._has_shown.clear()
                await self._has_shown.wait()

    def fail(self, failure: ConnectFailure = ConnectFailure.REFUSED, asked: float | None = None) -> float:
        """Note a failed attempt; returns after how long the next one is due."""
        delay = self.dialler.attempt_failed(ConnectFailed(failure, "so it is", asked))
        assert self.dialler.due_at == self.now + delay
        return delay


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def bench(http: aiohttp.ClientSession) -> Bench:
    return Bench(http)


def yes() -> bool:
    return True


def no() -> bool:
    return False


# --- addresses


async def test_first_address_is_tried_first_and_the_next_one_after_each_failure(bench: Bench) -> None:
    tried = []
    for _ in range(5):
        tried.append(bench.dialler.next_url(()))
        bench.fail()
    assert tried == [ONE, TWO, THREE, ONE, TWO]


async def test_address_that_no_connection_uses_goes_first(bench: Bench) -> None:
    assert bench.dialler.next_url({ONE}) == TWO
    bench.fail()
    assert bench.dialler.next_url({ONE}) == THREE
    bench.fail()
    assert bench.dialler.next_url({ONE}) == TWO
    assert bench.dialler.next_url({TWO, THREE}) == ONE


async def test_only_address_is_used_twice(http: aiohttp.ClientSession) -> None:
    bench = Bench(http, ONE)
    assert bench.dialler.next_url({ONE}) == ONE
    bench.fail()
    assert bench.dialler.next_url({ONE}) == ONE


# --- the budget


async def test_attempt_within_the_budget_is_made_at_once(bench: Bench) -> None:
    assert await bench.dialler.has_budget(yes, yes)
    assert (bench.budget.remaining(bench.now), bench.shown) == (99, [])


async def test_attempt_that_nobody_wants_any_more_costs_nothing(bench: Bench) -> None:
    assert not await bench.dialler.has_budget(no, yes)
    assert bench.budget.remaining(bench.now) == 100


async def test_attempt_waits_until_the_budget_has_room_and_says_for_how_long(
    http: aiohttp.ClientSession,
) -> None:
    bench = Bench(http, budget=ConnectBudget(4))
    for _ in range(4):
        bench.budget.acquire(bench.now)
    waiting = asyncio.create_task(bench.dialler.has_budget(yes, yes))
    await bench.until_shown(1)
    assert not waiting.done()
    bench.now += 300.0
    assert bench.dialler.hurry(0.0), "which ends the step that it waits in"
    assert await waiting
    assert bench.shown == [300.0, 0.0], "nothing is put off any more"


async def test_wait_for_the_budget_ends_when_the_attempt_is_not_wanted_any_more(
    http: aiohttp.ClientSession,
) -> None:
    bench = Bench(http, budget=ConnectBudget(4))
    bench.budget.hold(300.0, bench.now)
    wanted = [True]
    waiting = asyncio.create_task(bench.dialler.has_budget(lambda: wanted[0], yes))
    await bench.until_shown(1)
    wanted[0] = False
    bench.dialler.hurry(0.0)
    assert not await waiting
    assert bench.budget.remaining(bench.now + 300.0) == 4


async def test_what_is_planned_leaves_the_reserve_alone_and_what_is_urgent_does_not(
    http: aiohttp.ClientSession,
) -> None:
    bench = Bench(http, budget=ConnectBudget(8))
    for _ in range(6):
        assert await bench.dialler.has_budget(yes, no)
    waiting = asyncio.create_task(bench.dialler.has_budget(yes, no))
    await bench.until_shown(1)
    bench.now += 200.0  # the reserve is given out evenly over the five minutes
    assert await bench.dialler.has_budget(yes, yes)
    bench.dialler.hurry(0.0)
    await bench.until_shown(3)
    assert bench.shown == [300.0, 0.0, 100.0], "what is planned waits until it is whole again"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_long_wait_is_made_in_steps_in_which_those_that_wait_are_spread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    call_at, waits = loop.call_at, []

    def note(when: float, *call: Any, **context: Any) -> asyncio.TimerHandle:
        waits.append(when - loop.time())
        return call_at(when, *call, **context)

    bench.budget.hold(300.0, bench.now)
    bench.turn = 0.5
    monkeypatch.setattr(loop, "call_at", note)
    waiting = asyncio.create_task(bench.dialler.has_budget(yes, yes))
    await bench.until_shown(1)
    assert waits[-1] == pytest.approx(BUDGET_STEP_SECONDS + 0.5 * bench.budget.spread, abs=0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_wait_ends_by_itself_when_it_is_over(http: aiohttp.ClientSession) -> None:
    bench = Bench(http)
    bench.budget.hold(0.05, bench.now)
    waiting = asyncio.create_task(bench.dialler.has_budget(yes, yes))
    await bench.until_shown(1)
    bench.now += 0.05
    assert await asyncio.wait_for(waiting, 5.0)
    assert bench.shown == [pytest.approx(0.05), 0.0]


# --- failures


async def test_delay_grows_with_every_failure_up_to_its_longest(bench: Bench) -> None:
    assert [bench.fail() for _ in range(9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    bench.turn = 1.0
    assert bench.fail() == 30.0


@pytest.mark.parametrize(
    "failure", [ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451]
)
async def test_refusal_by_rule_is_not_tried_again_within_a_minute(
    bench: Bench, failure: ConnectFailure
) -> None:
    assert bench.fail(failure) == 60.0
    bench.turn = 1.0
    assert bench.fail(failure) == 90.0
    assert bench.budget.hold_left(bench.now) == 0.0, "it is about this feed alone"


@pytest.mark.parametrize(
    ("failure", "asked", "held"),
    [
        (ConnectFailure.HTTP_429, None, 60.0),
        (ConnectFailure.HTTP_418, None, 120.0),
        (ConnectFailure.HTTP_429, 7.0, 7.0),
        (ConnectFailure.HTTP_418, 300.0, 300.0),
        (ConnectFailure.HTTP_5XX, 20.0, 20.0),
    ],
)
async def test_pause_that_the_exchange_asks_for_holds_everybody_back(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    failure: ConnectFailure,
    asked: float | None,
    held: float,
) -> None:
    delay = bench.fail(failure, asked)
    assert bench.budget.hold_left(bench.now) == held
    assert bench.budget.acquire(bench.now) == held
    assert delay >= (asked or 0.0)
    pauses = said(caplog, "the exchange asks for a pause: nobody connects for now")
    assert pauses == [{"reason": failure, "seconds": held}]


async def test_other_failures_hold_nobody_back(bench: Bench) -> None:
    for failure in (ConnectFailure.REFUSED, ConnectFailure.HTTP_5XX, ConnectFailure.TIMEOUT):
        bench.fail(failure)
    assert bench.budget.acquire(bench.now) == 0.0


# --- delays fall back


async def test_delay_falls_back_only_after_a_connection_that_delivered_for_long_enough(bench: Bench) -> None:
    for _ in range(4):
        bench.fail()
    bench.dialler.connection_ended(HEALTHY_AFTER_SECONDS - 0.1)
    assert bench.fail() == 4.0
    bench.dialler.connection_ended(HEALTHY_AFTER_SECONDS)
    assert bench.fail() == 0.25


async def test_delivery_alone_does_not_make_delays_fall_back(bench: Bench) -> None:
    for _ in range(4):
        bench.fail()
    bench.dialler.note_delivery()
    assert bench.fail() == 4.0


async def test_next_attempt_is_put_off_when_the_last_connection_has_ended(bench: Bench) -> None:
    bench.dialler.all_ended()
    bench.dialler.all_ended()
    assert bench.shown == [0.25, 0.5]
    assert bench.dialler.due_at == bench.now + 0.5


async def test_feed_is_let_go_for_longer_after_every_bug(bench: Bench) -> None:
    assert [bench.dialler.delay_after_bug(0.0) for _ in range(3)] == [0.25, 0.5, 1.0]
    assert bench.dialler.due_at == 0.0, "which is no delay of the next attempt"


# --- hurry


async def test_hurry_brings_the_next_attempt_forward_but_never_puts_it_off(bench: Bench) -> None:
    for _ in range(9):
        bench.fail()
    bench.turn = 0.5
    assert bench.dialler.hurry(2.0)
    assert bench.dialler.due_at == bench.now + 1.0
    assert bench.dialler.hurry(60.0)
    assert bench.dialler.due_at == bench.now + 1.0


async def test_hurry_wakes_whoever_waits_for_the_budget_in_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.budget.hold(300.0, bench.now)
    waiting = asyncio.create_task(bench.dialler.has_budget(yes, yes))
    await bench.until_shown(1)
    timers = Timers(monkeypatch)
    bench.turn = 0.5
    bench.dialler.hurry(2.0)
    (wake,) = timers.armed
    assert wake.delay == 1.0
    assert bench.shown == [300.0]
    wake.fire()
    await bench.until_shown(3)
    assert bench.shown == [300.0, 0.0, 300.0], "it is asked anew, and the exchange's pause stands"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "failure", [ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451]
)
async def test_hurry_is_refused_where_the_exchange_refuses_by_rule(
    bench: Bench, failure: ConnectFailure
) -> None:
    bench.fail(failure)
    due_at = bench.dialler.due_at
    assert not bench.dialler.hurry(0.0)
    assert bench.dialler.due_at == due_at
    bench.fail()
    assert bench.dialler.hurry(0.0), "until it fails otherwise"
    assert bench.dialler.due_at == bench.now


# --- outages


def diallers(http: aiohttp.ClientSession, budget: ConnectBudget, count: int) -> list[Bench]:
    return [Bench(http, budget=budget, label=f"S{number}USDT") for number in range(count)]


async def test_exchange_is_out_for_all_once_enough_feeds_have_failed(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    budget = ConnectBudget(100)
    benches = diallers(http, budget, OUTAGE_AFTER + 1)
    for bench in benches[: OUTAGE_AFTER - 1]:
        bench.fail()
        bench.fail()
    last, healthy = benches[OUTAGE_AFTER - 1 :]
    assert said(caplog, OUTAGE) == []
    before = healthy.dialler.trouble_since
    last.now += 3.0
    last.fail()
    assert budget.outage_since == last.now
    assert (before, healthy.dialler.trouble_since) == (None, last.now), "in trouble though it has not failed"
    healthy.fail()
    assert [record.levelno for record in caplog.records if record.getMessage() == OUTAGE] == [logging.ERROR]


async def test_delivery_ends_an_outage_and_says_over_how_long_everyone_is_to_return(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    budget = ConnectBudget(100)
    benches = diallers(http, budget, OUTAGE_AFTER)
    for bench in benches:
        bench.fail()
    assert benches[0].dialler.note_delivery() == pytest.approx(0.01 * OUTAGE_AFTER)
    assert (budget.outage_since, benches[0].dialler.trouble_since) == (None, None)
    assert said(caplog, "the exchange delivers again: everyone connects") == [{"symbol": "S0USDT"}]
    assert benches[1].dialler.note_delivery() is None, "it ends once"


async def test_delivery_without_an_outage_is_no_news_and_ends_the_feeds_own_trouble(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.fail()
    bench.now += 5.0
    bench.fail()
    since = bench.dialler.trouble_since
    assert bench.dialler.note_delivery() is None
    assert (since, bench.dialler.trouble_since) == (1000.0, None), "since the first failure"
    assert caplog.records == []


@pytest.mark.parametrize(
    "failure", [ConnectFailure.HTTP_403, ConnectFailure.HTTP_404, ConnectFailure.HTTP_451]
)
async def test_refusal_by_rule_makes_no_outage(http: aiohttp.ClientSession, failure: ConnectFailure) -> None:
    budget = ConnectBudget(100)
    for bench in diallers(http, budget, 2 * OUTAGE_AFTER):
        bench.fail(failure)
        assert bench.dialler.trouble_since is None
    assert budget.outage_since is None


async def test_one_feed_that_fails_again_and_again_makes_no_outage(bench: Bench) -> None:
    for _ in range(10 * OUTAGE_AFTER):
        bench.dialler.note_failing()
    assert bench.budget.outage_since is None


# --- the attempt itself


@asynccontextmanager
async def listening(status: int | None = None) -> AsyncIterator[str]:
    """Listen for WebSockets, or answer every handshake with a status. Yields the address."""

    async def serve(request: web.Request) -> web.StreamResponse:
        if status is not None:
            return web.Response(status=status, headers={"Retry-After": "7"})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket

    application = web.Application()
    application.router.add_get("/", serve)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_attempt_that_succeeds_begins_with_the_first_address_again(bench: Bench) -> None:
    bench.fail()
    async with listening() as url:
        socket = await bench.dialler.connect(url)
        assert bench.dialler.next_url(()) == ONE
        await socket.close()
    assert bench.fail() == 0.5, "a handshake alone is no reason to be quicker"


async def test_attempt_that_fails_says_how(bench: Bench) -> None:
    async with listening(status=429) as url:
        with pytest.raises(ConnectFailed) as failed:
            await bench.dialler.connect(url)
    assert (failed.value.failure, failed.value.retry_after) == (ConnectFailure.HTTP_429, 7.0)
    assert bench.dialler.next_url(()) == ONE, "whoever asked for it notes it"
