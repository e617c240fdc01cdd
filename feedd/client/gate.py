"""Gates for code without an event loop: asked before each order, answered from memory."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Self

import aiohttp

from feedd.client.address import Address, close_session
from feedd.client.gate_follower import GateFollower
from feedd.client.gate_store import CLOSED, UNREACHABLE, GateStore

log = logging.getLogger(__name__)

FIRST_ANSWER_SECONDS: Final = 2.0
STOP_SECONDS: Final = 1.0


class Gate:
    """One daemon's gates, followed by a thread of its own. May be asked from any thread.

        gate = feedd.Gate("http://127.0.0.1:9745")
        if gate.open("BTCUSDT"):
            send_order()

    Whatever is not certainly open is closed: a daemon that is gone, unreachable or silent for 2 s by this
    process's own clock, an unknown symbol, a dead thread. In a forked child the first question is answered
    with no, and starts a thread of the child's own.
    """

    def __init__(
        self,
        url: str,
        *,
        allow_static: bool = False,
        headers: Mapping[str, str] | None = None,
        ssl: ssl.SSLContext | None = None,
        wait: float = FIRST_ANSWER_SECONDS,
    ) -> None:
        """Follow the gates of a daemon.

        Args:
            url: `http(s)://[user:password@]host:port` of the daemon (FEEDD_LISTEN).
            allow_static: whether recorded data counts; without it, static data closes every gate.
            headers: sent at each connect, such as `{"Authorization": "Bearer …"}`.
            ssl: for an https daemon whose certificate the system doesn't know.
            wait: for at most so many seconds for the daemon's first answer; it goes on without.

        Raises:
            ValueError: a URL that can't be.
        """
        self._address = Address.parse(url, headers, ssl)
        self._allow_static = allow_static
        self._start().answered.wait(wait)

    def open(self, symbol: str) -> bool:
        """Return whether trading in that symbol is open. Takes about a microsecond."""
        if self._follower.store.snapshot.is_open(symbol, time.monotonic()):
            return True
        if self._follower.is_forked:
            self._start()
        return False

    def reasons(self, symbol: str) -> tuple[str, ...]:
        """Return why trading in that symbol is halted: empty while it is open.

        To the daemon's reasons come the client's own: `unreachable`, `silent`, `unknown_symbol`, `closed`.
        """
        return self._follower.store.snapshot.view(symbol, time.monotonic()).reasons

    def close(self) -> None:
        """Stop following; every gate is closed from now on."""
        self._finalize()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _FollowerThread:
        self._follower = _FollowerThread(self._address, self._allow_static)
        # Also called when the gate is forgotten, and when the process ends.
        self._finalize = weakref.finalize(self, self._follower.stop)
        return self._follower


class _FollowerThread:
    """The thread that follows a daemon's gates, and the store that it keeps up to date."""

    def __init__(self, address: Address, allow_static: bool) -> None:
        self.store = GateStore(allow_static)
        self.answered = threading.Event()
        """Set once the daemon has answered, or has failed to."""
        self.is_forked = False
        """Whether this is a copy in a child process, where no thread follows."""
        self._address = address
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        _follower_threads.add(self)
        self._thread = threading.Thread(target=self._run, name="feedd-gate", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Its gates are closed at once."""
        if self.is_forked:
            return
        self._is_stopped = True
        self.store.invalidate(CLOSED)
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # it has just ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        if self._thread is not threading.current_thread():
            self._thread.join(STOP_SECONDS)

    def mark_forked(self) -> None:
        """Close the gates of this copy in a forked child, where no thread keeps them up to date."""
        if not self._is_stopped:
            self.is_forked = True
            self.store.invalidate(UNREACHABLE)

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError), asyncio.Runner() as runner:
                runner.run(self._run_follower())
        except Exception:
            log.exception("following the gates of %s has failed: all are taken for closed", self._address)
        finally:
            self.store.invalidate(CLOSED)
            self.answered.set()

    async def _run_follower(self) -> None:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._is_stopped:  # before there was anything to cancel
            return
        http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        try:
            await GateFollower(http, self._address, self.store, self.answered.set).run()
        finally:
            await close_session(http, self._address)


_follower_threads: weakref.WeakSet[_FollowerThread] = weakref.WeakSet()


def _mark_all_forked() -> None:
    for follower in _follower_threads:
        follower.mark_forked()


os.register_at_fork(after_in_child=_mark_all_forked)
