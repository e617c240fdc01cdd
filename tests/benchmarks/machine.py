"""Where figures were taken: the date, the versions, and how busy the machine was with other things."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from feedd._version import __version__
from feedd.native import is_native
from tests.benchmarks.peers import PEERS

_OURS = ("aiohttp", "msgspec", "orjson", "uvloop", "picows", "prometheus-client")


def date_text() -> str:
    """Return today's date."""
    return datetime.now(UTC).date().isoformat()


def machine_text() -> str:
    """Return in a line what the machine is."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = " ".join(models[0].partition(":")[2].split()) if models else platform.machine()
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, CPython {platform.python_version()}"


def versions_text() -> str:
    """Return in a line what was measured."""
    ours = [
        f"feedd {__version__} {'compiled' if is_native() else 'interpreted'}",
        *(f"{name} {version(name)}" for name in _OURS),
    ]
    theirs = [peer.requirements[0].replace("==", " ") for peer in PEERS]
    return ", ".join((*ours, *theirs))


class Busy:
    """The share of the machine's CPU time that was not taken by the benchmark's own processes."""

    share = 0.0


@contextmanager
def watching() -> Iterator[Busy]:
    """Watch the machine; the answer is there when the block has ended, and all that it started with it."""
    busy = Busy()
    began, all_before, own_before = time.monotonic(), _busy_seconds(), _own_seconds()
    yield busy
    available = (time.monotonic() - began) * (os.cpu_count() or 1)
    others = (_busy_seconds() - all_before) - (_own_seconds() - own_before)
    busy.share = max(0.0, others / available)


def _busy_seconds() -> float:
    fields = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
