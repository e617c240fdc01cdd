"""feedd while it is scraped: how long messages wait, and what the page costs beside prometheus_client's."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import uvloop
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from feedd.outputs.prometheus.catalogue import Format
from feedd.outputs.prometheus.exposition import MetricsPage
from tests.benchmarks.clients.order import Order, read_order, tell, warm_up
from tests.benchmarks.clients.with_feedd import Arrivals, running, settings_for

SCRAPES = 4
PAUSE_SECONDS = 0.5
REPETITIONS = 2
"""Of each page that is written alone; the fastest counts."""
STREAMS = "trade,bookTicker,kline_1s"
_OF_THE_INTERPRETER = ("process_", "python_")

Window = tuple[float, float]
"""When something began and ended: monotonic seconds."""


@dataclass
class ScrapeCost:
    """What scrapes have cost."""

    lines: int
    first_held_us: float
    """The longest that a message took, from its sending to its handing on, during the first scrape."""
    held_us: float
    """The same during the later ones."""
    otherwise_us: float
    """The same while there was none."""
    longest_piece_us: float
    """CPU time of the longest part of a page, between two of which messages have their turn."""
    work_us: float
    """CPU time of a page."""
    generate_latest_us: float
    """CPU time of prometheus_client's page with the same series."""


async def measure(order: Order) -> ScrapeCost:
    """Run a daemon, and scrape it while messages come."""
    arrivals = Arrivals()
    settings = settings_for(order, FEEDD_STREAMS=STREAMS)
    async with running(settings, arrivals.deliver) as (daemon, address):
        await warm_up(order, lambda: len(arrivals))
        scraping = asyncio.create_task(_scrape(f"http://{address}/metrics", order))
        await asyncio.to_thread(order.begin)
        windows = await scraping
    # Stopped, it still has all its numbers, and nothing else takes CPU time.
    delays = arrivals.delays()[order.connections :]
    page = MetricsPage(daemon.state)
    text = "".join(page.pieces(Format.CLASSIC))
    work, longest = min(_pieces_cost(page) for _ in range(REPETITIONS))
    registry = same_series(text)
    return ScrapeCost(
        lines=text.count("\n"),
        first_held_us=longest_within(delays, windows[:1]),
        held_us=longest_within(delays, windows[1:]),
        otherwise_us=max(delay for at, delay in delays if not _is_within(at, windows)) * 1e6,
        longest_piece_us=longest,
        work_us=work,
        generate_latest_us=min(_cost(lambda: generate_latest(registry)) for _ in range(REPETITIONS)),
    )


async def _scrape(url: str, order: Order) -> list[Window]:
    scraper = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.benchmarks.clients.scraper", url, str(SCRAPES), str(PAUSE_SECONDS)),
        stdout=asyncio.subprocess.PIPE,
    )
    os.sched_setaffinity(scraper.pid, {order.consumers_core})
    output, _ = await scraper.communicate()
    return [(began, ended) for began, ended in json.loads(output)]


def longest_within(delays: Iterable[tuple[float, float]], windows: Sequence[Window]) -> float:
    """Return the longest of the delays that ended within these windows, in microseconds."""
    return max((delay for at, delay in delays if _is_within(at, windows)), default=0.0) * 1e6


def _is_within(at: float, windows: Sequence[Window]) -> bool:
    return any(began <= at <= ended for began, ended in windows)


def _pieces_cost(page: MetricsPage) -> tuple[float, float]:
    total = longest = 0.0
    pieces = page.pieces(Format.CLASSIC)
    is_over = False
    while not is_over:
        began = time.thread_time()
        piece = next(pieces, None)
        is_over = piece is None
        if piece is not None:
            piece.encode()
        spent = time.thread_time() - began
        total, longest = total + spent, max(longest, spent)
    return total * 1e6, longest * 1e6


def _cost(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e6


def same_series(page: str) -> CollectorRegistry:
    """Return prometheus_client's own metrics with the families, labels and buckets of a page."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # which would be more lines
    registry = CollectorRegistry()
    for family in text_string_to_metric_families(page):
        if not family.name.startswith(_OF_THE_INTERPRETER):
            _add(registry, family)
    return registry


def _add(registry: CollectorRegistry, family: Metric) -> None:
    names = [name for name in family.samples[0].labels if name != "le"]
    if family.type == "histogram":
        bounds = {float(sample.labels["le"]) for sample in family.samples if "le" in sample.labels}
        histogram = Histogram(
            family.name, family.documentation, names, buckets=sorted(bounds), registry=registry
        )
        for sample in family.samples:
            if sample.name.endswith("_count"):
                child = histogram.labels(**sample.labels) if names else histogram
                child.observe(0.003)
        return
    kind = Counter if family.type == "counter" else Gauge
    metric = kind(family.name, family.documentation, names, registry=registry)
    for sample in family.samples:
        single = metric.labels(**sample.labels) if names else metric
        single.inc(sample.value)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(measure(read_order())))
