"""Follows a daemon's gates over `/gate/events`, and reconnects for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import msgspec

from feedd.client.address import Address, Socket, close_socket, new_backoff
from feedd.client.gate_store import CLOSED, SILENCE_SECONDS, SILENT, UNREACHABLE, GateStore

log = logging.getLogger(__name__)

PATH: Final = "gate/events"


class GateFollower:
    """Keeps a gate store up to date. `changed` is called after each event and each loss."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        address: Address,
        store: GateStore,
        changed: Callable[[], None],
        *,
        silence_seconds: float = SILENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http = http
        self._address = address
        self._store = store
        self._changed = changed
        self._silence_seconds = silence_seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._backoff = new_backoff()

    async def run(self) -> None:
        """Follow until cancelled. Whatever ends it, every gate is closed then."""
        failed_before = False
        try:
            while True:
                try:
                    await self._connect_once()
                    failed_before = False
                except ConnectionError as error:
                    level = logging.DEBUG if failed_before else logging.WARNING
                    log.log(level, "no gates from feedd: %s", error)
                    failed_before = True
                    self._invalidate(UNREACHABLE)
                await self._sleep(self._backoff.delay(random.random()))
        finally:
            self._invalidate(CLOSED)

    async def _connect_once(self) -> None:
        """Connect and apply events until the connection ends. Raises ConnectionError if there is none."""
        asked_at = self._monotonic()
        socket = await self._address.dial(self._http, PATH, self._store.allow_static)
        log.info("following the gates of %s", self._address)
        try:
            reason = await self._apply_events(socket, asked_at)
            log.warning("lost the gates of %s (%s): all are taken for closed", self._address, reason)
            self._invalidate(reason)
        finally:
            await close_socket(socket)

    async def _apply_events(self, socket: Socket, asked_at: float) -> str:
        """Apply every event of a connection to the store. Returns the reason why it ended."""
        good_since: float | None = None
        try:
            while True:
                try:
                    async with asyncio.timeout(self._silence_seconds):
                        message = await socket.receive()
                except TimeoutError:
                    return SILENT
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return UNREACHABLE
                now = self._monotonic()
                try:
                    self._store.apply_event(message.data, now, asked_at)
                except msgspec.MsgspecError as error:
                    log.error("what %s says is no gate event: %s", self._address, error)
                    return UNREACHABLE
                good_since = now if good_since is None else good_since
                self._changed()
        finally:
            if good_since is not None:
                self._backoff.connection_ended(self._monotonic() - good_since)

    def _invalidate(self, reason: str) -> None:
        self._store.invalidate(reason)
        self._changed()
