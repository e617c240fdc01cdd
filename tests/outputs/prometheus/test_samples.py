"""Lines of metrics that the whole daemon has."""

from __future__ import annotations

import math

import pytest

from feedd.core.histogram import Histogram
from feedd.model import Rejection
from feedd.outputs.clock_reading import ClockReading
from feedd.outputs.prometheus.catalogue import Family
from feedd.outputs.prometheus.samples import HistogramSample, Metric, by_reason, labelled, number, single

NOW = ClockReading(100.0, 1_800_000_000.0)
FAMILY = Family("feedd_things_total", "counter", "Things.")


def written(metric: Metric, now: ClockReading = NOW) -> str:
    return "".join(row.write(now) for row in metric[1])


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "1"), (False, "0"), (7, "7"), (0.25, "0.25"), (5e-05, "5e-05"), (2.0, "2.0"), (math.inf, "+Inf")],
)
def test_value_is_written_as_prometheus_reads_it(value: float, text: str) -> None:
    assert number(value) == text


def test_value_is_read_when_the_line_is_written() -> None:
    values = iter((1, 2))
    metric = single(FAMILY, lambda _: next(values))
    assert [written(metric), written(metric)] == ["feedd_things_total 1\n", "feedd_things_total 2\n"]


def test_reading_is_given_the_time_of_the_page() -> None:
    metric = single(FAMILY, lambda now: now.timestamp(40.0))
    assert written(metric) == "feedd_things_total 1799999940.0\n"


def test_labels_stand_in_braces_in_their_order() -> None:
    metric = labelled(FAMILY, [('source="b"', lambda _: 1), ('source="a"', lambda _: 2)])
    assert written(metric) == 'feedd_things_total{source="b"} 1\nfeedd_things_total{source="a"} 2\n'


def test_every_reason_has_a_line_that_rises_with_its_count() -> None:
    counts = dict.fromkeys(Rejection, 0)
    metric = by_reason(FAMILY, counts, Rejection)
    counts[Rejection.FLOOD] += 3
    lines = written(metric).splitlines()
    assert len(lines) == len(Rejection)
    assert 'feedd_things_total{reason="flood"} 3' in lines
    assert 'feedd_things_total{reason="tls"} 0' in lines


def test_buckets_of_a_histogram_are_cumulated() -> None:
    histogram = Histogram((0.1, 1.0))
    sample = HistogramSample(Family("feedd_wait_seconds", "histogram", "Waits."), histogram)
    for seconds in (0.05, 0.5, 0.5, 5.0):
        histogram.observe(seconds)
    assert sample.write(NOW).splitlines() == [
        'feedd_wait_seconds_bucket{le="0.1"} 1',
        'feedd_wait_seconds_bucket{le="1.0"} 3',
        'feedd_wait_seconds_bucket{le="+Inf"} 4',
        "feedd_wait_seconds_count 4",
        "feedd_wait_seconds_sum 6.05",
    ]
