"""What each stream's own identity proves: new, a repetition, a hole, or ids that began anew.

Spot's rules (Binance spot docs, web-socket-streams.md, and recorded traffic): trade and aggTrade ids step by
one; a depth message's first update id follows the last one's last; bookTicker's update ids rise and skip, so
they can't show a loss; klines and tickers have only their event time. Ids may begin anew (a testnet's wipe):
that is a reset, not millions of lost messages, and is known by a lower id with a later event time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

from feedd.binance.payloads import (
    AggTrade,
    AveragePrice,
    BookTicker,
    Depth,
    Kline,
    MiniTicker,
    PartialDepth,
    Payload,
    Ticker,
    Trade,
    WindowTicker,
)
from feedd.binance.streams import Kind

HOLES_REMEMBERED: Final = 64
IDENTITIES_REMEMBERED: Final = 64
EVENT_TIMES_REMEMBERED: Final = 8
"""Messages without an id come about once a second; a venue's clock set back by more than this is a reset."""


class Sequence(ABC):
    """The state of one stream of one symbol. Counts are plain numbers for whoever exports them."""

    __slots__ = ("duplicates", "gaps", "missed", "resets")

    def __init__(self) -> None:
        self.duplicates = 0
        self.gaps = 0
        """Holes in the ids, and `missed`, the ids that were in them."""
        self.missed = 0
        self.resets = 0

    @abstractmethod
    def admit(self, payload: Any) -> bool:
        """Tell whether the message is news; a repetition is counted and must not be handed on."""

    @abstractmethod
    def forget(self) -> None:
        """Take the next message as the first; the counts stay."""


class _Consecutive(Sequence):
    """Ids without holes. A message spans the ids from `first` to `last`."""

    __slots__ = ("_holes", "_last_time", "_next")

    def __init__(self) -> None:
        super().__init__()
        self._next: int | None = None
        self._last_time = 0
        self._holes: deque[tuple[int, int]] = deque(maxlen=HOLES_REMEMBERED)

    def forget(self) -> None:
        self._next = None
        self._holes.clear()

    def _irregular(self, first: int, last: int, event_time: int) -> bool:
        if self._next is None or last >= self._next:
            if self._next is not None and first > self._next:
                self._note_hole(self._next, first - 1)
        elif event_time > self._last_time:
            self.resets += 1
            self._holes.clear()
        elif self._fills_hole(first, last):
            return True
        else:
            self.duplicates += 1
            return False
        self._next = last + 1
        self._last_time = event_time
        return True

    def _note_hole(self, first: int, last: int) -> None:
        self.gaps += 1
        self.missed += last - first + 1
        self._holes.append((first, last))

    def _fills_hole(self, first: int, last: int) -> bool:
        for hole in self._holes:
            if hole[0] <= first and last <= hole[1]:
                self._holes.remove(hole)
                self._holes.extend(
                    part for part in ((hole[0], first - 1), (last + 1, hole[1])) if part[0] <= part[1]
                )
                return True
        return False


class TradeSequence(_Consecutive):
    """Trade ids step by one."""

    __slots__ = ()

    def admit(self, payload: Trade) -> bool:
        if payload.trade_id == self._next:
            self._next += 1
            self._last_time = payload.event_time
            return True
        return self._irregular(payload.trade_id, payload.trade_id, payload.event_time)


class AggTradeSequence(_Consecutive):
    """Aggregate trade ids step by one."""

    __slots__ = ()

    def admit(self, payload: AggTrade) -> bool:
        if payload.aggregate_id == self._next:
            self._next += 1
            self._last_time = payload.event_time
            return True
        return self._irregular(payload.aggregate_id, payload.aggregate_id, payload.event_time)


class DepthSequence(_Consecutive):
    """A message's first update id follows the last one's last."""

    __slots__ = ()

    def admit(self, payload: Depth) -> bool:
        if payload.first_update_id == self._next:
            self._next = payload.last_update_id + 1
            self._last_time = payload.event_time
            return True
        return self._irregular(payload.first_update_id, payload.last_update_id, payload.event_time)


class _Rising(Sequence):
    """Identities that rise, and of which a few are remembered to tell a repetition from a new beginning."""

    __slots__ = ("_last", "_recent")

    def __init__(self, remembered: int) -> None:
        super().__init__()
        self._last = -1
        self._recent: deque[int] = deque(maxlen=remembered)

    def forget(self) -> None:
        self._last = -1
        self._recent.clear()

    def _admit(self, identity: int) -> bool:
        if identity <= self._last:
            if identity >= self._recent[0]:
                self.duplicates += 1
                return False
            self.resets += 1
            self._recent.clear()
        self._last = identity
        self._recent.append(identity)
        return True


class BookTickerSequence(_Rising):
    """Update ids rise. An older quote than the newest one is old news, whether seen before or not."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(IDENTITIES_REMEMBERED)

    def admit(self, payload: BookTicker) -> bool:
        return self._admit(payload.update_id)


class PartialDepthSequence(_Rising):
    """The book's update id; a book that didn't change may be sent again and is then as good as new."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(IDENTITIES_REMEMBERED)

    def admit(self, payload: PartialDepth) -> bool:
        return payload.last_update_id == self._last or self._admit(payload.last_update_id)


class EventTimeSequence(_Rising):
    """Event times rise; two different messages may share one."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        super().__init__(EVENT_TIMES_REMEMBERED)
        self._newest: tuple[Payload, ...] = ()
        """The last messages that share the newest event time."""

    def admit(self, payload: Kline | MiniTicker | Ticker | WindowTicker | AveragePrice) -> bool:
        if payload.event_time != self._last:
            if not self._admit(payload.event_time):
                return False
            self._newest = (payload,)
        elif payload in self._newest:
            self.duplicates += 1
            return False
        else:
            self._newest = (*self._newest[1 - EVENT_TIMES_REMEMBERED :], payload)
        return True


def sequence_for(kind: Kind) -> Sequence:
    """Return a fresh sequence with the rule of that kind of stream."""
    match kind:
        case Kind.TRADE:
            return TradeSequence()
        case Kind.AGG_TRADE:
            return AggTradeSequence()
        case Kind.DEPTH:
            return DepthSequence()
        case Kind.BOOK_TICKER:
            return BookTickerSequence()
        case Kind.PARTIAL_DEPTH:
            return PartialDepthSequence()
        case _:
            return EventTimeSequence()
