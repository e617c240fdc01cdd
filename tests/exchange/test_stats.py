from __future__ import annotations

import asyncio
from collections.abc import Callable

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


@pytest.mark.parametrize(
    ("count", "read", "expected"),
    [
        (lambda stats: stats.count_attempt(), lambda stats: stats.attempts, 1),
        (lambda stats: stats.count_connect(), lambda stats: stats.connects, 1),
        (lambda stats: stats.count_carried({"A", "B"}), lambda stats: stats.connects_by_symbol["B"], 1),
        (lambda stats: stats.count_refusal("hang"), lambda stats: stats.refusals["hang"], 1),
        (lambda stats: stats.count_request("time"), lambda stats: stats.requests["time"], 1),
        (lambda stats: stats.count_text(), lambda stats: stats.texts, 1),
        (lambda stats: stats.count_ping(), lambda stats: stats.pings, 1),
        (lambda stats: stats.count_pong(True), lambda stats: (stats.pongs, stats.odd_pongs), (1, 0)),
        (lambda stats: stats.count_pong(False), lambda stats: (stats.pongs, stats.odd_pongs), (0, 1)),
        (lambda stats: stats.count_close(1001), lambda stats: stats.close_codes[1001], 1),
        (lambda stats: stats.count_cut("slow"), lambda stats: stats.cuts["slow"], 1),
    ],
)
async def test_each_count_wakes_whoever_waits_for_it(
    count: Callable[[Stats], None], read: Callable[[Stats], object], expected: object
) -> None:
    stats = Stats()
    waiting = asyncio.create_task(stats.wait_until(lambda: read(stats) == expected, timeout=5))
    await asyncio.sleep(0)
    count(stats)
    await waiting


async def test_sent_messages_are_counted_and_wake_nobody() -> None:
    stats = Stats()
    waiting = asyncio.create_task(stats.wait_until(lambda: stats.messages == 1, timeout=5))
    await asyncio.sleep(0)
    stats.count_message()
    await asyncio.sleep(0)
    assert (stats.messages, waiting.done()) == (1, False)
    stats.notify()
    await waiting


async def test_waiting_has_an_end() -> None:
    with pytest.raises(TimeoutError):
        await Stats().wait_until(lambda: False, timeout=0.01)
