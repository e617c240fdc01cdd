"""What a symbol takes of the memory while nothing happens."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import run_client, serving

SYMBOLS = 1000
LIMIT_KB = 100.0

ABOUT = (
    f"Resident memory with {SYMBOLS:,} symbols, each with a connection over TLS that has brought one "
    "message, less that with one symbol, shared out among the others."
)


def measure(rounds: int) -> Section:
    """Run the bare client and feedd with one and with many connections."""
    section = Section("memory", f"Memory of {SYMBOLS:,} idle symbols", ABOUT)
    with serving() as server:
        measures = {
            f"{name}, {count}": partial(run_client, module, server.order(count, 0, secure=True), server)
            for name, module in (("bare", "with_bare"), ("feedd", "with_feedd"))
            for count in (1, SYMBOLS)
        }
        taken = Rounds(section.name, measures, rounds)
    section.failures = taken.failures
    share = 1 / 1000 / (SYMBOLS - 1)
    each = {
        name: taken.differences(
            f"{name}: per symbol", f"{name}, {SYMBOLS}", f"{name}, 1", "resident_bytes", "KB", share
        )
        for name in ("bare", "feedd")
    }
    whole = taken.series("feedd: in all", f"feedd, {SYMBOLS}", "resident_bytes", "MB", 1e-6)
    section.series = [*each.values(), whole]
    section.bars = [Bar(each["feedd"].named("memory per wss symbol, idle"), LIMIT_KB)]
    return section
