"""Binance spot's table, read by kind: tests are about kinds where names don't matter."""

from __future__ import annotations

from typing import Final

from feedd.core.sequence import Sequence, sequence_for
from feedd.model import StreamKind
from feedd.venues.binance.spot.streams import STREAMS
from feedd.venues.venue import StreamDefinition

DEFINITION_OF: Final[dict[StreamKind, StreamDefinition]] = {
    definition.stream.kind: definition for definition in STREAMS.values()
}
"""One stream of each kind."""


def sequence_of(kind: StreamKind) -> Sequence:
    """Return a fresh sequence with spot's rule for that kind."""
    return sequence_for(DEFINITION_OF[kind].stream.continuity)
