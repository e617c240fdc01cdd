"""As many messages as a client can take: what one costs it."""

from __future__ import annotations

import subprocess
from functools import partial

from tests.benchmarks.figures import Bar, Measure, Rounds, Section
from tests.benchmarks.peers import PEERS, Peer
from tests.benchmarks.processes import Server, run_client, serving

CONNECTIONS = 100
MESSAGES = 300_000
LIMIT = 1.6

ABOUT = (
    f"{MESSAGES:,} trades over {CONNECTIONS} connections, sent as fast as the client reads; fewer for the "
    "slower clients. The bare client (picows, orjson, uvloop) only decodes them and takes their latency. "
    "feedd is the whole daemon. The other clients do what their users need of them: receive, decode, "
    "build their own type if they have one, and take the latency."
)


def measure(rounds: int) -> Section:
    """Run the bare client, feedd, and all peers that can be installed."""
    section = Section("flood", f"Flood, {CONNECTIONS} connections", ABOUT)
    peers = [peer for peer in PEERS if _is_there(peer, section)]
    with serving() as server:
        order = server.order(CONNECTIONS, MESSAGES)
        measures: dict[str, Measure] = {
            "bare": partial(run_client, "with_bare", order, server),
            "feedd": partial(run_client, "with_feedd", order, server),
        }
        measures |= {peer.name: partial(_run_peer, peer, server) for peer in peers}
        taken = Rounds(section.name, measures, rounds)
    section.failures += taken.failures
    section.series = [taken.series(cell, cell, "cpu_us", "µs/message", digits=2) for cell in measures]
    ratio = taken.ratios("flood, CPU: feedd / bare client", "feedd", "bare", "cpu_us")
    section.bars.append(Bar(ratio, LIMIT))
    for peer in peers:
        times = taken.ratios(f"flood, CPU: {peer.name} / feedd", peer.name, "feedd", "cpu_us")
        section.bars.append(Bar(times, peer.times_feedd, at_least=True))
    return section


def _is_there(peer: Peer, section: Section) -> bool:
    try:
        peer.install()
    except subprocess.CalledProcessError as error:
        section.failures.append(f"{peer.name} could not be installed: {error}")
        return False
    return True


def _run_peer(peer: Peer, server: Server) -> dict[str, float]:
    return run_client(peer.module, server.order(CONNECTIONS, peer.messages), server, python=peer.python)
