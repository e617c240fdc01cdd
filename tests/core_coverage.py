"""Runs each module of the pure rooms against its own tests alone, and demands that they cover every branch.

Property tests (`test_any_…`) don't take part: what is covered must not depend on what they happen to draw.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

PROJECT = Path(__file__).parents[1]
ROOMS = ("core", "venues.binance.common", "venues.binance.spot")


def is_covered(room: str, module: str, folder: str) -> bool:
    """Run one module's tests and report on it."""
    coverage = (sys.executable, "-m", "coverage")
    data = f"--data-file={folder}/{room}.{module}"
    pytest = ("-m", "pytest", "--quiet", "--no-header", "--no-summary", "-p", "no:cacheprovider")
    tests = ("-k", "not test_any_", f"tests/{room.replace('.', '/')}/test_{module}.py")
    measured = subprocess.run(
        (*coverage, "run", "--branch", data, f"--source=feedd.{room}.{module}", *pytest, *tests),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if measured.returncode:
        print(measured.stdout, measured.stderr)
        return False
    report = (*coverage, "report", data, "--format=total", "--precision=2")
    total = subprocess.run(report, cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip()
    print(f"feedd.{room}.{module}: {total} %")
    if total == "100.00":
        return True
    subprocess.run((*coverage, "report", data, "--skip-covered"), cwd=PROJECT, check=False)
    return False


def main() -> int:
    """Return 0 if every module is covered by its own tests, else 1."""
    with TemporaryDirectory() as folder:
        results = [
            is_covered(room, path.stem, folder)
            for room in ROOMS
            for path in sorted((PROJECT / "feedd" / room.replace(".", "/")).glob("*.py"))
            if path.stem != "__init__"
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
