"""`make bench`: what a message costs feedd, as a ratio to the least that a client can do, in the same run.

Both clients read the same messages from the same server. The machine's speed wanders, so only the ratio
within a round says something; the median over the rounds, each in random order, is the figure.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLIENTS = {"feedd": "tests.benchmarks.client_feedd", "bare picows": "tests.benchmarks.client_bare"}
BARE = "bare picows"


@contextmanager
def flood_server() -> Iterator[int]:
    """Run the server in its own process; yields its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.flood"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def cpu_per_message(client: str, port: int, connections: int, messages: int) -> float:
    """Run one client; returns microseconds of CPU per message."""
    command = [sys.executable, "-m", CLIENTS[client], str(port), str(connections), str(messages)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    cpu: float = json.loads(output.stdout)["cpu_us"]
    return cpu


def compare(rounds: int, connections: int, messages: int) -> dict[str, list[float]]:
    """Return each client's microseconds per message, a figure a round."""
    costs: dict[str, list[float]] = {client: [] for client in CLIENTS}
    with flood_server() as port:
        for _ in range(rounds):
            for client in random.sample(sorted(CLIENTS), len(CLIENTS)):
                costs[client].append(cpu_per_message(client, port, connections, messages))
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--messages", type=int, default=300_000)
    arguments = parser.parse_args()
    costs = compare(arguments.rounds, arguments.connections, arguments.messages)
    print(f"{arguments.messages} trades over {arguments.connections} connections, {arguments.rounds} rounds")
    print(f"{'client':<14}{'CPU us/message':>16}{'ratio (range)':>24}")
    for client, figures in costs.items():
        ratios = [cost / bare for cost, bare in zip(figures, costs[BARE], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"{client:<14}{statistics.median(figures):>16.2f}{spread:>24}")


if __name__ == "__main__":
    main()
