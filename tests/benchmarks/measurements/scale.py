"""Ten times the connections: does a message cost more?"""

from __future__ import annotations

from functools import partial

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import run_client, serving

FEW, MANY = 100, 1000
MESSAGES = 300_000
LIMIT = 1.10

ABOUT = (
    f"{MESSAGES:,} trades, sent as fast as the client reads, over {FEW} and over {MANY:,} connections. "
    "(The process's connect budget is lifted for this: the exchange allows an address 300 connections in "
    "five minutes.)"
)


def measure(rounds: int) -> Section:
    """Run the bare client and feedd with few and with many connections."""
    section = Section("scale", f"{MANY:,} connections", ABOUT)
    with serving() as server:
        measures = {
            f"{name}, {count:,} connections": partial(
                run_client, module, server.order(count, MESSAGES), server
            )
            for name, module in (("bare", "with_bare"), ("feedd", "with_feedd"))
            for count in (FEW, MANY)
        }
        taken = Rounds(section.name, measures, rounds)
    section.failures = taken.failures
    section.series = [taken.series(cell, cell, "cpu_us", "µs/message", digits=2) for cell in measures]
    many, few = f"feedd, {MANY:,} connections", f"feedd, {FEW:,} connections"
    ratio = taken.ratios(f"flood, CPU of feedd: {MANY:,} / {FEW} connections", many, few, "cpu_us")
    section.bars = [Bar(ratio, LIMIT)]
    return section
