"""Follows a gate from its changes alone, as a consumer of the daemon does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from feedd.core.gate import GateChange
from feedd.model import Reason


def replayed(changes: Iterable[GateChange]) -> set[Reason]:
    """Return the reasons that are active after the changes of a gate that has just begun."""
    active = {Reason.STARTING}
    for change in changes:
        assert change.added or change.removed
        assert not active & set(change.added)
        assert active >= set(change.removed)
        active = (active | set(change.added)) - set(change.removed)
        assert active == set(change.reasons)
        assert change.halted is bool(active)
    return active


def became_active(changes: Iterable[GateChange]) -> Counter[Reason]:
    """Count how often each reason became active; `starting` never counts."""
    added = (reason for change in changes for reason in change.added)
    return Counter(reason for reason in added if reason is not Reason.STARTING)
