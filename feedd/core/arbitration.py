"""A/B line arbitration: brings the messages of two connections into the order of one.

The first copy of a message wins. What is ahead of messages that the other connection may still bring is held
back until it brings them, or has passed them by, or a quarter of a second is over: so a connection can be
replaced under full load, and nothing is lost, repeated or out of order. Times are monotonic seconds.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from feedd.core.connection_set import ConnectionRecord
from feedd.core.stream_state import StreamState
from feedd.model import EventFrame

HOLD_SECONDS: Final = 0.25
HELD_MAX: Final = 10_000
"""Per stream. Beyond it the oldest goes on, and a hole before it is counted."""
BEHIND_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that waits for those before it."""

    stream_state: StreamState
    frame: EventFrame
    raw: bytes
    read_at: float
    record: ConnectionRecord
    position: int


@dataclass(slots=True)
class _Merge:
    """One stream, as two connections bring it."""

    held: list[HeldMessage] = field(default_factory=list)
    """In the stream's order."""
    reached: dict[ConnectionRecord, int] = field(default_factory=dict)
    """How far each connection has come."""
    joining: set[ConnectionRecord] = field(default_factory=set)
    """Connections whose first message has not gone on yet."""
    behind_since: float | None = None
    """Since when no connection brings anything but what seems to have been seen before."""


class Arbitrator:
    """Decides what may go on now while two connections deliver the same streams."""

    def __init__(self, stream_states: Iterable[StreamState]) -> None:
        self._stream_states = {stream_state.wire_name: stream_state for stream_state in stream_states}
        self._merges = {name: _Merge() for name in self._stream_states}
        self._waiting: dict[str, _Merge] = {}
        """Those that hold something back."""
        self._connection_set: list[ConnectionRecord] = []

    def opened(self, record: ConnectionRecord) -> None:
        """Another connection delivers from now on; from the second on, messages must pass through here."""
        self._connection_set.append(record)
        if len(self._connection_set) == 1:
            self.settled()
            return
        for stream_state, merge in zip(self._stream_states.values(), self._merges.values(), strict=True):
            stream_state.sequence.begin_overlap()
            merge.joining = {record} | {held.record for held in merge.held}
            merge.behind_since = None
            if stream_state.sequence.newest is not None:
                # Alone until now, the other one has brought all that there was.
                merge.reached[self._connection_set[0]] = stream_state.sequence.newest

    def closed(self, record: ConnectionRecord) -> None:
        """A connection has ended: nothing that only it could bring is waited for."""
        self._connection_set.remove(record)
        for merge in self._merges.values():
            merge.reached.pop(record, None)
            merge.joining &= {held.record for held in merge.held} | {*self._connection_set}
        if not self._connection_set:
            self.settled()

    def settled(self) -> None:
        """Only one connection delivers, and has brought the last of what had been seen before."""
        if len(self._connection_set) < 2:
            for stream_state in self._stream_states.values():
                stream_state.sequence.end_overlap()

    @property
    def is_caught_up(self) -> bool:
        """Nothing is held back."""
        return not self._waiting

    def may_pass(self, record: ConnectionRecord, frame: EventFrame, raw: bytes, now: float) -> bool:
        """Tell whether a message read at `now` goes on at once; if not, it is held, and comes by `ready`."""
        stream_state, merge = self._stream_states[frame.stream], self._merges[frame.stream]
        held = HeldMessage(stream_state, frame, raw, now, record, stream_state.sequence.position(frame.data))
        merge.reached[record] = held.position
        is_next = not merge.held or held.position < merge.held[0].position
        if is_next and not self._waits(merge, held, now):
            merge.joining.discard(record)
            return True
        insort(merge.held, held, key=_position)
        self._waiting[frame.stream] = merge
        return False

    def ready(self, now: float) -> HeldMessage | None:
        """Return the next message that may go on now, to be asked again once it has."""
        for name, merge in self._waiting.items():
            first = merge.held[0]
            if len(merge.held) > HELD_MAX or not self._waits(merge, first, now):
                del merge.held[0]
                merge.joining.discard(first.record)
                if not merge.held:
                    del self._waiting[name]
                return first
        return None

    def detect_resets(self, now: float) -> None:
        """Find streams whose ids have begun anew and can't show it by themselves: take the next as the first.

        Copies lag, but not for long: where both connections stay behind what has gone on, the ids
        are others.
        """
        for stream_state, merge in zip(self._stream_states.values(), self._merges.values(), strict=True):
            newest = None if stream_state.stream.continuity.counts_loss else stream_state.sequence.newest
            if newest is None or any(reached >= newest for reached in merge.reached.values()):
                merge.behind_since = None
            elif merge.behind_since is None:
                merge.behind_since = now
            elif now - merge.behind_since >= BEHIND_SECONDS:
                merge.behind_since = None
                merge.reached.clear()
                stream_state.sequence.forget()

    def _waits(self, merge: _Merge, held: HeldMessage, now: float) -> bool:
        # A connection delivers each stream in its order, so a message waits only for what another connection
        # may still bring before it, and never longer than the hold.
        # Ids without holes say by themselves that something before it is out (is_ahead): it waits until each
        # other connection has reached its position, since what they have not brought by then they never will.
        # Ids that skip can't say so. While both connections are established the first copy of each wins and
        # whatever is lower is old; the danger is a connection that has just joined: its first message may be
        # ahead of messages that only the other one brings. So the first messages of a joining connection wait
        # for the others' progress, and no others do. A connection that has brought nothing of a skipping
        # stream (None) proves nothing and holds nothing up.
        if now - held.read_at >= HOLD_SECONDS:
            return False
        others = [merge.reached.get(record) for record in self._connection_set if record is not held.record]
        if held.stream_state.sequence.is_ahead(held.frame.data):
            return any(reached is None or reached < held.position for reached in others)
        if held.record not in merge.joining or held.stream_state.stream.continuity.counts_loss:
            return False
        # These ids skip, so only the other connection's progress tells what was missing between.
        return any(reached is not None and reached < held.position for reached in others)


def _position(held: HeldMessage) -> int:
    return held.position
