"""What the exchange saw of its clients: for tests and drills to look at, and to wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable


class Stats:
    """Counts since the start. Read them freely; only the exchange writes them."""

    def __init__(self) -> None:
        self.attempts = 0
        """Handshakes that were tried."""
        self.connects = 0
        """Handshakes that succeeded."""
        self.connects_by_symbol: Counter[str] = Counter()
        """Connections that came to carry a symbol, by handshake or by SUBSCRIBE."""
        self.refusals: Counter[str] = Counter()
        """Handshakes that did not succeed, by the rule or fault that stopped them."""
        self.requests: Counter[str] = Counter()
        """REST requests by endpoint, however they were answered."""
        self.texts = 0
        """Control requests on stream connections."""
        self.pings = 0
        self.pongs = 0
        """Pongs that copied a ping of ours."""
        self.odd_pongs = 0
        """Pongs that did not."""
        self.close_codes: Counter[int] = Counter()
        """Close frames that clients sent, first or in answer, by code."""
        self.cuts: Counter[str] = Counter()
        """Connections that the exchange ended, by the rule or fault behind it."""
        self.messages = 0
        """Market messages sent, counted once for each connection."""
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Wake whoever waits for a count."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until something that the exchange sees makes a condition true.

        Raises:
            TimeoutError: it didn't in time.
        """
        async with asyncio.timeout(timeout):
            while not condition():
                await self._changed.wait()
