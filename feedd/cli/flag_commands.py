"""The operator's verbs: halt, resume, rollback, realtime.

A verb edits one flag in the env-file, atomically and leaving everything else as it is, and then waits until
the running daemon confirms that what was meant has come about.
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

ASK_EVERY_SECONDS: Final = 0.05

Status = dict[str, Any]
"""What `/status` answers."""


class NotConfirmedError(FeeddError):
    """The flag is set, and the daemon has not confirmed what was meant by it."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A flag, its value, and what the daemon must then say."""

    name: str
    help: str
    key: str
    value: str
    lacking: Callable[[Status], str | None]
    """Says what of the wanted state is lacking; None when it has come about."""


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


VERBS: Final = (
    Verb("halt", "stop all trading now", KILL_SWITCH_KEY, "1", _halted),
    Verb("resume", "take the kill switch back", KILL_SWITCH_KEY, "0", _resumed),
    Verb("rollback", "go back to static data and see trading resume", "FLAG_REALTIME", "0", _static_and_open),
    Verb("realtime", "go to live data", "FLAG_REALTIME", "1", _realtime),
)


async def carry_out(
    verb: Verb, env_file: Path, daemon: Address, timeout: float, say: Callable[[str], None]
) -> None:
    """Set the verb's flag and wait for the daemon.

    Raises:
        SettingsError: the env-file can't be read.
        NotConfirmedError: the daemon has not confirmed in `timeout` seconds; the flag stays set.
        OSError: the env-file can't be written.
    """
    set_flag(env_file, verb.key, verb.value)
    say(f"{verb.key}={verb.value} in {env_file}")
    began = time.monotonic()
    lacking: str | None = "no answer"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout)) as http:
        while time.monotonic() - began < timeout:
            lacking = await _ask(http, verb, daemon)
            if lacking is None:
                say(f"confirmed by the daemon at {daemon} after {time.monotonic() - began:.1f} s")
                return
            await asyncio.sleep(ASK_EVERY_SECONDS)
    flag = f"{verb.key}={verb.value}"
    raise NotConfirmedError(
        f"{flag} is set, but the daemon at {daemon} has not confirmed in {timeout:g} s: {lacking}"
    )


async def _ask(http: aiohttp.ClientSession, verb: Verb, daemon: Address) -> str | None:
    try:
        return verb.lacking(orjson.loads(await fetch_status(http, daemon)))
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
