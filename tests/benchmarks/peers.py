"""The clients of other people, each pinned and in an environment of its own under `.venv-bench`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import PROJECT


@dataclass(frozen=True)
class Peer:
    """One client."""

    name: str
    module: str
    requirements: tuple[str, ...]
    messages: int
    """Fewer than feedd is sent: they take longer."""
    times_feedd: float
    """It is to take at least so many times the CPU that feedd takes."""

    @property
    def folder(self) -> Path:
        return PROJECT / ".venv-bench" / self.name

    @property
    def python(self) -> str:
        return str(self.folder / "bin" / "python")

    @property
    def is_installed(self) -> bool:
        """Whether its environment holds what is pinned now."""
        installed = self.folder / "installed"
        return installed.exists() and installed.read_text() == "\n".join(self.requirements)

    def install(self) -> None:
        """Make its environment. Raises subprocess.CalledProcessError."""
        if self.is_installed:
            return
        print(f"installing {', '.join(self.requirements)}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(self.folder)], check=True)
        subprocess.run(
            [self.python, "-m", "pip", "install", "--quiet", *self.requirements],
            check=True,
            stdout=sys.stderr,
        )
        (self.folder / "installed").write_text("\n".join(self.requirements))


# cryptofeed 3 needs Python 3.13, and 2.5 needs 3.12: its newest release that this Python can run is taken.
if sys.version_info >= (3, 13):
    _CRYPTOFEED = "cryptofeed==3.0.1"
elif sys.version_info >= (3, 12):
    _CRYPTOFEED = "cryptofeed==2.5.0"
else:
    _CRYPTOFEED = "cryptofeed==2.4.1"

PEERS = (
    Peer("cryptofeed", "with_cryptofeed", (_CRYPTOFEED, "msgspec==0.22.0", "uvloop==0.23.0"), 100_000, 3.0),
    Peer(
        "unicorn-binance-websocket-api",
        "with_unicorn",
        ("unicorn-binance-websocket-api==2.16.1",),
        60_000,
        4.0,
    ),
    Peer(
        "python-binance",
        "with_python_binance",
        ("python-binance==1.0.37", "orjson==3.13.0", "uvloop==0.23.0"),
        60_000,
        5.0,
    ),
    # It pins uvloop itself.
    Peer("ccxt.pro", "with_ccxt", ("ccxt==4.5.90", "orjson==3.13.0", "uvloop==0.22.1"), 30_000, 12.0),
)
