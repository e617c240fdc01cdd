"""The drill: injects faults into the embedded exchange that a daemon watches, and checks how it reacts.

It is the operator's proof that every harm halts for the expected reason in time, and that nothing harmless
halts. It uses public interfaces only: the daemon's HTTP side and the exchange's fault board. The cases are
data: `harms.py` and `harmless.py`.
"""

from __future__ import annotations

from feedd.drill.run import CASES, NotReadyError, drill, named
from feedd.drill.table import listing
from feedd.errors import NotDrillableError

__all__ = ["CASES", "NotDrillableError", "NotReadyError", "drill", "listing", "named"]
