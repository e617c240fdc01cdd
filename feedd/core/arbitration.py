"""Brings the messages of two connections into the order of one.

The first copy of a message wins. What is ahead of messages that the other connection may still bring is held
back until it brings them, or has passed them by, or a quarter of a second is over: so a connection can be
replaced under full load, and nothing is lost, repeated or out of order. Times are monotonic seconds.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from feedd.core.connection_set import Link
from feedd.core.symbol_state import Lane
from feedd.venues.binance.spot.payloads import Frame, Payload

HOLD_SECONDS: Final = 0.25
HELD_MAX: Final = 10_000
"""Per stream. Beyond it the oldest goes on, and a hole before it is counted."""
BEHIND_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits for those before it."""

    lane: Lane
    frame: Frame[Payload]
    raw: bytes
    read_at: float
    link: Link
    position: int


@dataclass(slots=True)
class _Merge:
    """One stream, as two connections bring it."""

    held: list[Held] = field(default_factory=list)
    """In the stream's order."""
    reached: dict[Link, int] = field(default_factory=dict)
    """How far each connection has come."""
    joining: set[Link] = field(default_factory=set)
    """Connections whose first message has not gone on yet."""
    behind_since: float | None = None
    """Since when no connection brings anything but what seems to have been seen before."""


class Arbiter:
    """Decides what may go on now while two connections deliver the same streams."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._lanes = {lane.wire_name: lane for lane in lanes}
        self._merges = {name: _Merge() for name in self._lanes}
        self._waiting: dict[str, _Merge] = {}
        """Those that hold something back."""
        self._links: list[Link] = []

    def opened(self, link: Link) -> None:
        """Another connection delivers from now on; from the second on, messages must pass through here."""
        self._links.append(link)
        if len(self._links) == 1:
            self.settled()
            return
        for lane, merge in zip(self._lanes.values(), self._merges.values(), strict=True):
            lane.sequence.overlapping = True
            merge.joining = {link} | {held.link for held in merge.held}
            merge.behind_since = None
            if lane.sequence.newest is not None:
                # Alone until now, the other one has brought all that there was.
                merge.reached[self._links[0]] = lane.sequence.newest

    def closed(self, link: Link) -> None:
        """A connection has ended: nothing that only it could bring is waited for."""
        self._links.remove(link)
        for merge in self._merges.values():
            merge.reached.pop(link, None)
            merge.joining &= {held.link for held in merge.held} | {*self._links}
        if not self._links:
            self.settled()

    def settled(self) -> None:
        """Only one connection delivers, and has brought the last of what had been seen before."""
        if len(self._links) < 2:
            for lane in self._lanes.values():
                lane.sequence.overlapping = False

    @property
    def is_caught_up(self) -> bool:
        """Nothing is held back."""
        return not self._waiting

    def may_pass(self, link: Link, frame: Frame[Payload], raw: bytes, now: float) -> bool:
        """Tell whether a message read at `now` goes on at once; if not, it is held, and comes by `ready`."""
        lane, merge = self._lanes[frame.stream], self._merges[frame.stream]
        held = Held(lane, frame, raw, now, link, lane.sequence.position(frame.data))
        merge.reached[link] = held.position
        is_next = not merge.held or held.position < merge.held[0].position
        if is_next and not self._waits(merge, held, now):
            merge.joining.discard(link)
            return True
        insort(merge.held, held, key=_position)
        self._waiting[frame.stream] = merge
        return False

    def ready(self, now: float) -> Held | None:
        """Return the next message that may go on now, to be asked again once it has."""
        for name, merge in self._waiting.items():
            first = merge.held[0]
            if len(merge.held) > HELD_MAX or not self._waits(merge, first, now):
                del merge.held[0]
                merge.joining.discard(first.link)
                if not merge.held:
                    del self._waiting[name]
                return first
        return None

    def look(self, now: float) -> None:
        """Find streams whose ids have begun anew and can't show it by themselves: take the next as the first.

        Copies lag, but not for long: where both connections stay behind what has gone on, the ids
        are others.
        """
        for lane, merge in zip(self._lanes.values(), self._merges.values(), strict=True):
            newest = None if lane.stream.kind.counts_loss else lane.sequence.newest
            if newest is None or any(reached >= newest for reached in merge.reached.values()):
                merge.behind_since = None
            elif merge.behind_since is None:
                merge.behind_since = now
            elif now - merge.behind_since >= BEHIND_SECONDS:
                merge.behind_since = None
                merge.reached.clear()
                lane.sequence.forget()

    def _waits(self, merge: _Merge, held: Held, now: float) -> bool:
        if now - held.read_at >= HOLD_SECONDS:
            return False
        others = [merge.reached.get(link) for link in self._links if link is not held.link]
        if held.lane.sequence.is_ahead(held.frame.data):
            return any(reached is None or reached < held.position for reached in others)
        if held.link not in merge.joining or held.lane.stream.kind.counts_loss:
            return False
        # These ids skip, so only the other connection's progress tells what was missing between.
        return any(reached is not None and reached < held.position for reached in others)


def _position(held: Held) -> int:
    return held.position
