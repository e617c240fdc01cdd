"""Compiles what every message passes through, where there is a C compiler; everything runs without as well.

The sources stay ordinary Python: mypyc makes extension modules of them by their type annotations. An editable
install is left alone: what is compiled beside the sources of a checkout would go stale.
"""

from __future__ import annotations

import shlex
import sysconfig
from pathlib import Path
from shutil import which
from sys import argv

from setuptools import Extension, setup

NATIVE = (
    "binance/decode",
    "core/arbiter",
    "core/backoff",
    "core/budget",
    "core/freshness",
    "core/gate",
    "core/histogram",
    "core/latency",
    "core/links",
    "core/missing",
    "core/rhythm",
    "core/schema",
    "core/sequence",
    "core/session",
    "outputs/fanout",
    "outputs/relay",
    "sources/frames",
    "sources/intake",
    "sources/reception",
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

    found: list[Extension] = mypycify(["--strict", *(f"feedd/{name}.py" for name in NATIVE)], opt_level="3")
    return found


setup(ext_modules=extensions())
