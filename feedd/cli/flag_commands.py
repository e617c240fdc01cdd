"""The commands that set a flag: halt, resume, rollback, realtime.

Each edits one flag in the env-file, atomically and leaving everything else as it is, and then waits until the
running daemon confirms that it is in the state which the flag asks for.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from feedd.cli.status import fetch_status
from feedd.client.address import Address
from feedd.config.env_file import KILL_SWITCH_KEY, edit_flag
from feedd.config.resolve import read_env_file
from feedd.errors import FeeddError, UnavailableError

POLL_SECONDS: Final = 0.05

Status = dict[str, Any]
"""What `/status` answers."""


class NotConfirmedError(FeeddError):
    """The flag is set, and the daemon has not confirmed the state which it asks for."""


@dataclass(frozen=True, slots=True)
class FlagCommand:
    """A flag, its value, and the state that the daemon must then be in."""

    name: str
    help: str
    key: str
    value: str
    lacking: Callable[[Status], str | None]
    """Returns what is lacking of the wanted state; None when the daemon is in it."""


def _halted(status: Status) -> str | None:
    free = [name for name, symbol in status["symbols"].items() if "kill_switch" not in symbol["reasons"]]
    return f"not halted: {', '.join(free)}" if free else None


def _resumed(status: Status) -> str | None:
    if status["flags"]["trading_halted"]:
        return "the daemon still sees a kill switch: look at its environment and log"
    held = [name for name, symbol in status["symbols"].items() if "kill_switch" in symbol["reasons"]]
    return f"no good data yet, so the kill switch still holds {', '.join(held)}" if held else None


def _static_and_open(status: Status) -> str | None:
    if status["source"] != "static":
        return "the source is still realtime"
    # Here the symbols' own reasons are listed: a gate that is open to who allows static data has none.
    return _closed_gates(status)


def _realtime(status: Status) -> str | None:
    if status["source"] != "realtime":
        return "the source is still static"
    waiting = [name for name, symbol in status["symbols"].items() if not symbol["connected"]]
    return f"not connected: {', '.join(waiting)}" if waiting else None


def _closed_gates(status: Status) -> str | None:
    closed = [
        f"{name} ({', '.join(symbol['reasons'])})"
        for name, symbol in status["symbols"].items()
        if symbol["reasons"]
    ]
    return f"trading has not resumed: {', '.join(closed)}" if closed else None


FLAG_COMMANDS: Final = (
    FlagCommand("halt", "stop all trading now", KILL_SWITCH_KEY, "1", _halted),
    FlagCommand("resume", "take the kill switch back", KILL_SWITCH_KEY, "0", _resumed),
    FlagCommand(
        "rollback", "go back to static data and see trading resume", "FLAG_REALTIME", "0", _static_and_open
    ),
    FlagCommand("realtime", "go to live data", "FLAG_REALTIME", "1", _realtime),
)


async def set_and_confirm(
    command: FlagCommand, env_file: Path, daemon: Address, timeout: float, report: Callable[[str], None]
) -> None:
    """Set the command's flag and wait for the daemon, reporting both steps.

    Raises:
        SettingsError: the env-file can't be read.
        NotConfirmedError: the daemon has not confirmed in `timeout` seconds; the flag stays set.
        OSError: the env-file can't be written.
    """
    set_flag(env_file, command.key, command.value)
    report(f"{command.key}={command.value} in {env_file}")
    began = time.monotonic()
    lacking: str | None = "no answer"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as http:
        while time.monotonic() - began < timeout:
            lacking = await _find_lacking(http, command, daemon)
            if lacking is None:
                report(f"confirmed by the daemon at {daemon} after {time.monotonic() - began:.1f} s")
                return
            await asyncio.sleep(POLL_SECONDS)
    flag = f"{command.key}={command.value}"
    raise NotConfirmedError(
        f"{flag} is set, but the daemon at {daemon} has not confirmed in {timeout:g} s: {lacking}"
    )


async def _find_lacking(http: aiohttp.ClientSession, command: FlagCommand, daemon: Address) -> str | None:
    try:
        return command.lacking(orjson.loads(await fetch_status(http, daemon)))
    except (UnavailableError, ValueError) as error:
        return str(error)


def set_flag(env_file: Path, key: str, value: str) -> None:
    """Set one flag in the file, all at once, keeping the rest of it, its owner and its permissions."""
    path = env_file.resolve()  # a link must stay a link
    # A halt must not fail over a byte that is no UTF-8: it is kept as it is.
    text = read_env_file(path).decode(errors="surrogateescape")
    edited = edit_flag(text, key, value).encode(errors="surrogateescape")
    before = path.stat()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(edited)
            os.fchmod(file.fileno(), before.st_mode & 0o7777)
            with suppress(PermissionError):  # who may write the file is not always who may give it away
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
