"""One stream of one symbol: what came of it, what its identities prove, and whether it has gone mute."""

from __future__ import annotations

from feedd.core.mute_detector import MuteDetector
from feedd.core.route_state import RouteState
from feedd.core.sequence import Sequence, sequence_for
from feedd.model import Stream, Subscription


class StreamState:
    """The state of one stream of one symbol."""

    __slots__ = ("last_at", "messages", "mute_detector", "route", "sequence", "stream", "symbol", "wire_name")

    def __init__(self, subscription: Subscription, route: RouteState) -> None:
        self.symbol = subscription.symbol
        self.stream: Stream = subscription.stream
        self.wire_name = subscription.wire_name
        self.route = route
        self.sequence: Sequence = sequence_for(subscription.stream.continuity)
        self.mute_detector = MuteDetector()
        self.messages = 0
        """Handed on; repetitions are counted apart."""
        self.last_at: float | None = None

    def move_to(self, route: RouteState) -> None:
        """Belong to that route from now on."""
        self.route = route

    def silent_for(self, now: float) -> float:
        """Return the seconds since its newest message, or since the source began where there was none."""
        return now - (self.route.staleness.since if self.last_at is None else self.last_at)
