"""The soak, short: what takes minutes is run by `make soak`."""

from __future__ import annotations

import subprocess
import sys


def test_memory_does_not_grow_with_messages() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.soak", "--messages", "400000"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
