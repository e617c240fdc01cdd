"""feedd as a relay: the daemon as it is run, and consumers that want every message."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass

import uvloop

from feedd.core.stream_state import StreamState
from tests.benchmarks.clients.consumers import Heard, listening
from tests.benchmarks.clients.order import Cost, Order, note_delays, read_order, run, tell
from tests.benchmarks.clients.stamp import price_in
from tests.benchmarks.clients.with_feedd import received, running, settings_for

DRAIN_SECONDS = 0.3
EXACT_RATE = 5000.0
"""Up to this rate it is of interest when the messages came."""


@dataclass
class RelayCost(Cost):
    """What a relay's run has cost. The delays are from a frame's reading until a consumer can read it."""

    delivered: int = 0


class Readings:
    """Notes when the frames were read."""

    def __init__(self) -> None:
        self._read: list[tuple[float, bytes]] = []

    def deliver(self, stream_state: StreamState, raw: bytes) -> None:
        self._read.append((stream_state.last_at or 0.0, raw))

    def delays(self, heard: Heard, warm_up: int) -> list[float]:
        """Return how long each message took to each consumer, but for those of the warm-up."""
        read_at = {price_in(raw): at for at, raw in self._read[warm_up:]}
        return [
            at - read_at[price] for arrivals in heard.arrivals for price, at in arrivals if price in read_at
        ]


async def measure(order: Order) -> RelayCost:
    """Run a daemon with its consumers."""
    readings = Readings()
    exact = order.rate is not None and order.rate <= EXACT_RATE
    deliver = readings.deliver if exact else None
    path = "/stream?streams=" + "/".join(f"{symbol.lower()}@trade" for symbol in order.symbols)
    async with running(settings_for(order), deliver) as (daemon, address):
        with ExitStack() as stack:
            heard: list[Heard] = []
            if order.consumers:
                port = int(address.rpartition(":")[2])
                listeners = listening(port, order.consumers, path, order.consumers_core, exact=exact)
                heard = await asyncio.to_thread(stack.enter_context, listeners)
            cost = await run(order, lambda: received(daemon))
            await asyncio.sleep(DRAIN_SECONDS)
            await asyncio.to_thread(stack.close)
    relayed = RelayCost(**vars(cost))
    if heard:
        relayed.delivered = heard[0].messages - order.connections * order.consumers
        assert relayed.delivered == order.messages * order.consumers, relayed
        if exact:
            note_delays(relayed, readings.delays(heard[0], order.connections))
    return relayed


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(measure(read_order())))
