from __future__ import annotations

import asyncio

import pytest

from feedd.exchange import Stats


async def test_condition_that_holds_already_is_not_waited_for() -> None:
    await Stats().wait_until(lambda: True, timeout=0)


async def test_everybody_is_woken_by_a_change() -> None:
    stats = Stats()

    async def wait(pings: int) -> int:
        await stats.wait_until(lambda: stats.pings >= pings, timeout=5)
        return stats.pings

    waiting = [asyncio.create_task(wait(pings)) for pings in (1, 2)]
    for _ in range(2):
        await asyncio.sleep(0)
        stats.count_ping()
    assert [await task for task in waiting] == [1, 2]


async def test_waiting_has_an_end() -> None:
    with pytest.raises(TimeoutError):
        await Stats().wait_until(lambda: False, timeout=0.01)
