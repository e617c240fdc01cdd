"""Counts of what the exchange's clients did, for tests and drills to read and to wait for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection


class Stats:
    """Counts since the start. Anyone may read them; they change through the methods only.

    Each method but `count_message` wakes whoever waits: a market sends thousands of messages a second.
    """

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
        """Pings that clients sent."""
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

    def count_attempt(self) -> None:
        """Count a handshake that is tried."""
        self.attempts += 1
        self.notify()

    def count_connect(self) -> None:
        """Count a handshake that succeeded."""
        self.connects += 1
        self.notify()

    def count_carried(self, symbols: Collection[str]) -> None:
        """Count a connection for each of the symbols that it carries from now on."""
        self.connects_by_symbol.update(symbols)
        self.notify()

    def count_refusal(self, cause: str) -> None:
        """Count a handshake that a rule or a fault stopped."""
        self.refusals[cause] += 1
        self.notify()

    def count_request(self, endpoint: str) -> None:
        """Count a REST request."""
        self.requests[endpoint] += 1
        self.notify()

    def count_text(self) -> None:
        """Count a control request on a stream connection."""
        self.texts += 1
        self.notify()

    def count_ping(self) -> None:
        """Count a client's ping."""
        self.pings += 1
        self.notify()

    def count_pong(self, is_answer: bool) -> None:
        """Count a client's pong, which answers a ping of ours or does not."""
        self.pongs += is_answer
        self.odd_pongs += not is_answer
        self.notify()

    def count_close(self, code: int) -> None:
        """Count a client's close frame."""
        self.close_codes[code] += 1
        self.notify()

    def count_cut(self, cause: str) -> None:
        """Count a connection that the exchange ended."""
        self.cuts[cause] += 1
        self.notify()

    def count_message(self) -> None:
        """Count a market message on its way to one connection."""
        self.messages += 1

    def notify(self) -> None:
        """Wake whoever waits, because a count or something else that conditions look at has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until a change of the exchange makes a condition true.

        Raises:
            TimeoutError: it didn't in time.
        """
        async with asyncio.timeout(timeout):
            while not condition():
                await self._changed.wait()
