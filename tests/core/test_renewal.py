"""When connections are renewed: in the window, spread, and before the exchange ends them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedd.core.renewal import MARGIN_SECONDS, SPREAD, renewal_age
from feedd.model import RotateWindow

HOUR, DAY = 3_600.0, 86_400.0
LIMIT = 23.0 * HOUR
MIDNIGHT = 1_795_046_400.0
NIGHT = RotateWindow(2 * 60, 4 * 60)
OVER_MIDNIGHT = RotateWindow(23 * 60, 60)
MINUTE = RotateWindow(3 * 60, 3 * 60 + 1)
LONGEST = RotateWindow(60, 0)
"""23 hours long."""


def hours(opened_at: float, window: RotateWindow, chance: float) -> float:
    """Return the age, in hours, of a connection that was opened so many hours after midnight."""
    return renewal_age(MIDNIGHT + opened_at * HOUR, LIMIT, window, chance) / HOUR


def test_without_a_window_renewals_are_spread_below_the_limit() -> None:
    ages = [renewal_age(MIDNIGHT, LIMIT, None, chance) for chance in (0.0, 0.5, 1.0)]
    assert ages == [LIMIT, LIMIT * (1.0 - SPREAD / 2.0), LIMIT * (1.0 - SPREAD)]


@pytest.mark.parametrize(
    ("opened_at", "window", "earliest", "latest"),
    [
        (0.0, NIGHT, 2.0, 4.0),
        (5.0, NIGHT, 21.0, 23.0),
        (12.0, NIGHT, 14.0, 16.0),
        (3.0, NIGHT, 23.0, 24.0 - MARGIN_SECONDS / HOUR),
        (4.0, NIGHT, 22.0, 24.0 - MARGIN_SECONDS / HOUR),
        (12.0, OVER_MIDNIGHT, 11.0, 13.0),
        (0.5, OVER_MIDNIGHT, 22.5, 24.0 - MARGIN_SECONDS / HOUR),
        (12.0, LONGEST, 13.0, 24.0 - MARGIN_SECONDS / HOUR),
        (0.5, LONGEST, 0.5, 23.5),
    ],
)
def test_connection_is_renewed_in_the_last_window_it_lives_to_see(
    opened_at: float, window: RotateWindow, earliest: float, latest: float
) -> None:
    ages = [hours(opened_at, window, chance) for chance in (0.0, 0.5, 1.0)]
    assert ages == pytest.approx([earliest, (earliest + latest) / 2.0, latest])


@pytest.mark.parametrize("opened_at", [2.0, 2.0 + 0.5 * MARGIN_SECONDS / HOUR, 2.0 + MARGIN_SECONDS / HOUR])
def test_connection_opened_too_early_in_a_window_for_the_next_is_renewed_late_in_the_same(
    opened_at: float,
) -> None:
    left = 4.0 - opened_at
    assert hours(opened_at, NIGHT, 0.0) == pytest.approx(left / 2.0)
    assert hours(opened_at, NIGHT, 1.0) == pytest.approx(left)


def test_margin_shrinks_with_the_window() -> None:
    opened_at = 3.0 + 16.0 / HOUR
    assert hours(opened_at, MINUTE, 0.0) == pytest.approx(24.0 - 16.0 / HOUR)
    assert hours(opened_at, MINUTE, 1.0) == pytest.approx(24.0 - 15.0 / HOUR)


WINDOWS = st.builds(
    lambda start, length: RotateWindow(start, (start + length) % 1_440),
    st.integers(0, 1_439),
    st.integers(1, 23 * 60),
)
CHANCES = st.integers(0, 999).map(lambda thousandths: thousandths / 1_000)


@given(
    st.floats(MIDNIGHT, MIDNIGHT + DAY),
    WINDOWS,
    st.lists(CHANCES, min_size=1, max_size=10),
    st.sampled_from((0.0, 0.5, 3.0)),
)
@example(MIDNIGHT + 3 * HOUR + 5.0, MINUTE, [0.0], 0.0)
@example(MIDNIGHT + 23 * HOUR + 1.0, OVER_MIDNIGHT, [0.0, 0.999], 0.5)
def test_any_hundred_days_are_renewed_in_the_window_in_time_and_seldom(
    opened_at: float, window: RotateWindow, chances: list[float], dialling: float
) -> None:
    renewals: Counter[int] = Counter()
    count, end = 0, opened_at + 100 * DAY
    while opened_at < end:
        age = renewal_age(opened_at, LIMIT, window, chances[count % len(chances)])
        assert 0.0 < age < DAY
        assert window.contains(opened_at + age)
        renewals[int((opened_at + age) // DAY)] += 1
        opened_at += age + dialling
        count += 1
    assert max(renewals.values()) <= 3
    assert count >= 100


@given(st.floats(0.1, 23.99), CHANCES)
def test_any_renewal_without_a_window_is_within_a_tenth_below_the_limit(limit: float, chance: float) -> None:
    age = renewal_age(MIDNIGHT, limit * HOUR, None, chance)
    assert 0.9 * limit * HOUR <= age <= limit * HOUR
