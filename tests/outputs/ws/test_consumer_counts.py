"""The numbers of consumers: who came, who went and why, and what was dropped."""

from __future__ import annotations

from feedd.model import ConsumerDisconnect
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.ws.consumer_counts import ConsumerCounts


def test_nobody_has_come_at_first() -> None:
    assert ConsumerCounts().status() == {"connected": 0, "messages_dropped": 0, "disconnects": {}}


def test_who_leaves_is_no_longer_connected_and_counted_by_the_reason() -> None:
    counts = ConsumerCounts()
    counts.joined()
    counts.joined()
    counts.left(ConsumerDisconnect.SLOW)
    counts.dropped(12)
    assert counts.status() == {"connected": 1, "messages_dropped": 12, "disconnects": {"slow": 1}}


def test_who_is_refused_was_never_connected() -> None:
    counts = ConsumerCounts()
    counts.refused(ConsumerDisconnect.LIMIT)
    assert (counts.connected, counts.disconnects[ConsumerDisconnect.LIMIT]) == (0, 1)


def test_metrics_follow_the_counts() -> None:
    counts = ConsumerCounts()
    metrics = dict(counts.metrics())
    counts.joined()
    counts.dropped(2)
    counts.refused(ConsumerDisconnect.HALT)
    lines = [row.write(ClockReading(0.0, 0.0)) for rows in metrics.values() for row in rows]
    assert lines[:2] == ["feedd_consumers 1\n", "feedd_consumer_messages_dropped_total 2\n"]
    assert 'feedd_consumer_disconnects_total{reason="halt"} 1\n' in lines
    assert len(lines) == 2 + len(ConsumerDisconnect)
