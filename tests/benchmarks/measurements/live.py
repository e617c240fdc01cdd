"""A busy market, message by message: CPU, and how long a message takes to be handed on."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import awake, run_client, serving

CONNECTIONS = 100
RATE = 10_000
SECONDS = 4
CPU_LIMIT = 1.25
P50_LIMIT = 1.5

ABOUT = (
    f"{RATE:,} trades a second, one after the other, over {CONNECTIONS} connections. The time is from the "
    "server's sending to the handing on: in the bare client after decoding, in feedd after all its "
    "outputs."
)


def measure(rounds: int) -> Section:
    """Run the bare client and feedd, with TLS and without."""
    section = Section("live", f"Live, {RATE:,} messages a second over {CONNECTIONS} connections", ABOUT)
    with serving() as server, awake():
        orders = {
            scheme: server.order(CONNECTIONS, RATE * SECONDS, rate=RATE, secure=scheme == "wss")
            for scheme in ("ws", "wss")
        }
        measures = {
            f"{name}, {scheme}": partial(run_client, module, order, server)
            for scheme, order in orders.items()
            for name, module in (("bare", "with_bare"), ("feedd", "with_feedd"))
        }
        taken = Rounds(section.name, measures, rounds)
    section.failures = taken.failures
    for cell in measures:
        section.series += [
            taken.series(f"{cell}: CPU", cell, "cpu_us", "µs/message"),
            taken.series(f"{cell}: p50", cell, "p50_us", "µs"),
            taken.series(f"{cell}: p99", cell, "p99_us", "µs"),
        ]
    for scheme in orders:
        ours, bare = f"feedd, {scheme}", f"bare, {scheme}"
        cpu = taken.ratios(f"live over {scheme}, CPU: feedd / bare client", ours, bare, "cpu_us")
        p50 = taken.ratios(f"live over {scheme}, p50: feedd / bare client", ours, bare, "p50_us")
        section.bars += [Bar(cpu, CPU_LIMIT), Bar(p50, P50_LIMIT)]
    return section
