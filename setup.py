"""Compiles what every message passes through, where there is a C compiler; everything runs without as well.

The sources stay ordinary Python: mypyc makes extension modules of them by their type annotations. An editable
install is left alone: what is compiled beside the sources of a checkout would go stale.
"""

from __future__ import annotations

import os
import shlex
import sysconfig
from pathlib import Path
from shutil import which
from sys import argv

from setuptools import Extension, setup

NATIVE = (
    "core/arbitration",
    "core/backoff",
    "core/budgets",
    "core/connection_set",
    "core/decode_failures",
    "core/gaps",
    "core/gate",
    "core/histogram",
    "core/latency",
    "core/mute_detector",
    "core/route_state",
    "core/sequence",
    "core/staleness",
    "core/stream_state",
    "core/symbol_state",
    "core/venue_clock",
    "outputs/ws/fanout",
    "outputs/ws/relay",
    "sources/live/demux",
    "sources/live/frame_reader",
    "sources/symbol_pipeline",
    "venues/binance/common/peek",
    "venues/binance/spot/decode",
)


def can_compile() -> bool:
    """Tell whether there is a C compiler, and the interpreter's headers for it."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    return which(compiler) is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


def extensions() -> list[Extension]:
    """Return what is to be compiled."""
    if "editable_wheel" in argv or not can_compile():
        return []
    from mypyc.build import mypycify

    level = os.environ.get("MYPYC_OPT_LEVEL", "3")  # as mypy's own build has it: 0 compiles much sooner

    found: list[Extension] = mypycify(["--strict", *(f"feedd/{name}.py" for name in NATIVE)], opt_level=level)
    return found


setup(ext_modules=extensions())
