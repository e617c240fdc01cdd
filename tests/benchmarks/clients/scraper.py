"""Scrapes a metrics page a few times, in a process of its own. Prints when each scrape began and ended."""

from __future__ import annotations

import json
import sys
import time
import urllib.request


def main() -> None:
    url, times, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    windows = []
    for _ in range(times):
        time.sleep(pause)
        began = time.monotonic()
        with urllib.request.urlopen(url, timeout=60.0) as response:
            response.read()
        windows.append((began, time.monotonic()))
    print(json.dumps(windows))


if __name__ == "__main__":
    main()
