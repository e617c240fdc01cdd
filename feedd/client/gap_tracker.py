"""Says what was missed of each stream, by the exchange's ids and the time without a connection."""

from __future__ import annotations

from feedd.client.events import AggTrade, Depth, MarketEvent, Missed, Number, Trade


class Losses:
    """The newest id of each stream, by its name on the wire."""

    def __init__(self, names: dict[str, tuple[str, str]]) -> None:
        self._names = names
        self._newest: dict[str, tuple[int, int]] = {}
        """Id and event time of the newest message of a stream whose ids are without holes."""
        self._lost_at: float | None = None
        self._outages: dict[str, float] = {}
        """How long a stream was without a connection whose loss is still to be told."""

    def disconnected(self, now: float) -> None:
        """Note that the connection was lost."""
        if self._lost_at is None:
            self._lost_at = now

    def connected(self, now: float) -> None:
        """Note that there is a connection; if one was lost before, what was missed will be told."""
        if self._lost_at is not None:
            seconds = now - self._lost_at
            self._outages = {name: self._outages.get(name, 0.0) + seconds for name in self._names}
            self._lost_at = None

    def before(self, name: str, event: MarketEvent[Number]) -> Missed | None:
        """Return what was missed before this event of that stream."""
        outage = self._outages.pop(name, None) if self._outages else None
        match event:
            case Trade(trade_id=first) | AggTrade(aggregate_id=first):
                return self._hole(name, first, first, event.event_time_ms, outage)
            case Depth(first_update_id=first, last_update_id=last):
                return self._hole(name, first, last, event.event_time_ms, outage)
            case _:
                return None if outage is None else self._unknown(name, outage)

    def _hole(self, name: str, first: int, last: int, time_ms: int, outage: float | None) -> Missed | None:
        if name not in self._newest:
            self._newest[name] = (last, time_ms)
            return None if outage is None else self._unknown(name, outage)
        newest, newest_time_ms = self._newest[name]
        is_older = last <= newest
        if is_older and time_ms <= newest_time_ms:
            return None  # it comes late, and takes nothing back
        self._newest[name] = (last, time_ms)
        if is_older:  # ids began anew (a testnet's wipe)
            return self._unknown(name, outage or 0.0)
        if first <= newest + 1:
            return None
        return Missed(*self._names[name], newest + 1, first - 1, outage or 0.0)

    def _unknown(self, name: str, outage: float) -> Missed:
        return Missed(*self._names[name], None, None, outage)
