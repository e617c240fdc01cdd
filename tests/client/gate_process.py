"""A process that asks its gate all the time, and prints each change of the answer.

A line is the answer, the monotonic time (which all processes of a machine share) and the reasons.
"""

from __future__ import annotations

import sys
import time

import feedd

ASK_EVERY_SECONDS = 0.0005


def main(url: str, symbol: str) -> None:
    with feedd.Gate(url) as gate:
        answer = None
        while True:
            before, answer = answer, gate.open(symbol)
            if answer != before:
                print(answer, time.monotonic(), ",".join(gate.reasons(symbol)), flush=True)
            time.sleep(ASK_EVERY_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
