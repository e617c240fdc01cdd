"""When undecodable messages stop being accidents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.core.decode_failures import ROW, TOLERATED, WINDOW, DecodeFailureRule


def verdicts(rule: DecodeFailureRule, messages: list[bool]) -> list[bool]:
    """Feed messages (True: valid) and collect the verdict after each."""
    found = []
    for ordinal, valid in enumerate(messages, start=1):
        if not valid:
            rule.note_invalid(ordinal)
        found.append(rule.is_failing(ordinal))
    return found


@pytest.mark.parametrize(
    ("invalid", "last", "expected"),
    [
        ((), 1, False),
        ((1, 2), 2, False),
        ((1, 2, 3), 3, True),
        ((1, 2, 3), 4, False),
        ((1, 2, 4), 4, False),
        ((98, 99, 100), 100, True),
        ((1, 20, 40, 60, 80), 100, False),
        ((1, 20, 40, 60, 80, 100), 100, True),
        ((1, 20, 40, 60, 80, 101), 101, False),
        ((2, 20, 40, 60, 80, 90), 101, True),
        ((2, 20, 40, 60, 80, 90), 102, False),
        ((1, 2, 20, 40, 60, 80, 100), 101, True),
    ],
)
def test_messages_up_to_the_last_are_judged(invalid: tuple[int, ...], last: int, expected: bool) -> None:
    messages = [ordinal not in invalid for ordinal in range(1, last + 1)]
    assert verdicts(DecodeFailureRule(), messages)[-1] is expected


@given(st.lists(st.booleans() | st.just(True), max_size=400))
def test_any_messages_are_judged_as_the_definition_says(messages: list[bool]) -> None:
    for position, verdict in enumerate(verdicts(DecodeFailureRule(), messages), start=1):
        window = messages[max(0, position - WINDOW) : position]
        in_a_row = len(window) >= ROW and not any(window[-ROW:])
        assert verdict is (window.count(False) > TOLERATED or in_a_row)
