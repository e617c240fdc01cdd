"""Latency: three measurable messages in a row over the limit are a delay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedd.core.latency import CONFIRMATIONS, LatencyRule


def judged(rule: LatencyRule, latencies: list[float]) -> list[tuple[bool, bool]]:
    return [(rule.is_over(latency), rule.is_confirmed) for latency in latencies]


def test_delay_is_confirmed_by_the_third_late_message() -> None:
    assert judged(LatencyRule(1.0), [1.1, 1.1, 1.1, 1.1]) == [
        (True, False), (True, False), (True, True), (True, True),
    ]  # fmt: skip


def test_message_in_time_ends_the_row() -> None:
    rule = LatencyRule(1.0)
    assert judged(rule, [2.0, 2.0, 0.5, 2.0, 2.0])[-1] == (True, False)


def test_latency_at_the_limit_is_in_time() -> None:
    assert judged(LatencyRule(1.0), [1.0] * CONFIRMATIONS) == [(False, False)] * CONFIRMATIONS


def test_confirmed_delay_ends_with_one_message_in_time() -> None:
    rule = LatencyRule(1.0)
    assert judged(rule, [2.0, 2.0, 2.0, 0.0])[-1] == (False, False)


@given(st.lists(st.floats(-5.0, 5.0)))
def test_any_latencies_confirm_a_delay_only_while_the_last_three_are_late(latencies: list[float]) -> None:
    rule = LatencyRule(1.0)
    for position, latency in enumerate(latencies, start=1):
        rule.is_over(latency)
        last = latencies[max(0, position - CONFIRMATIONS) : position]
        assert rule.is_confirmed is (len(last) == CONFIRMATIONS and min(last) > 1.0)


def test_other_limit_judges_the_next_latency() -> None:
    rule = LatencyRule(1.0)
    assert rule.is_over(1.5)
    rule.apply_limit(2.0)
    assert not rule.is_over(1.5)
