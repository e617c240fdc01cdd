"""Follows a daemon's gates over `/gate/events`, and reconnects for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from feedd.client.address import Address, Pauses, Socket, hang_up
from feedd.client.gate_store import CLOSED, SILENCE_SECONDS, SILENT, UNREACHABLE, Board

log = logging.getLogger(__name__)

PATH: Final = "gate/events"


class GateFollower:
    """Keeps a board up to date. `changed` is called after everything that is heard, and when it is lost."""

    def __init__(
        self, http: aiohttp.ClientSession, address: Address, board: Board, changed: Callable[[], None]
    ) -> None:
        self._http = http
        self._address = address
        self._board = board
        self._changed = changed
        self._pauses = Pauses()

    async def run(self) -> None:
        """Follow until cancelled. Whatever ends it, every gate is closed then."""
        is_news = True
        try:
            while True:
                try:
                    await self._follow_once()
                    is_news = True
                except ConnectionError as error:
                    log.log(logging.WARNING if is_news else logging.DEBUG, "no gates from feedd: %s", error)
                    is_news = False
                    self._lose(UNREACHABLE)
                await asyncio.sleep(self._pauses.next())
        finally:
            self._lose(CLOSED)

    async def _follow_once(self) -> None:
        asked_at = time.monotonic()
        socket = await self._address.dial(self._http, PATH, self._board.allow_static)
        log.info("following the gates of %s", self._address)
        try:
            why = await self._listen(socket, asked_at)
            log.warning("lost the gates of %s (%s): all are taken for closed", self._address, why)
            self._lose(why)
        finally:
            await hang_up(socket)

    async def _listen(self, socket: Socket, asked_at: float) -> str:
        """Take in what is told. Returns the reason why it ended."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await socket.receive()
            except TimeoutError:
                return SILENT
            if message.type is not aiohttp.WSMsgType.TEXT:
                return UNREACHABLE
            try:
                self._board.hear(message.data, time.monotonic(), asked_at)
            except msgspec.MsgspecError as error:
                log.error("what %s says is no gate event: %s", self._address, error)
                return UNREACHABLE
            self._pauses.reset()
            self._changed()

    def _lose(self, why: str) -> None:
        self._board.lose(why)
        self._changed()
