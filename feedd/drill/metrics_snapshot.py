"""The numbers in a daemon's `/metrics` and `/status`, for one symbol or all. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

Labels = frozenset[tuple[str, str]]
"""Label names and values; the symbol is never among them."""
Key = tuple[str, Labels]

_REPETITIONS: Final = ("feedd_duplicate_messages_total", "feedd_redundant_messages_total")
"""Which of them counts a repetition depends on whether two connections delivered at that time."""
_LINE: Final = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class MetricsSnapshot:
    """The metrics of one symbol, or of all added up, and of the process, at one moment."""

    def __init__(self, values: Mapping[Key, float]) -> None:
        self._values = values

    def total(self, name: str, labels: Labels = frozenset()) -> float:
        """Add up the series of that name which have these labels."""
        return sum(value for _, value in self._matching(name, labels))

    def above(self, histogram: str, seconds: float) -> float:
        """Count a histogram's observations above the largest of its bounds that doesn't exceed `seconds`."""
        buckets = {
            float(dict(labels)["le"]): value
            for labels, value in self._matching(f"{histogram}_bucket", frozenset())
        }
        bounds = [bound for bound in buckets if bound <= seconds]
        return self.total(f"{histogram}_count") - (buckets[max(bounds)] if bounds else 0.0)

    def _matching(self, name: str, labels: Labels) -> Iterator[tuple[Labels, float]]:
        for (found, found_labels), value in self._values.items():
            if found == name and labels <= found_labels:
                yield found_labels, value


def read_snapshot(symbol: str | None, metrics: str, status: Mapping[str, Any]) -> MetricsSnapshot:
    """Read the metrics of a symbol, or of all added up, from `/metrics` and `/status`.

    Repetitions, expected or not, are added up under `repetitions` too. What only the status has is named
    `status_` and its field: `status_resets{stream="trade"}`.
    """
    mine = 'symbol="' if symbol is None else f'symbol="{symbol}"'
    values: dict[Key, float] = defaultdict(float)
    for line in metrics.splitlines():
        is_of_other = 'symbol="' in line and mine not in line
        if line.startswith("feedd_") and not is_of_other and (read := _LINE.fullmatch(line)):
            labels = frozenset(
                label for label in _LABEL.findall(read["labels"] or "") if label[0] != "symbol"
            )
            values[read["name"], labels] += float(read["value"])
            if read["name"] in _REPETITIONS:
                values["repetitions", labels] += float(read["value"])
    for name, of_symbol in status["symbols"].items():
        if symbol in (None, name):
            for stream, of_stream in of_symbol["streams"].items():
                values["status_resets", frozenset({("stream", stream)})] += of_stream["resets"]
    return MetricsSnapshot(values)


def per_symbol(metrics: str, name: str) -> dict[str, float]:
    """Read one metric of every symbol; its series of one symbol are added up."""
    found: dict[str, float] = {}
    for symbol, value in re.findall(rf'^{name}\{{symbol="([^"]*)"[^}}]*\}} (\S+)$', metrics, re.M):
        found[symbol] = found.get(symbol, 0.0) + float(value)
    return found
