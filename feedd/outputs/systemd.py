"""Notifies systemd: ready, reloading, stopping, the sign of life, and a line for `systemctl status`.

It speaks sd_notify's protocol (man sd_notify: datagrams of KEY=value lines to a Unix socket) and decides
when the daemon counts as alive. Without systemd every call does nothing; no failure of the socket reaches the
caller, because a feed must not end over a line that nobody could read.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self

from feedd.core.daemon_state import DaemonState
from feedd.logs import fields
from feedd.model import Reason, Source
from feedd.outputs.output import Output, Phase

STATUS_SECONDS: Final = 1.0
"""How often the line is looked at; more often than a person does is of no use."""
SEND_SECONDS: Final = 0.2
"""How long a message may wait for systemd to read. Every feed waits with it, so that it is short."""
NAMED_SYMBOLS: Final = 3
NAMED_REASONS: Final = 3
"""Groups of symbols with the same reasons. A line with more than these few is no longer read."""

log = logging.getLogger(__name__)


class Notifier:
    """The service's end of the notification socket; without an address it does nothing."""

    def __init__(
        self,
        address: str | None = None,
        watchdog_interval: float | None = None,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self.watchdog_interval = watchdog_interval
        """Seconds between signs of life, half of what systemd waits for; None if it waits for none."""
        self._address = _socket_address(address)
        self._send_seconds = send_seconds
        self._has_failed = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], pid: int | None = None) -> Self:
        """Take what systemd passes to its services; `pid` is this process unless told otherwise."""
        return cls(
            environ.get("NOTIFY_SOCKET"), _watchdog_interval(environ, os.getpid() if pid is None else pid)
        )

    @property
    def is_active(self) -> bool:
        """Whether anybody is told."""
        return self._address is not None

    def ready(self, status: str | None = None) -> None:
        """Say that the start, or a reload, is complete."""
        self._send(["READY=1", *_status(status)])

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(_status(text))

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it."""
        # systemd from 253 on tells by the time whether this answers its own request.
        self._send(["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"])

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send(["STOPPING=1"])

    def watchdog(self) -> None:
        """Give the sign of life."""
        self._send(["WATCHDOG=1"])

    def _send(self, lines: Iterable[str]) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(self._send_seconds)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            self._note_failure(error)

    def _note_failure(self, error: OSError) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.warning("systemd can't be told how feedd is", extra=fields(error=error))


def _socket_address(address: str | None) -> str | None:
    if not address:
        return None
    if address.startswith("@"):
        return "\0" + address[1:]  # an abstract socket, which has no file
    if address.startswith("/"):
        return address
    log.warning(
        "systemd can't be told how feedd is",
        extra=fields(error=f"NOTIFY_SOCKET is no local socket: {address}"),
    )
    return None


def _watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None  # inherited: the sign of life is asked of a parent
    text = environ.get("WATCHDOG_USEC", "")
    if not (text.isascii() and text.isdigit()) or not int(text):
        return None
    return int(text) / 2_000_000


def _status(text: str | None) -> list[str]:
    return [] if text is None else [f"STATUS={' '.join(text.splitlines())}"]


async def keep_alive(
    notifier: Notifier,
    is_stuck: Callable[[float], bool],
    describe: Callable[[], str],
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Give the sign of life while the loop and the supervisor make progress; keep the line current.

    Args:
        is_stuck: called with the monotonic time. It must not depend on data: a dead exchange is no reason to
            withhold the sign of life.
        describe: returns the line.
    """
    if not notifier.is_active:
        return
    interval = min(STATUS_SECONDS, notifier.watchdog_interval or STATUS_SECONDS)
    sent, was_stuck = None, False
    while True:
        stuck = is_stuck(monotonic())
        if stuck and not was_stuck:
            log.error("no sign of life for systemd: the supervisor makes no progress")
        elif not stuck:
            notifier.watchdog()
        was_stuck = stuck
        text = describe()
        if text != sent:
            notifier.status(text)
            sent = text
        await asyncio.sleep(interval)


class Systemd(Output):
    """Notifies systemd of the daemon's phases, its status line and that it is alive."""

    name = "systemd"

    def __init__(self, state: DaemonState, notifier: Notifier) -> None:
        self._state = state
        self._notifier = notifier

    def phase_changed(self, phase: Phase) -> None:
        """Say where the daemon is in its life."""
        match phase:
            case Phase.READY:
                self._notifier.ready(status_line(self._state))
            case Phase.RELOADING:
                self._notifier.reloading()
            case Phase.STOPPING:
                self._notifier.stopping()

    async def run(self) -> None:
        """Give the sign of life until cancelled."""
        await keep_alive(self._notifier, self._state.is_stuck, lambda: status_line(self._state))


def status_line(state: DaemonState) -> str:
    """Return in a line what a person asks first: which source, and which symbols can't be traded, and why."""
    halted: dict[tuple[Reason, ...], list[str]] = {}
    for symbol, symbol_state in state.symbols.items():
        if symbol_state.gate.halted:
            halted.setdefault(symbol_state.gate.reasons, []).append(symbol)
    count = len(state.symbols)
    source = "static data, not production" if state.source is Source.STATIC else str(state.source)
    return f"{source}, {_counted(count)}: {', '.join(_states(halted, count))}"


def _counted(count: int) -> str:
    return f"{count} symbol" if count == 1 else f"{count} symbols"


def _states(halted: Mapping[tuple[Reason, ...], list[str]], count: int) -> list[str]:
    open_count = count - sum(map(len, halted.values()))
    states = [f"{open_count} open"] if open_count or not halted else []
    # The largest group first: what hits most symbols is what is wrong.
    groups = sorted(halted.items(), key=lambda group: -len(group[1]))
    states += [
        f"{_named(symbols, count)} halted ({', '.join(reasons)})"
        for reasons, symbols in groups[:NAMED_REASONS]
    ]
    rest = sum(len(symbols) for _, symbols in groups[NAMED_REASONS:])
    return [*states, f"{rest} more halted"] if rest else states


def _named(symbols: list[str], count: int) -> str:
    if len(symbols) == count > 1:
        return "all"
    return " ".join(symbols) if len(symbols) <= NAMED_SYMBOLS else str(len(symbols))
