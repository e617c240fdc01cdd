"""The ids that a stream skipped, and what became of them.

An id that was skipped is lost at once, unless somebody fetches what is missing: then it is pending until it
has been found, or was given up. So no count of what is lost ever falls. The stream itself may still bring
what it had skipped (messages out of order, a second connection), and whoever comes first is handed on.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

HOLES_REMEMBERED: Final = 64
"""Of those that are lost, so that a late message is told from a repetition."""
HOLES_PENDING_MAX: Final = 1000
IDS_PENDING_MAX: Final = 50_000
"""Per stream: 50 requests. What is older than the newest of them is given up."""

IdRange = tuple[int, int]
"""The first and the last of ids that are all missing."""


class IdRanges:
    """Missing ids of one stream, lowest first."""

    __slots__ = ("_holes", "_most_holes", "_most_ids")

    def __init__(self, most_holes: int, most_ids: float = math.inf) -> None:
        self._holes: list[IdRange] = []
        self._most_holes = most_holes
        self._most_ids = most_ids

    def __iter__(self) -> Iterator[IdRange]:
        return iter(self._holes)

    def __len__(self) -> int:
        """Return how many holes there are, not how many ids are in them."""
        return len(self._holes)

    @property
    def ids(self) -> int:
        return sum(map(_size, self._holes))

    def add(self, hole: IdRange) -> None:
        """Add a hole that overlaps none that is here."""
        insort(self._holes, hole)

    def fill(self, first: int, last: int) -> bool:
        """Take these ids out; False if not all of them are missing."""
        index = bisect_right(self._holes, (first, math.inf)) - 1
        if index < 0 or last > self._holes[index][1]:
            return False
        start, end = self._holes[index]
        rest = ((start, first - 1), (last + 1, end))
        self._holes[index : index + 1] = [part for part in rest if part[0] <= part[1]]
        return True

    def remove_up_to(self, last: int) -> list[IdRange]:
        """Take out and return what is not above that id."""
        taken = []
        while self._holes and self._holes[0][0] <= last:
            first, end = self._holes.pop(0)
            taken.append((first, min(end, last)))
            if end > last:
                self._holes.insert(0, (last + 1, end))
        return taken

    def remove_surplus(self) -> list[IdRange]:
        """Take out and return the lowest of what is more than may be kept."""
        taken = self._holes[: max(0, len(self._holes) - self._most_holes)]
        del self._holes[: len(taken)]
        while (surplus := self.ids - self._most_ids) > 0:
            first, last = self._holes[0]
            taken += self.remove_up_to(min(last, first + int(surplus) - 1))
        return taken


@dataclass(slots=True)
class Loss:
    """Ids that were being fetched and have been given up: so many of those from the first to the last."""

    first: int
    last: int
    ids: int
    why: str


class GapLedger:
    """What became of the ids that one stream skipped. Counts are plain numbers that never fall."""

    __slots__ = ("_remembered", "backfilled", "has_new_gaps", "is_fetched", "losses", "lost", "pending")

    def __init__(self) -> None:
        self.is_fetched = False
        """Somebody fetches what is missing from now on."""
        self.lost = 0
        """Ids that nobody found, or that were not looked for."""
        self.backfilled = 0
        self.pending = IdRanges(HOLES_PENDING_MAX, IDS_PENDING_MAX)
        """What is being fetched. Where the ids began anew it is another object than before."""
        self.losses: list[Loss] = []
        """What was given up of it and nobody has been told of yet: `take_losses` empties the list."""
        self.has_new_gaps = False
        """Something else is pending than when this was last acknowledged."""
        self._remembered = IdRanges(HOLES_REMEMBERED)

    def fetch(self, is_fetched: bool) -> None:
        """Note whether somebody fetches what is missing from now on."""
        self.is_fetched = is_fetched

    def acknowledge_gaps(self) -> None:
        """Note that whoever fetches knows of all that is pending."""
        self.has_new_gaps = False

    def take_losses(self) -> list[Loss]:
        """Return what was given up since the last call: whoever takes it tells of it."""
        losses, self.losses = self.losses, []
        return losses

    def skipped(self, first: int, last: int) -> None:
        """Note ids that a message has left out."""
        if not self.is_fetched:
            self._lose([(first, last)])
            return
        self.has_new_gaps = True
        self.pending.add((first, last))
        self._give_up(self.pending.remove_surplus(), "too much is missing")

    def came(self, first: int, last: int) -> bool:
        """Note ids that the stream brings late. False if they have been seen before."""
        if self.pending.fill(first, last):
            self._give_up(self.pending.remove_surplus(), "too much is missing")
            return True
        found = self._remembered.fill(first, last)
        self._remembered.remove_surplus()
        return found

    def fetched(self, number: int) -> bool:
        """Note an id that was fetched. False if nobody waits for it any more, or it came by itself."""
        is_news = self.pending.fill(number, number)
        if is_news:
            self.backfilled += 1
        return is_news

    def give_up(self, why: str, last: int | None = None) -> None:
        """Fetch no more of what is pending, up to that id if one is given: it is lost."""
        self._give_up(self.pending.remove_up_to(last) if last is not None else self._remove_all(), why)

    def begin_anew(self, why: str) -> None:
        """Forget every hole, because ids mean something else from now on; what was pending is lost."""
        if self.pending:
            self.has_new_gaps = True
        self.give_up(why)
        self._remembered = IdRanges(HOLES_REMEMBERED)

    def _remove_all(self) -> list[IdRange]:
        taken, self.pending = list(self.pending), IdRanges(HOLES_PENDING_MAX, IDS_PENDING_MAX)
        return taken

    def _give_up(self, holes: list[IdRange], why: str) -> None:
        if not holes:
            return
        ids, last_loss = sum(map(_size, holes)), self.losses[-1] if self.losses else None
        if last_loss is not None and last_loss.why == why:
            last_loss.last = holes[-1][1]
            last_loss.ids += ids
        else:
            self.losses.append(Loss(holes[0][0], holes[-1][1], ids, why))
        self._lose(holes)

    def _lose(self, holes: Iterable[IdRange]) -> None:
        for hole in holes:
            self.lost += _size(hole)
            self._remembered.add(hole)
        self._remembered.remove_surplus()


def _size(hole: IdRange) -> int:
    return hole[1] - hole[0] + 1
