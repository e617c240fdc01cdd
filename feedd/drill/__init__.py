"""The drill: breaks the embedded exchange that a running daemon watches, and sees what the daemon does.

It is the operator's proof that every harm halts for its reason in its time, and that nothing harmless does.
It knows only what everyone can ask: the daemon's HTTP side and the exchange's fault board. The list of cases
is data: `harms.py` and `harmless.py`.
"""

from __future__ import annotations

from feedd.drill.run import CASES, NotReadyError, drill, named
from feedd.drill.table import listing
from feedd.errors import NotDrillableError

__all__ = ["CASES", "NotDrillableError", "NotReadyError", "drill", "listing", "named"]
