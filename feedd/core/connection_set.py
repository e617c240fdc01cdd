"""Which connections a feed needs, and which it has outgrown.

A feed has one connection, or two for good where that is wished. A second one is made before the first is
broken: because the exchange ends each after 24 hours, because it said that it will, or because the first has
been silent for half its limit. Whichever delivers stays. Times are monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from feedd.model import DisconnectReason

LINKS_MAX: Final = 2
OVERLAP_SECONDS: Final = 0.25
"""For how long both deliver before the older one goes: what is on its way arrives."""
RECHECK_SECONDS: Final = 0.05
"""How often two connections are looked at while one of them is about to go."""
FIRST_PROBE_PAUSE: Final = 60.0
LONGEST_PROBE_PAUSE: Final = 3600.0
"""A second connection that finds a quiet market was in vain; the next one waits, longer each time."""


class Need(Enum):
    """Why another connection is wanted."""

    FIRST = auto()
    """There is none."""
    SUCCESSOR = auto()
    """The exchange has announced that it closes the one there is."""
    SPARE = auto()
    """Nothing is wrong: redundancy, or the renewal that was planned."""
    PROBE = auto()
    """The one there is has been silent for half its limit."""


class ConnectionRecord:
    """One open connection, as far as these decisions need it."""

    __slots__ = ("alone_since", "first_at", "last_at", "leaving", "opened_at", "renew_at", "url")

    def __init__(self, url: str, now: float, renew_at: float) -> None:
        self.url = url
        self.opened_at = now
        self.renew_at = renew_at
        """When it must have been replaced."""
        self.first_at: float | None = None
        self.last_at: float | None = None
        """When its newest market message came, and `first_at`, its first."""
        self.leaving: DisconnectReason | None = None
        """Why it will be let go once another delivers."""
        self.alone_since: float | None = None
        """Since when its sibling delivers and it doesn't."""

    def received(self, now: float) -> None:
        """Note a market message that was read then."""
        self.last_at = now
        if self.first_at is None:
            self.first_at = now

    def leave(self, reason: DisconnectReason) -> None:
        """Note that it will be let go once another delivers."""
        self.leaving = reason

    def anew_from(self, at: float | None) -> None:
        """Count from that message on for how long it delivers, if nothing was counted yet."""
        if self.first_at is None:
            self.first_at = at

    @property
    def heard_at(self) -> float:
        """When it last spoke, or was opened."""
        return self.opened_at if self.last_at is None else self.last_at


class ConnectionSet:
    """The open connections of one feed, the eldest first."""

    def __init__(self, wanted: int, stale_after: float) -> None:
        self.wanted = wanted
        self.stale_after = stale_after
        self.is_dialling = False
        """Another one is being opened."""
        self._open: list[ConnectionRecord] = []
        self._probed_at: float | None = None
        self._probe_pause = 0.0

    def __iter__(self) -> Iterator[ConnectionRecord]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def silence(self) -> float:
        """After how many seconds without a market message a connection is suspect."""
        return self.stale_after / 2.0

    @property
    def grace(self) -> float:
        """For how long one connection may lag behind the other before it counts as frozen."""
        return self.stale_after / 10.0

    def opened(self, url: str, now: float, renew_at: float) -> ConnectionRecord:
        """Note a connection that was opened."""
        for other in self._open:
            # Only now does it matter since when the other one delivers.
            other.anew_from(other.last_at)
        record = ConnectionRecord(url, now, renew_at)
        self._open.append(record)
        return record

    def closed(self, record: ConnectionRecord) -> None:
        """Note a connection that has ended."""
        self._open.remove(record)
        for other in self._open:
            other.alone_since = None

    def is_suspect(self, now: float) -> bool:
        """Tell whether every open connection has been silent for half the limit."""
        return bool(self._open) and all(now - record.heard_at >= self.silence for record in self._open)

    def wants_connection(self, now: float) -> Need | None:
        """Return why another connection should be opened now; None if it shouldn't."""
        if self.is_dialling or len(self._open) == LINKS_MAX:
            return None
        if not self._open:
            return Need.FIRST
        record = self._open[0]
        if record.leaving is DisconnectReason.SERVER_SHUTDOWN:
            return Need.SUCCESSOR
        if len(self._open) < self.wanted or record.leaving is not None:
            return Need.SPARE
        return Need.PROBE if self.is_suspect(now) and self._may_probe(now) else None

    def apply_policy(self, wanted: int, stale_after: float) -> None:
        """Hold so many connections from now on, and judge silence by that limit."""
        self.wanted = wanted
        self.stale_after = stale_after

    def dialling(self, is_dialling: bool) -> None:
        """Note whether another connection is being opened."""
        self.is_dialling = is_dialling

    def probing(self, now: float) -> None:
        """Note that the want of a probe is being met."""
        self._probed_at = now
        self._probe_pause = min(max(FIRST_PROBE_PAUSE, self._probe_pause * 2.0), LONGEST_PROBE_PAUSE)

    def to_retire(self, now: float, caught_up: bool) -> tuple[ConnectionRecord, DisconnectReason] | None:
        """Return a connection that is to be closed now, and why.

        `caught_up` says that nothing which the older one delivers is waited for.
        """
        for record in self._open:
            if record.leaving is None and now >= record.renew_at:
                record.leaving = DisconnectReason.ROTATION
        if len(self._open) < LINKS_MAX:
            return None
        elder, younger = self._open
        return (
            self._replaced(elder, younger, now, caught_up)
            or self._replaced(younger, elder, now, caught_up)
            or self._frozen(elder, younger, now)
            or self._frozen(younger, elder, now)
            or self._surplus(elder, younger, now, caught_up)
        )

    def next_decision_at(self, now: float) -> float:
        """Return when the answers may change by time alone, if no message or end comes before."""
        if len(self._open) == LINKS_MAX:
            passing = self.wanted < LINKS_MAX or any(record.leaving is not None for record in self._open)
            soon = now + (RECHECK_SECONDS if passing else self.grace)
            return min([soon, *(record.renew_at for record in self._open if record.leaving is None)])
        due = [record.renew_at for record in self._open if record.leaving is None]
        due += [self._next_probe()] if self._open else []
        return max(min(due), now) if due else now

    def _next_probe(self) -> float:
        suspect_at = max(record.heard_at for record in self._open) + self.silence
        if self._probed_at is None:
            return suspect_at
        probe_at = self._probed_at + self._probe_pause
        last_word = max(
            (record.last_at for record in self._open if record.last_at is not None), default=-math.inf
        )
        if self._probed_at < last_word:
            # Not yet in this silence: at the latest when the limit is reached.
            probe_at = min(probe_at, last_word + self.stale_after)
        return max(suspect_at, probe_at)

    def _may_probe(self, now: float) -> bool:
        return now >= self._next_probe()

    def _replaced(
        self, record: ConnectionRecord, other: ConnectionRecord, now: float, caught_up: bool
    ) -> tuple[ConnectionRecord, DisconnectReason] | None:
        if record.leaving is None or not caught_up or not _stands_in(other, record, now):
            return None
        return record, record.leaving

    def _frozen(
        self, record: ConnectionRecord, other: ConnectionRecord, now: float
    ) -> tuple[ConnectionRecord, DisconnectReason] | None:
        # Frozen means: its sibling goes on delivering and it doesn't. Both carry the same messages, so the
        # last words of both may be copies of one: only a word of the sibling's that is later than its own by
        # more than the grace counts as one that it failed to bring. From then on it is alone; a word of its
        # own afterwards (heard_at > alone_since) starts the count anew. It must stay alone for the grace and
        # have been silent for half the limit, so that one which merely lags in a burst is never cut.
        if other.last_at is None or other.last_at <= record.heard_at + self.grace:
            record.alone_since = None  # the last words of both may be copies of one message
        elif record.alone_since is None or record.heard_at > record.alone_since:
            record.alone_since = now
        if record.alone_since is None or now - record.alone_since < self.grace:
            return None
        if now - record.heard_at < self.silence:
            return None
        self._probe_pause = 0.0
        return record, DisconnectReason.STALLED

    def _surplus(
        self, elder: ConnectionRecord, younger: ConnectionRecord, now: float, caught_up: bool
    ) -> tuple[ConnectionRecord, DisconnectReason] | None:
        if self._may_probe(now):
            # Neither delivers: the elder makes room for another attempt.
            self.probing(now)
            return elder, DisconnectReason.STALLED
        if self.wanted == LINKS_MAX or elder.heard_at <= younger.opened_at:
            return None
        # The elder was only quiet. The younger has the longer life before it.
        done = caught_up and _stands_in(younger, elder, now)
        return (elder, DisconnectReason.ROTATION) if done else None


def _stands_in(record: ConnectionRecord, other: ConnectionRecord, now: float) -> bool:
    """Tell whether a connection delivers all that the other one does."""
    if record.first_at is None or now - record.first_at < OVERLAP_SECONDS:
        return False
    return record.heard_at >= other.heard_at - OVERLAP_SECONDS
