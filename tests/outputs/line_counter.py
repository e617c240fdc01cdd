"""The smallest output there can be: it counts the lines that it would write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from feedd.outputs.output import Delivered, Output
from feedd.outputs.prometheus.catalogue import Family
from feedd.outputs.prometheus.samples import Metric, single
from feedd.outputs.table import OutputContext

LINES = Family("feedd_lines_total", "counter", "Messages that would have been a line.")


class LineCounter(Output):
    """Counts messages."""

    name = "line_counter"

    def __init__(self) -> None:
        self.lines = 0
        self.newest: Delivered | None = None

    @classmethod
    def of(cls, _: OutputContext) -> LineCounter:
        """Make one, whatever the daemon."""
        return cls()

    def deliver(self, message: Delivered) -> None:
        """Count a message."""
        self.lines += 1
        self.newest = message

    def metrics(self) -> Iterator[Metric]:
        """Yield how many there were."""
        yield single(LINES, lambda _: self.lines)

    def status(self) -> Mapping[str, object]:
        """Return how many there were."""
        return {"lines": self.lines}
