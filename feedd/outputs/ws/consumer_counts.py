"""Who is connected over WebSocket and who was let go, in numbers; whoever serves consumers counts here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from feedd.model import ConsumerDisconnect
from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.samples import Metric, by_reason, single


class ConsumerCounts:
    """The consumers of one daemon. Only `connected` ever falls."""

    def __init__(self) -> None:
        self.connected = 0
        self.messages_dropped = 0
        self.disconnects = dict.fromkeys(ConsumerDisconnect, 0)

    def joined(self) -> None:
        """Count a consumer that is served from now on."""
        self.connected += 1

    def left(self, reason: ConsumerDisconnect) -> None:
        """Count a consumer that is served no more."""
        self.connected -= 1
        self.disconnects[reason] += 1

    def refused(self, reason: ConsumerDisconnect) -> None:
        """Count one that was never let in."""
        self.disconnects[reason] += 1

    def dropped(self, messages: int) -> None:
        """Count messages that a consumer was let go without."""
        self.messages_dropped += messages

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics of all consumers together."""
        yield single(catalogue.CONSUMERS, lambda _: self.connected)
        yield single(catalogue.CONSUMER_DROPPED, lambda _: self.messages_dropped)
        yield by_reason(catalogue.CONSUMER_DISCONNECTS, self.disconnects, ConsumerDisconnect)

    def status(self) -> dict[str, Any]:
        """Return what a person asks of the consumers as a whole."""
        return {
            "connected": self.connected,
            "messages_dropped": self.messages_dropped,
            "disconnects": {str(reason): count for reason, count in self.disconnects.items() if count},
        }
