"""The venue's clock, asked of the embedded exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from feedd.core.budgets import ConnectBudget
from feedd.core.venue_clock import ClockSample, VenueClock
from feedd.errors import UnavailableError
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Reason
from feedd.sources.rest.client import RestClient
from feedd.sources.rest.pollers import (
    SAMPLES,
    UNKNOWN,
    ClockPoller,
    ClockTiming,
    StatusPoller,
    VenueStatus,
    VenueTime,
)
from feedd.venues.binance.spot.tables import SPOT
from tests.running import SYMBOLS, running, settings_for


def asking(http: aiohttp.ClientSession) -> RestClient:
    return RestClient(http, ConnectBudget(240))


@asynccontextmanager
async def venue_time() -> AsyncIterator[tuple[Exchange, VenueTime]]:
    async with Exchange(ExchangeSettings()) as exchange, aiohttp.ClientSession() as http:
        yield exchange, VenueTime(asking(http), exchange.rest_url + SPOT.rest.time)


def clock() -> VenueClock:
    return VenueClock(time.monotonic(), time.time())


async def test_sample_brackets_the_venue_s_time_to_the_microsecond() -> None:
    async with venue_time() as (_, venue):
        before = time.time()
        sample = await venue.sample()
        assert before - 1e-5 <= sample.venue_time <= time.time() + 1e-5
        assert 0.0 < sample.round_trip < 1.0


async def test_skewed_venue_is_measured_within_the_stated_error() -> None:
    async with venue_time() as (exchange, venue):
        exchange.set_fault("clock_skew", ms=4000)
        estimate = clock()
        await ClockPoller(venue, estimate).sync()
        offset = estimate.offset_from_wall(time.monotonic(), time.time())
        assert offset == pytest.approx(4.0, abs=estimate.error_at(time.monotonic()) + 0.001)
        assert exchange.stats.requests["time"] == SAMPLES


@pytest.mark.parametrize("status", [418, 429, 503])
async def test_unusable_answer_is_an_error_that_names_the_address(status: int) -> None:
    async with venue_time() as (exchange, venue):
        exchange.set_fault("rest_http", status=status)
        with pytest.raises(UnavailableError, match=f"{exchange.rest_url}/api/v3/time"):
            await venue.sample()


@pytest.mark.parametrize("year", [1970, 2000, 2290])
async def test_venue_that_tells_no_time_is_an_error(year: int) -> None:
    async with venue_time() as (exchange, venue):
        seconds = (year - 1970) * 31_556_952 - time.time()
        exchange.set_fault("clock_skew", ms=int(seconds * 1000))
        with pytest.raises(UnavailableError, match="expected a time from 2001 to 2286"):
            await venue.sample()


class Spoilt(VenueTime):
    """A venue to which something happens after so many answers."""

    def __init__(self, http: aiohttp.ClientSession, exchange: Exchange) -> None:
        super().__init__(asking(http), exchange.rest_url + SPOT.rest.time)
        self.answers = 0
        self.spoil: dict[int, Callable[[], object]] = {}

    async def sample(self) -> ClockSample:
        sample = await super().sample()
        self.answers += 1
        self.spoil.get(self.answers, lambda: None)()
        return sample


@asynccontextmanager
async def measured() -> AsyncIterator[tuple[Exchange, Spoilt, VenueClock, ClockPoller]]:
    """A keeper whose estimate is a few moments old."""
    async with Exchange(ExchangeSettings()) as exchange, aiohttp.ClientSession() as http:
        venue, estimate = Spoilt(http, exchange), clock()
        poller = ClockPoller(venue, estimate)
        await poller.sync()
        yield exchange, venue, estimate, poller


def ahead(estimate: VenueClock) -> float:
    return estimate.offset_from_wall(time.monotonic(), time.time())


async def test_measurement_that_breaks_off_counts_for_what_has_come() -> None:
    async with measured() as (exchange, venue, estimate, poller):
        synced_at = estimate.synced_at
        venue.spoil[SAMPLES + 2] = lambda: exchange.set_fault("rest_http", status=429)
        await poller.sync()
        assert venue.answers == SAMPLES + 2
        assert estimate.synced_at != synced_at


@pytest.mark.parametrize(
    ("fault", "arguments"),
    [("rest_http", {"status": 418}), ("clock_skew", {"ms": -1_700_000_000_000})],
)
async def test_venue_that_fails_or_talks_nonsense_leaves_the_estimate(
    fault: str, arguments: dict[str, Any]
) -> None:
    async with measured() as (exchange, _, estimate, poller):
        before = (estimate.offset, estimate.synced_at)
        exchange.set_fault(fault, **arguments)
        with pytest.raises(UnavailableError):
            await poller.sync()
        assert (estimate.offset, estimate.synced_at) == before


async def test_venue_whose_clock_was_set_is_followed_at_once() -> None:
    async with measured() as (exchange, venue, estimate, poller):
        exchange.set_fault("clock_skew", ms=-3000)
        await poller.sync()
        assert ahead(estimate) == pytest.approx(-3.0, abs=0.01)
        assert venue.answers == 3 * SAMPLES


async def test_venue_that_contradicts_itself_leaves_the_estimate(caplog: pytest.LogCaptureFixture) -> None:
    async with measured() as (exchange, venue, estimate, poller):
        exchange.set_fault("clock_skew", ms=5000)
        venue.spoil[2 * SAMPLES] = lambda: exchange.set_fault("clock_skew", ms=9000)
        await poller.sync()
        assert ahead(estimate) == pytest.approx(0.0, abs=0.01)
        assert [record.message for record in caplog.records] == [
            "the venue's time contradicts itself; latency is taken against the last estimate"
        ]


async def test_absent_venue_is_an_error() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
            await VenueTime(asking(http), "http://127.0.0.1:9" + SPOT.rest.time).sample()


async def test_keeper_asks_again_after_an_outage_and_when_in_doubt() -> None:
    async with venue_time() as (exchange, venue):
        fault = exchange.set_fault("rest_http", status=500)
        estimate = clock()
        poller = ClockPoller(venue, estimate, timing=ClockTiming(every=15.0, at_most_every=0.01))
        task = asyncio.create_task(poller.run())
        await exchange.stats.wait_until(lambda: exchange.stats.requests["time"] > 0, 5.0)
        assert estimate.synced_at is None
        exchange.clear_fault(fault)
        await exchange.stats.wait_until(lambda: exchange.stats.requests["time"] > SAMPLES, 5.0)
        exchange.set_fault("clock_skew", ms=-2000)
        poller.doubt()
        async with asyncio.timeout(5.0):
            while ahead(estimate) > -1.9:  # noqa: ASYNC110  # a number
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_unknown_symbol_is_told_and_does_not_hide_the_others() -> None:
    told: dict[str, str] = {}
    async with Exchange(ExchangeSettings(symbols=SYMBOLS)) as exchange, aiohttp.ClientSession() as http:
        exchange.set_fault("status", symbol=SYMBOLS[1], status="CANCEL_ONLY")
        symbols = (SYMBOLS[0], "GONEUSDT", SYMBOLS[1])
        await StatusPoller(
            VenueStatus(asking(http), exchange.rest_url + SPOT.rest.exchange_info),
            lambda: symbols,
            told.__setitem__,
        ).ask()
    assert told == {SYMBOLS[0]: "TRADING", "GONEUSDT": UNKNOWN, SYMBOLS[1]: "CANCEL_ONLY"}


async def test_a_thousand_symbols_are_asked_in_portions() -> None:
    told: dict[str, str] = {}
    symbols = tuple(f"SYMBOL{number}USDT" for number in range(1000))
    async with Exchange(ExchangeSettings(symbols=symbols)) as exchange, aiohttp.ClientSession() as http:
        exchange.set_fault("status", symbol=symbols[777], status="BREAK")
        await StatusPoller(
            VenueStatus(asking(http), exchange.rest_url + SPOT.rest.exchange_info),
            lambda: symbols,
            told.__setitem__,
        ).ask()
        assert exchange.stats.requests["exchangeInfo"] == 10
    assert told == dict.fromkeys(symbols, "TRADING") | {symbols[777]: "BREAK"}


async def test_silent_venue_changes_no_status() -> None:
    told: dict[str, str] = {}
    async with aiohttp.ClientSession() as http:
        status = VenueStatus(asking(http), "http://127.0.0.1:9" + SPOT.rest.exchange_info)
        await StatusPoller(status, lambda: SYMBOLS, told.__setitem__).ask()
    assert told == {}


@pytest.mark.parametrize("status", ["BREAK", "HALT", "CANCEL_ONLY", "SOMETHING_NEW"])
async def test_symbol_that_is_not_trading_halts_until_it_is(status: str) -> None:
    async with (
        Exchange(ExchangeSettings(symbols=SYMBOLS, rate=20.0)) as exchange,
        running(settings_for(exchange, FEEDD_EXCHANGE_STATUS_SECONDS="0.1")) as feedd,
    ):
        await feedd.until_open()
        exchange.set_fault("status", symbol=SYMBOLS[0], status=status)
        await feedd.until(lambda _: Reason.EXCHANGE in feedd.symbol_state().gate.active)
        assert not feedd.symbol_state(SYMBOLS[1]).gate.halted
        exchange.clear_faults()
        await feedd.until_open()


async def test_symbol_that_is_not_trading_at_the_start_never_opens() -> None:
    async with Exchange(ExchangeSettings(symbols=SYMBOLS, rate=20.0)) as exchange:
        exchange.set_fault("status", symbol=SYMBOLS[0], status="HALT")
        async with running(settings_for(exchange, FEEDD_SYMBOLS=f"{','.join(SYMBOLS)},GONEUSDT")) as feedd:
            await feedd.until_open(SYMBOLS[1])
            await feedd.until(lambda _: feedd.symbol_state().gate.reasons == (Reason.EXCHANGE,))
            await feedd.until(lambda _: Reason.EXCHANGE in feedd.symbol_state("GONEUSDT").gate.active)
