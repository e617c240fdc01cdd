"""How long a drill waits for what, and how often it polls. All in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillTiming:
    """The times of a drill that no case states; the defaults are those of the command."""

    open: float = 30.0
    """How long a daemon may take to open every gate before the drill begins."""
    pace: float = 1.0
    """For how long each symbol's message rate is measured."""
    ready: float = 150.0
    """How long a symbol may take to be open before its next case: a daemon pauses for 90 s where a rule of
    the exchange has refused it."""
    hopeless: float = 5.0
    """The same, once a symbol has taken longer than `ready`: it won't be open for later cases either."""
    alone: float = 3.0
    """How long to wait for a second connection to close; a daemon that keeps two is drilled with both."""
    settle: float = 0.3
    """How long a symbol is observed after something harmless is over."""
    echo: float = 2.0
    """How long a stall of this machine may have effects after it."""
    poll: float = 0.2
    """How often metrics and status are polled; more rarely where that takes long."""
    pulse: float = 0.05
    """How often is checked whether this process gets to run."""


DEFAULT_TIMING: Final = DrillTiming()
