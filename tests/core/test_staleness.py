"""The age of a feed against its limit."""

from __future__ import annotations

import pytest

from feedd.core.staleness import StalenessRule


def test_feed_that_never_spoke_ages_from_the_start() -> None:
    staleness = StalenessRule(limit=10.0, now=100.0)
    assert (staleness.age(now=104.0), staleness.deadline) == (4.0, 110.0)


def test_message_moves_the_deadline() -> None:
    staleness = StalenessRule(limit=10.0, now=100.0)
    staleness.last_at = 107.0
    assert (staleness.age(now=108.0), staleness.deadline) == (1.0, 117.0)


@pytest.mark.parametrize(("now", "expected"), [(117.0 - 1e-9, False), (117.0, True), (1000.0, True)])
def test_feed_is_stale_from_the_deadline_on(now: float, expected: bool) -> None:
    staleness = StalenessRule(limit=10.0, now=100.0)
    staleness.last_at = 107.0
    assert staleness.is_stale(now) is expected


def test_message_at_time_zero_counts_as_one() -> None:
    staleness = StalenessRule(limit=10.0, now=-5.0)
    staleness.last_at = 0.0
    assert (staleness.age(now=1.0), staleness.deadline) == (1.0, 10.0)


def test_restart_forgets_what_came_before() -> None:
    staleness = StalenessRule(limit=10.0, now=100.0)
    staleness.last_at = 107.0
    staleness.expected_after = 30.0
    staleness.restart(now=200.0)
    assert (staleness.age(now=201.0), staleness.deadline) == (1.0, 210.0)


def test_silence_that_was_announced_is_not_held_against_the_feed() -> None:
    staleness = StalenessRule(limit=10.0, now=100.0)
    staleness.last_at = 107.0
    staleness.expected_after = 30.0
    assert (staleness.deadline, staleness.age(now=140.0)) == (147.0, 33.0)
    assert not staleness.is_stale(now=146.999)
    assert staleness.is_stale(now=147.0)


def test_changed_limit_counts_at_once() -> None:
    staleness = StalenessRule(limit=10.0, now=100.0)
    staleness.limit = 2.0
    assert staleness.is_stale(now=102.0)


def test_other_limit_and_a_message_that_is_due_later_move_the_deadline() -> None:
    rule = StalenessRule(10.0, 0.0)
    rule.apply_limit(3.0)
    assert rule.deadline == 3.0
    rule.expect_after(60.0)
    assert (rule.deadline, rule.is_stale(62.9), rule.is_stale(63.0)) == (63.0, False, True)
