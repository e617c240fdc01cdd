"""The fault board, on a real exchange."""

from __future__ import annotations

import time

import aiohttp
import pytest

from feedd.drill.case import fault
from feedd.drill.durations import Span
from feedd.drill.fault_board_client import FORGOTTEN_SECONDS, BoardError, find_fault_board
from feedd.errors import UnavailableError
from feedd.exchange import Exchange
from tests.drill.test_durations import LIMITS

SYMBOL = "BTCUSDT"


async def test_fault_lasts_until_it_is_taken_back() -> None:
    async with Exchange() as exchange, aiohttp.ClientSession() as http:
        board = await find_fault_board(http, exchange.rest_url)
        posted = await board.post(fault("mute"), SYMBOL, "trade", LIMITS)
        [active] = exchange.faults.active()
        assert (active.symbol, active.stream) == (SYMBOL, "trade")
        assert 0 < active.until - time.monotonic() <= FORGOTTEN_SECONDS
        assert (posted.is_lasting, posted.ends_at) == (True, None)
        active.hit = 7
        assert await board.hits([posted]) == 7
        assert await board.clear(posted)
        assert exchange.faults.active() == ()
        assert not await board.clear(posted)


async def test_fault_with_a_time_ends_by_itself() -> None:
    async with Exchange() as exchange, aiohttp.ClientSession() as http:
        board = await find_fault_board(http, exchange.rest_url)
        began = time.monotonic()
        posted = await board.post(fault("latency_spike", seconds=Span(latency=2)), None, None, LIMITS)
        assert posted.ends_at is not None
        assert began + 2.0 <= posted.ends_at <= time.monotonic() + 2.0
        assert not posted.is_lasting


async def test_fault_that_happens_at_once_is_over() -> None:
    async with Exchange() as exchange, aiohttp.ClientSession() as http:
        board = await find_fault_board(http, exchange.rest_url)
        posted = await board.post(fault("reset"), SYMBOL, None, LIMITS)
        assert (posted.is_lasting, posted.ends_at) == (False, None)


async def test_fault_that_the_board_does_not_take_is_named() -> None:
    async with Exchange() as exchange, aiohttp.ClientSession() as http:
        board = await find_fault_board(http, exchange.rest_url)
        with pytest.raises(BoardError, match=r"close \(code=7\): code: expected a whole number"):
            await board.post(fault("close", code=7), SYMBOL, None, LIMITS)


async def test_exchange_that_is_gone_is_named() -> None:
    async with aiohttp.ClientSession() as http:
        async with Exchange() as exchange:
            board = await find_fault_board(http, exchange.rest_url)
        with pytest.raises(UnavailableError, match="doesn't answer"):
            await board.post(fault("mute"), SYMBOL, None, LIMITS)
