"""What each stream's own identity proves: new, a repetition, a hole, or ids that began anew.

Spot's rules (Binance spot docs, web-socket-streams.md, and recorded traffic): trade and aggTrade ids step by
one; a depth message's first update id follows the last one's last; bookTicker's update ids rise and skip, so
they can't show a loss; klines and tickers have only their event time. Ids may begin anew (a testnet's wipe):
that is a reset, not millions of lost messages, and is known by a lower id with a later event time.

While two connections deliver the same streams, most messages come twice. The second copy may lag, and its
event time may differ by what two servers of the exchange differ: neither makes it a new beginning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

from feedd.core.gaps import GapLedger
from feedd.model import Continuity, ContinuityRule

IDENTITIES_REMEMBERED: Final = 64
EVENT_TIMES_REMEMBERED: Final = 8
"""Messages without an id come about once a second; a venue's clock set back by more than this is a reset."""
LOWER_IN_ORDER: Final = 8
"""So many unseen lower identities in rising order are no stragglers: one far too high came before them."""
COPY_LAG_MS: Final = 1000
"""A lower id is a lagging copy unless its event is later than the newest by more than this."""
SERVERS_DIFFER_MS: Final = 100
"""By this much two servers of the exchange may date the same event differently."""


class Sequence(ABC):
    """The state of one stream of one symbol. Counts are plain numbers for whoever exports them."""

    __slots__ = ("copies", "duplicates", "gaps", "ledger", "overlapping", "resets")

    def __init__(self) -> None:
        self.overlapping = False
        """Two connections deliver, or did until just now: repetitions are expected."""
        self.copies = 0
        """Repetitions while overlapping, and `duplicates`, those that nothing explains."""
        self.duplicates = 0
        self.gaps = 0
        """Holes in the ids, and `ledger`, what became of the ids that were in them."""
        self.ledger = GapLedger()
        self.resets = 0

    def begin_overlap(self) -> None:
        """From now on two connections deliver the stream: repetitions are expected."""
        self.overlapping = True

    def end_overlap(self) -> None:
        """One connection delivers, and has brought the last of what the other had brought before."""
        self.overlapping = False

    @property
    def missed(self) -> int:
        """Return how many ids were skipped, less those that were backfilled or still may be."""
        return self.ledger.lost

    @abstractmethod
    def admit(self, payload: Any) -> bool:
        """Tell whether the message is news; a repetition is counted and must not be handed on."""

    @abstractmethod
    def position(self, payload: Any) -> int:
        """Return the number that orders the message in its stream."""

    @property
    @abstractmethod
    def newest(self) -> int | None:
        """The highest position so far; None before the first message."""

    @abstractmethod
    def forget(self) -> None:
        """Take the next message as the first; the counts stay."""

    def is_ahead(self, payload: Any) -> bool:
        """Tell whether ids before this message's are still to come, if they come at all."""
        return False

    def _repeated(self) -> bool:
        if self.overlapping:
            self.copies += 1
        else:
            self.duplicates += 1
        return False


class _Consecutive(Sequence):
    """Ids without holes. A message spans the ids from `first` to `last`."""

    __slots__ = ("_last_time", "_next", "_start", "_start_time")

    def __init__(self) -> None:
        super().__init__()
        self._next: int | None = None
        self._last_time = 0
        self._start = self._start_time = 0

    def forget(self) -> None:
        self._next = None
        self.ledger.begin_anew("the feed began anew")

    @property
    def newest(self) -> int | None:
        return None if self._next is None else self._next - 1

    def is_ahead(self, payload: Any) -> bool:
        if self._next is None or self.position(payload) <= self._next:
            return False
        return not self._is_of_before(payload.event_time)

    def _irregular(self, first: int, last: int, event_time: int) -> bool:
        if self._next is None:
            self._start, self._start_time = first, event_time
        elif last >= self._next:
            if self._is_of_before(event_time):
                return self._repeated()
            if first > self._next:
                self.gaps += 1
                self.ledger.skipped(self._next, first - 1)
        elif self._begins_anew(first, event_time):
            self.resets += 1
            self.ledger.begin_anew("the ids began anew")
            self._start, self._start_time = first, event_time
        elif self.ledger.came(first, last):
            return True
        else:
            return self._repeated()
        self._next = last + 1
        self._last_time = event_time
        return True

    def _begins_anew(self, first: int, event_time: int) -> bool:
        if not self.overlapping:
            return event_time > self._last_time
        # A copy has been seen before, so it can't be from before the start, unless both have just begun.
        is_old = first < self._start and self._last_time > self._start_time + COPY_LAG_MS
        return event_time > self._last_time + (0 if is_old else COPY_LAG_MS)

    def _is_of_before(self, event_time: int) -> bool:
        """Tell whether it is a copy that lags behind a new beginning: its higher id is of the old ones."""
        # After a reset ids start low, so that a lagging copy of the old ones looks like a jump ahead: a gap
        # of millions. Only its event time gives it away: it happened before the first of the new ids. Two
        # servers may date one event differently, hence the tolerance; without a second connection there are
        # no copies, and without a reset there is nothing that they could lag behind.
        return self.overlapping and self.resets > 0 and event_time < self._start_time - SERVERS_DIFFER_MS


class StepSequence(_Consecutive):
    """Ids step by one."""

    __slots__ = ("_id",)

    def __init__(self, id_attribute: str) -> None:
        """Read each message's id from that attribute of its payload."""
        super().__init__()
        self._id = id_attribute

    def position(self, payload: Any) -> int:
        number: int = getattr(payload, self._id)
        return number

    def admit(self, payload: Any) -> bool:
        number: int = getattr(payload, self._id)
        if number == self._next:
            self._next = number + 1
            self._last_time = payload.event_time
            return True
        return self._irregular(number, number, payload.event_time)


class SpanSequence(_Consecutive):
    """A message's first id follows the last one's last."""

    __slots__ = ("_first_id", "_last_id")

    def __init__(self, first_attribute: str, last_attribute: str) -> None:
        """Read the first and the last id that a message spans from these attributes of its payload."""
        super().__init__()
        self._first_id = first_attribute
        self._last_id = last_attribute

    def position(self, payload: Any) -> int:
        first: int = getattr(payload, self._first_id)
        return first

    def admit(self, payload: Any) -> bool:
        first: int = getattr(payload, self._first_id)
        last: int = getattr(payload, self._last_id)
        if first == self._next:
            self._next = last + 1
            self._last_time = payload.event_time
            return True
        return self._irregular(first, last, payload.event_time)


class _Rising(Sequence):
    """Identities that rise, and of which a few are remembered to tell a repetition from a new beginning."""

    __slots__ = ("_last", "_lower", "_lower_in_order", "_recent")

    def __init__(self, remembered: int) -> None:
        super().__init__()
        self._last = -1
        self._lower = -1
        self._lower_in_order = 0
        self._recent: deque[int] = deque(maxlen=remembered)

    def forget(self) -> None:
        self._last = -1
        self._recent.clear()

    @property
    def newest(self) -> int | None:
        return self._last if self._recent else None

    def _keeps_rising(self, identity: int) -> bool:
        """Tell whether lower identities rise on and on: then the newest one was the one that is wrong."""
        if identity in self._recent:
            return False
        self._lower_in_order = self._lower_in_order + 1 if identity > self._lower else 0
        self._lower = identity
        return self._lower_in_order >= LOWER_IN_ORDER

    def _admit(self, identity: int) -> bool:
        if identity <= self._last:
            if self.overlapping or (identity >= self._recent[0] and not self._keeps_rising(identity)):
                return self._repeated()
            self.resets += 1
            self._recent.clear()
        self._lower, self._lower_in_order = -1, 0
        self._last = identity
        self._recent.append(identity)
        return True


class RisingSequence(_Rising):
    """Ids rise. What is older than the newest one is old news, whether seen before or not."""

    __slots__ = ("_id", "_may_repeat")

    def __init__(self, id_attribute: str, *, may_repeat: bool = False) -> None:
        """Read each message's id from that attribute. `may_repeat`: the newest one may be sent again."""
        super().__init__(IDENTITIES_REMEMBERED)
        self._id = id_attribute
        self._may_repeat = may_repeat

    def position(self, payload: Any) -> int:
        number: int = getattr(payload, self._id)
        return number

    def admit(self, payload: Any) -> bool:
        number: int = getattr(payload, self._id)
        if self._may_repeat and number == self._last and not self.overlapping:
            return True
        return self._admit(number)


class EventTimeSequence(_Rising):
    """Event times rise; two different messages may share one."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        super().__init__(EVENT_TIMES_REMEMBERED)
        self._newest: tuple[Any, ...] = ()
        """The last messages that share the newest event time."""

    def position(self, payload: Any) -> int:
        event_time: int = payload.event_time
        return event_time

    def admit(self, payload: Any) -> bool:
        if payload.event_time != self._last:
            if not self._admit(payload.event_time):
                return False
            self._newest = (payload,)
        elif payload in self._newest:
            return self._repeated()
        else:
            self._newest = (*self._newest[1 - EVENT_TIMES_REMEMBERED :], payload)
        return True


def sequence_for(continuity: Continuity) -> Sequence:
    """Return a fresh sequence with that rule."""
    match continuity.rule:
        case ContinuityRule.STEP:
            return StepSequence(continuity.first)
        case ContinuityRule.SPAN:
            return SpanSequence(continuity.first, continuity.last)
        case ContinuityRule.RISING:
            return RisingSequence(continuity.first, may_repeat=continuity.may_repeat)
        case _:
            return EventTimeSequence()
