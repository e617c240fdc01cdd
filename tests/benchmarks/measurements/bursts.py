"""Messages that come back to back, as they do when a market moves."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import awake, run_client, serving

CONNECTIONS = 100
RATE = 10_000
BURST = 200
SECONDS = 4
P50_LIMIT = 2.5

ABOUT = (
    f"{RATE:,} trades a second over {CONNECTIONS} connections, {BURST} of them back to back, "
    f"{RATE // BURST} times a second."
)


def measure(rounds: int) -> Section:
    """Run the bare client and feedd."""
    section = Section("bursts", f"Bursts of {BURST} messages", ABOUT)
    with serving() as server, awake():
        order = server.order(CONNECTIONS, RATE * SECONDS, rate=RATE, burst=BURST)
        measures = {
            "bare": partial(run_client, "with_bare", order, server),
            "feedd": partial(run_client, "with_feedd", order, server),
        }
        taken = Rounds(section.name, measures, rounds)
    section.failures = taken.failures
    for cell in measures:
        section.series += [
            taken.series(f"{cell}: CPU", cell, "cpu_us", "µs/message"),
            taken.series(f"{cell}: p50", cell, "p50_us", "µs"),
            taken.series(f"{cell}: p99", cell, "p99_us", "µs"),
        ]
    section.bars = [
        Bar(taken.ratios("bursts, p50: feedd / bare client", "feedd", "bare", "p50_us"), P50_LIMIT)
    ]
    return section
