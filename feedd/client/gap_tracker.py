"""Finds what was missed of each stream, by the exchange's ids and the time without a connection."""

from __future__ import annotations

from feedd.client.events import AggTrade, Depth, MarketEvent, Missed, Number, Trade


class GapTracker:
    """Remembers the newest id of each stream, by the stream's name on the wire."""

    def __init__(self, names: dict[str, tuple[str, str]]) -> None:
        self._names = names
        self._newest: dict[str, tuple[int, int]] = {}
        """Id and event time of the newest message of each stream whose ids step by one."""
        self._lost_at: float | None = None
        self._outages: dict[str, float] = {}
        """Seconds without a connection which no `Missed` of the stream has reported yet."""

    def disconnected(self, now: float) -> None:
        """Note that the connection was lost."""
        if self._lost_at is None:
            self._lost_at = now

    def connected(self, now: float) -> None:
        """Note that there is a connection. If one was lost before, every stream has a gap to report."""
        if self._lost_at is not None:
            seconds = now - self._lost_at
            self._outages = {name: self._outages.get(name, 0.0) + seconds for name in self._names}
            self._lost_at = None

    def gap_before(self, name: str, event: MarketEvent[Number]) -> Missed | None:
        """Return what was missed before this event of that stream."""
        outage = self._outages.pop(name, None) if self._outages else None
        match event:
            case Trade(trade_id=first) | AggTrade(aggregate_id=first):
                return self._id_gap(name, first, first, event.event_time_ms, outage)
            case Depth(first_update_id=first, last_update_id=last):
                return self._id_gap(name, first, last, event.event_time_ms, outage)
            case _:
                return None if outage is None else self._gap_of_unknown_size(name, outage)

    def _id_gap(self, name: str, first: int, last: int, time_ms: int, outage: float | None) -> Missed | None:
        if name not in self._newest:
            self._newest[name] = (last, time_ms)
            return None if outage is None else self._gap_of_unknown_size(name, outage)
        newest, newest_time_ms = self._newest[name]
        is_older = last <= newest
        if is_older and time_ms <= newest_time_ms:
            return None  # it comes late, and the newest stays the newest
        self._newest[name] = (last, time_ms)
        if is_older:  # ids began anew, as after a testnet is wiped
            return self._gap_of_unknown_size(name, outage or 0.0)
        if first <= newest + 1:
            return None
        return Missed(*self._names[name], newest + 1, first - 1, outage or 0.0)

    def _gap_of_unknown_size(self, name: str, outage: float) -> Missed:
        return Missed(*self._names[name], None, None, outage)
