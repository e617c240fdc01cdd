"""Gate events: every change of a gate, sent at once to whoever listens at `/gate/events`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from feedd.config.settings import Settings
from feedd.core.daemon_state import DaemonState
from feedd.core.gate import GateChange
from feedd.core.symbol_state import SymbolState
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.json_views import gate_event, heartbeat_event, state_event
from feedd.outputs.output import Output, Serve
from feedd.outputs.ws.consumer import Consumer, ConsumerRegistry, Socket
from feedd.outputs.ws.frame_writer import text_frame

HEARTBEAT_SECONDS: Final = 1.0
"""A strategy that hears nothing for two of these must take the gate for closed."""
HEARTBEATS_AT_ONCE: Final = 8


class GateEvents(Output):
    """Everyone who listens to the gate. Who allows static data hears of another gate than who doesn't."""

    name = "gate_events"

    def __init__(
        self,
        state: DaemonState,
        registry: ConsumerRegistry,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        now: Callable[[], ClockReading] = ClockReading.now,
    ) -> None:
        self._state = state
        self._registry = registry
        self._heartbeat_seconds = heartbeat_seconds
        self._now = now
        self._listeners: dict[bool, set[Consumer]] = {True: set(), False: set()}

    def gate_changed(self, symbol_state: SymbolState, change: GateChange) -> None:
        """Send one change of one gate to all listeners."""
        now = self._now()
        self._broadcast(lambda allow: gate_event(self._state, symbol_state.symbol, change, allow, now))

    def apply_settings(self, old: Settings, new: Settings) -> None:
        """Send everything anew where the symbols or the source are others now."""
        if (old.realtime, old.symbols) != (new.realtime, new.symbols):
            self.send_state()

    def routes(self) -> Mapping[str, Serve]:
        """Return the one path."""
        return {"/gate/events": self.serve}

    def send_state(self) -> None:
        """Send all gates to all listeners."""
        now = self._now()
        self._broadcast(lambda allow: state_event(self._state, allow, now))

    async def run(self) -> None:
        """Give a sign of life every second."""
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            frame = _frame(heartbeat_event(self._state, self._now()))
            for listeners in self._listeners.values():
                for number, consumer in enumerate(tuple(listeners), 1):
                    consumer.send(frame)
                    if number % HEARTBEATS_AT_ONCE == 0:
                        await asyncio.sleep(0)  # the market first: a heartbeat is in no hurry

    async def serve(self, request: web.Request, allow_static: bool) -> Socket:
        """Serve one listener until it goes."""
        consumer = await self._registry.admit(request)
        consumer.send(_frame(state_event(self._state, allow_static, self._now())))
        self._listeners[allow_static].add(consumer)
        try:
            await self._registry.serve(consumer)
        finally:
            self._listeners[allow_static].discard(consumer)
        return consumer.response

    def _broadcast(self, event: Callable[[bool], Mapping[str, Any]]) -> None:
        for allow_static, listeners in self._listeners.items():
            if listeners:
                frame = _frame(event(allow_static))
                for consumer in listeners:
                    consumer.send(frame)


def _frame(event: Mapping[str, Any]) -> bytes:
    return text_frame(orjson.dumps(event))
