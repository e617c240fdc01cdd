"""Prometheus asks for the page of a thousand symbols while the market goes on."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import SERVER_CORE, awake, run_client, serving

SYMBOLS = 1000
RATE = 5000
SECONDS = 60
"""The messages go on until the scrapes are done, but no longer than this."""
HELD_LIMIT_MS = 5.0
WORK_LIMIT = 1 / 20

ABOUT = (
    f"{SYMBOLS:,} symbols with three streams each, {RATE:,} trades a second, a scrape every half second. "
    "Held: the longest that any message took from its sending to its handing on while a page was written; "
    "a stall of the machine counts too, which is why the longest without a scrape stands beside it. Work: "
    "CPU time of the page, beside prometheus_client's generate_latest() for metrics of its own with the "
    "same families, labels and buckets."
)


def measure(rounds: int) -> Section:
    """Run feedd with a scraper."""
    section = Section("scrape", f"Scrape of {SYMBOLS:,} symbols", ABOUT)
    with serving() as server, awake():
        order = server.order(SYMBOLS, RATE * SECONDS, rate=RATE, consumers_core=SERVER_CORE)
        taken = Rounds(section.name, {"feedd": partial(run_client, "scrape_feedd", order, server)}, rounds)
    section.failures = taken.failures
    first = taken.series("first scrape: longest held", "feedd", "first_held_us", "ms", 1e-3)
    held = taken.series("later scrapes: longest held", "feedd", "held_us", "ms", 1e-3)
    section.series = [
        taken.series("lines", "feedd", "lines", "", digits=0),
        first,
        held,
        taken.series("longest without a scrape", "feedd", "otherwise_us", "ms", 1e-3),
        taken.series("longest piece of the page: CPU", "feedd", "longest_piece_us", "ms", 1e-3, digits=2),
        taken.series("page: CPU", "feedd", "work_us", "ms", 1e-3),
        taken.series("generate_latest(): CPU", "feedd", "generate_latest_us", "ms", 1e-3),
    ]
    name = "scrape, CPU: feedd / generate_latest()"
    work = taken.ratios(name, "feedd", "feedd", "work_us", "generate_latest_us", digits=3)
    section.bars = [Bar(first, HELD_LIMIT_MS), Bar(held, HELD_LIMIT_MS), Bar(work, WORK_LIMIT)]
    return section
