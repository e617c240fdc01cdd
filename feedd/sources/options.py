"""How the sources do their work where no setting says it: values, so that a test can have others."""

from __future__ import annotations

from dataclasses import dataclass, field

from feedd.core.backfill_queue import BackfillTiming
from feedd.core.budgets import WeightBudget
from feedd.sources.live.connection import ConnectionTiming
from feedd.sources.rest.pollers import ClockTiming


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How everything that brings data waits, and reads."""

    connection: ConnectionTiming | None = None
    """None: what the venue's rules leave."""
    clock: ClockTiming = field(default_factory=ClockTiming)
    backfill: BackfillTiming = field(default_factory=BackfillTiming)
    weights: WeightBudget | None = None
    """None: the venue's share."""
    reads_directly: bool = True
    """Frames come straight from aiohttp's parser where its version is known."""
