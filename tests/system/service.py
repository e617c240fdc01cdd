"""The installed daemon as an operator has it: systemctl, the env-file, the journal, and its HTTP side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

import aiohttp

from tests.system.box import Box

UNIT: Final = "feedd.service"
URL: Final = "http://127.0.0.1:9745"
ENV_FILE: Final = "/etc/feedd/feedd.env"
EXCHANGE_PORT: Final = 9746
SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
LIVE: Final = {
    "FLAG_REALTIME": "1",
    "FLAG_TRADING_HALTED": "0",
    "FEEDD_SYMBOLS": ",".join(SYMBOLS),
    "FEEDD_WS_URL": f"ws://127.0.0.1:{EXCHANGE_PORT}",
    "FEEDD_REST_URL": f"http://127.0.0.1:{EXCHANGE_PORT}",
    # Thresholds that a test can wait for.
    "FEEDD_STALE_AFTER_SECONDS": "3",
    "FEEDD_RESUME_AFTER_SECONDS": "0.5",
}
VERB_SECONDS: Final = 10.0
SHOWN_PAUSE: Final = 0.05


class Service:
    """feedd.service in a box."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self._cursor = ""
        self.forget_journal()

    # --- systemctl

    def systemctl(self, *arguments: str, check: bool = True) -> int:
        """Run systemctl. Returns its exit code, which must be 0 unless `check` is off."""
        return self.box.run("systemctl", *arguments, check=check).returncode

    def start(self) -> None:
        """Start, as the first time: starts before this one don't count against it."""
        self.systemctl("reset-failed", UNIT, check=False)
        self.systemctl("start", UNIT)

    def show(self, name: str) -> str:
        """Return one property of the unit."""
        return self.box.run("systemctl", "show", f"--property={name}", "--value", UNIT).stdout.strip()

    def seconds(self, name: str) -> float:
        """Return one of the unit's moments, in seconds of the monotonic clock."""
        return int(self.show(f"{name}TimestampMonotonic")) / 1_000_000

    @property
    def pid(self) -> int:
        """The daemon's process, as the box numbers it."""
        return int(self.show("MainPID"))

    def kill(self, signal: str) -> float:
        """Send the daemon's process a signal. Returns when, in seconds of the monotonic clock."""
        self.box.run("kill", f"-{signal}", str(self.pid))
        return time.monotonic()

    # --- the env-file

    def configure(self, **changes: str) -> None:
        """Write the env-file anew: live, on the exchange in the box, with these changes."""
        self.write_env_file("".join(f"{key}={value}\n" for key, value in (LIVE | changes).items()))

    def write_env_file(self, text: str) -> None:
        self.box.path(ENV_FILE).write_text(text)

    def edit(self, key: str, value: str) -> None:
        """Change one line of the env-file in the way editors save: another file takes its place."""
        self.box.run("sed", "--in-place", f"s/^{key}=.*/{key}={value}/", ENV_FILE)

    # --- the journal

    def forget_journal(self) -> None:
        """Let the journal begin here."""
        self._flush_journal()
        last = self.box.run("journalctl", "--lines=1", "--quiet", "--show-cursor", "--output=cat").stdout
        self._cursor = last.strip().rpartition("-- cursor: ")[2]

    def journal(self) -> list[str]:
        """Return the unit's messages, its own and systemd's of it, since the journal was last forgotten."""
        self._flush_journal()
        lines = self.box.run(
            "journalctl", f"--unit={UNIT}", f"--after-cursor={self._cursor}", "--quiet", "--output=json"
        ).stdout
        return [str(json.loads(line)["MESSAGE"]) for line in lines.splitlines()]

    def _flush_journal(self) -> None:
        self.box.run("journalctl", "--sync")

    # --- what it says over HTTP

    def get(self, path: str) -> tuple[int, str]:
        """Ask. Returns the status, 0 if nobody answers, and the body."""
        return self.box.call(_get(f"{URL}{path}"))

    def gate(self, query: str = "") -> Any:
        """Return what it says of the gate, or None while nobody answers."""
        status, body = self.get(f"/gate{query}")
        return json.loads(body) if status else None

    def until_open(self, query: str = "", seconds: float = 10.0) -> None:
        """Wait until every gate is open."""
        self.until(lambda: self.get(f"/gate{query}")[0] == 200, "the gate opens", seconds)

    def until_halted(self, reason: str, seconds: float = 10.0, query: str = "") -> None:
        """Wait until trading is halted for that reason, whatever other reasons there are."""
        self.until(
            lambda: reason in (self.gate(query) or {"reasons": ()})["reasons"], f"halted: {reason}", seconds
        )

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
        """Wait for something. Raises AssertionError, with the journal, if it doesn't come."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                said = "\n".join(self.journal())
                raise AssertionError(f"not within {seconds} s: {what}; gate: {self.gate()}\n{said}")
            time.sleep(SHOWN_PAUSE)


def verb(box: Box, name: str, *options: str) -> str:
    """Do what an operator types. Returns what was said."""
    return box.run("feedd", name, "--env-file", ENV_FILE, *options, timeout=VERB_SECONDS).stdout


async def _get(url: str) -> tuple[int, str]:
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as http,
            http.get(url) as response,
        ):
            return response.status, await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""
