"""`make bench`: what feedd costs, side by side with the least possible and with other people's clients.

Nothing is compared across rounds: the speed of a machine wanders, most of all a virtual one's. A complete run
writes docs/benchmarks/ and the table in the README; a part of it, or a quick one, only prints.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tests.benchmarks.figures import Section
from tests.benchmarks.machine import watching
from tests.benchmarks.measurements import bursts, flood, live, memory, relay, scale, scrape, start
from tests.benchmarks.picture import picture
from tests.benchmarks.processes import PROJECT
from tests.benchmarks.report import page, summary, write_into

ROUNDS, QUICK_ROUNDS = 5, 1

MEASUREMENTS: dict[str, Callable[[int], Section]] = {
    "flood": flood.measure,
    "live": live.measure,
    "bursts": bursts.measure,
    "scale": scale.measure,
    "scrape": scrape.measure,
    "relay": relay.measure,
    "memory": memory.measure,
    "start": start.measure,
}


def main() -> None:
    arguments = _parser().parse_args()
    names = arguments.only or list(MEASUREMENTS)
    rounds = QUICK_ROUNDS if arguments.quick else arguments.rounds
    began = time.monotonic()
    sections = [_measured(name, rounds) for name in names]
    text = page(sections, rounds, time.monotonic() - began)
    print(text)
    if len(names) == len(MEASUREMENTS) and rounds >= ROUNDS:
        folder = PROJECT / "docs" / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(text)
        (folder / "results.svg").write_text(picture(sections))
        write_into(PROJECT / "README.md", summary(sections, rounds))
    sys.exit(any(section.failures for section in sections))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=MEASUREMENTS, metavar="NAME", help=", ".join(MEASUREMENTS)
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round of each")
    return parser


def _measured(name: str, rounds: int) -> Section:
    with watching() as busy:
        section = MEASUREMENTS[name](rounds)
    section.others_busy = busy.share
    return section


if __name__ == "__main__":
    main()
