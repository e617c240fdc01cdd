"""The soak and the benchmark, short: what takes minutes is run by `make soak` and `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.benchmarks.ingest import BARE, compare


def test_memory_does_not_grow_with_messages() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.soak", "--messages", "400000"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_message_costs_a_small_multiple_of_the_least_possible() -> None:
    """A guard against a blunder on the hot path, wide enough for a machine whose speed wanders."""
    costs = compare(rounds=3, connections=10, messages=60_000)
    ratio = min(ours / bare for ours, bare in zip(costs["feedd"], costs[BARE], strict=True))
    assert ratio < 5.0, json.dumps(costs)
