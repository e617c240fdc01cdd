"""feedd hands the market on to consumers: what each message costs, and how much later they have it."""

from __future__ import annotations

from functools import partial

from tests.benchmarks.figures import Bar, Rounds, Section
from tests.benchmarks.processes import SERVER_CORE, awake, run_client, serving

CONNECTIONS = 100
CONSUMERS = 10
RATE = 10_000
CALM_RATE = 5000
SECONDS = 3
CPU_LIMIT = 1.5
P50_LIMIT_US = 150.0
P99_LIMIT_US = 500.0

ABOUT = (
    f"{CONSUMERS} consumers, each with all streams. CPU: {RATE:,} trades a second come in over "
    f"{CONNECTIONS} connections, so that {RATE * CONSUMERS:,} a second go out; all of feedd's CPU is "
    "counted, the reading of the market too. The bare server only writes one prebuilt frame, at the same "
    f"rate, to as many consumers. Added time: at {CALM_RATE:,} trades a second, from feedd's reading of a "
    "frame until the kernel has it for the consumer, over all messages of the first and the last consumer "
    "that they are written to."
)


def measure(rounds: int) -> Section:
    """Run the bare server and feedd, with consumers."""
    section = Section("relay", f"Relay to {CONSUMERS} consumers", ABOUT)
    with serving() as server, awake():
        busy = server.order(
            CONNECTIONS, RATE * SECONDS, rate=RATE, consumers=CONSUMERS, consumers_core=SERVER_CORE
        )
        calm = server.order(
            CONNECTIONS, CALM_RATE * SECONDS, rate=CALM_RATE, consumers=CONSUMERS, consumers_core=SERVER_CORE
        )
        alone = server.order(CONNECTIONS, RATE * SECONDS, rate=RATE)
        measures = {
            "bare server": partial(run_client, "relay_bare", busy, server),
            "feedd": partial(run_client, "relay_feedd", busy, server),
            "feedd, nobody listens": partial(run_client, "relay_feedd", alone, server),
            "feedd, calm": partial(run_client, "relay_feedd", calm, server),
        }
        taken = Rounds(section.name, measures, rounds)
    section.failures = taken.failures
    share = 1.0 / CONSUMERS
    p50 = taken.series("relay, added p50", "feedd, calm", "p50_us", "µs", digits=0)
    p99 = taken.series("relay, added p99", "feedd, calm", "p99_us", "µs", digits=0)
    section.series = [
        taken.series("bare server: CPU", "bare server", "cpu_us", "µs/delivered", share, 2),
        taken.series("feedd: CPU", "feedd", "cpu_us", "µs/delivered", share, 2),
        taken.differences(
            "feedd: CPU that consumers add", "feedd", "feedd, nobody listens", "cpu_us", "µs/delivered", share
        ),
        p50,
        p99,
    ]
    name = "relay, CPU per delivery: feedd / bare server"
    section.bars = [
        Bar(taken.ratios(name, "feedd", "bare server", "cpu_us"), CPU_LIMIT),
        Bar(p50, P50_LIMIT_US),
        Bar(p99, P99_LIMIT_US),
    ]
    return section
