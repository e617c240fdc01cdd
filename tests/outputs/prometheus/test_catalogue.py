"""The catalogue of metrics: names and headers as Prometheus's conventions have them."""

from __future__ import annotations

import re

import pytest

from feedd.outputs.prometheus import catalogue
from feedd.outputs.prometheus.catalogue import Family, Format

FAMILIES = {name: found for name, found in vars(catalogue).items() if isinstance(found, Family)}


def test_no_metric_stands_twice() -> None:
    names = [family.name for family in FAMILIES.values()]
    assert len(names) > 40
    assert len(names) == len(set(names))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_metric_is_named_by_the_conventions_and_explained(family: Family) -> None:
    assert re.fullmatch(r"feedd_[a-z_]+", family.name)
    assert family.type in ("counter", "gauge", "histogram")
    assert family.name.endswith("_total") == (family.type == "counter")
    assert family.help.endswith(".")
    assert "\n" not in family.help
    assert "\\" not in family.help


@pytest.mark.parametrize(
    ("family", "classic", "open_metrics"),
    [
        (catalogue.MESSAGES, "feedd_messages_total counter", "feedd_messages counter"),
        (catalogue.BUILD_INFO, "feedd_build_info gauge", "feedd_build info"),
        (catalogue.HALTED, "feedd_trading_halted gauge", "feedd_trading_halted gauge"),
        (
            catalogue.LOOP_LAG,
            "feedd_event_loop_lag_seconds histogram",
            "feedd_event_loop_lag_seconds histogram",
        ),
    ],
)
def test_header_follows_the_format(family: Family, classic: str, open_metrics: str) -> None:
    for text_format, expected in ((Format.CLASSIC, classic), (Format.OPEN_METRICS, open_metrics)):
        name = expected.split()[0]
        assert family.header(text_format) == f"# HELP {name} {family.help}\n# TYPE {expected}\n"


def test_format_is_the_content_type_it_is_sent_with() -> None:
    assert Format.CLASSIC.value.startswith("text/plain; version=")
    assert Format.OPEN_METRICS.value.startswith("application/openmetrics-text; version=")
