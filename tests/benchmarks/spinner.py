"""Keeps a core awake: turns in circles whenever nothing else wants to run there, until it is ended."""

from __future__ import annotations

import os


def main() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    main()
