"""Guards against a blunder on the hot path that noise can't fool. What a message costs is `make bench`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from feedd.native import is_native
from tests.benchmarks.clients.order import until, warm_up
from tests.benchmarks.clients.with_feedd import received, running, settings_for
from tests.benchmarks.counting import Count, counting_calls, counting_instructions
from tests.benchmarks.processes import run_client, serving

MESSAGES = 10_000
CALLS, INSTRUCTIONS = 19, 440
"""For a trade of a live feed with nobody at the relay: a tenth above what it took when this was set."""
RATIO = 2.0 if is_native() else 4.0
"""To the bare client: twice what it is. It is for what counts can't see, such as slow calls."""


async def counted(counting: Callable[[], AbstractContextManager[Count]]) -> Count:
    """Send a daemon messages, and count what it does with them."""
    with serving() as server:
        order = server.order(10, MESSAGES)
        async with running(settings_for(order)) as (daemon, _):
            await warm_up(order, lambda: received(daemon))
            with counting() as count:
                await asyncio.to_thread(order.begin)
                await until(lambda: received(daemon), order.connections + MESSAGES)
            return count


@pytest.mark.interpreted
async def test_message_takes_few_calls() -> None:
    count = await counted(counting_calls)
    assert 0 < count.calls <= CALLS * MESSAGES, count.calls / MESSAGES


@pytest.mark.interpreted
async def test_message_takes_few_instructions() -> None:
    count = await counted(counting_instructions)
    assert 0 < count.instructions <= INSTRUCTIONS * MESSAGES, count.instructions / MESSAGES


async def test_message_costs_a_small_multiple_of_the_least_possible() -> None:
    """What counts can't see, such as slower ways through aiohttp; wide enough for a machine that wanders."""
    with serving() as server:
        order = server.order(10, 60_000)
        ratios = [
            run_client("with_feedd", order, server)["cpu_us"]
            / run_client("with_bare", order, server)["cpu_us"]
            for _ in range(2)
        ]
    assert 0 < min(ratios) < RATIO, ratios
