"""Requests to the venue's REST side: one pause holds for all who would ask, and all who would connect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from feedd.core.budgets import ConnectBudget
from feedd.errors import UnavailableError
from feedd.exchange import Exchange, ExchangeSettings
from feedd.sources.rest.client import RestClient
from feedd.sources.rest.pollers import VenueStatus, VenueTime
from tests.running import SYMBOLS


class Hands:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def venue() -> AsyncIterator[tuple[Exchange, RestClient, ConnectBudget, Hands]]:
    budget, clock = ConnectBudget(240), Hands()
    async with Exchange(ExchangeSettings(symbols=SYMBOLS)) as exchange, aiohttp.ClientSession() as http:
        yield exchange, RestClient(http, budget, clock), budget, clock


@pytest.mark.parametrize(
    ("status", "asked", "pause"),
    [(429, {"retry_after": 7}, 7.0), (418, {}, 120.0), (429, {}, 60.0), (503, {"retry_after": 3}, 3.0)],
)
async def test_pause_that_one_is_asked_for_holds_for_all_until_it_is_over(
    status: int, asked: dict[str, int], pause: float
) -> None:
    async with venue() as (exchange, http, budget, clock):
        fault = exchange.set_fault("rest_http", status=status, **asked)  # type: ignore[arg-type]  # what the fault takes
        with pytest.raises(UnavailableError):
            await VenueTime(http, exchange.rest_url + "/api/v3/time").sample()
        assert budget.hold_left(clock.now) == pause
        exchange.clear_fault(fault)

        clock.now += pause - 1.0
        before = sum(exchange.stats.requests.values())
        with pytest.raises(UnavailableError, match="has asked for a pause; 1 s of it are left"):
            await VenueStatus(http, exchange.rest_url + "/api/v3/exchangeInfo").statuses(SYMBOLS)
        assert sum(exchange.stats.requests.values()) == before
        assert budget.acquire(clock.now) > 0.0

        clock.now += 1.0
        assert await VenueStatus(http, exchange.rest_url + "/api/v3/exchangeInfo").statuses(
            SYMBOLS
        ) == dict.fromkeys(SYMBOLS, "TRADING")


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_other_refusals_hold_nobody_back(status: int) -> None:
    async with venue() as (exchange, http, budget, clock):
        exchange.set_fault("rest_http", status=status)
        async with http.get(f"{exchange.rest_url}/api/v3/time") as response:
            assert response.status == status
        assert budget.hold_left(clock.now) == 0.0
