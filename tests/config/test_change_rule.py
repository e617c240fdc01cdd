"""When a change of the env-file acts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.config.change_rule import STILL_SECONDS, UNREADABLE_SECONDS, ChangeRule, Decision

GOOD = b"FLAG_REALTIME=1\n"
OTHER = b"FLAG_REALTIME=0\n"
HALT = b"FLAG_REALTIME=1\nFLAG_TRADING_HALTED=1\n"


def test_unchanged_file_does_nothing() -> None:
    file = ChangeRule(GOOD)
    assert file.observe(GOOD, 1.0) == Decision()
    assert file.next_due(1.0) is None


def test_change_acts_once_it_has_been_still() -> None:
    file = ChangeRule(GOOD)
    assert file.observe(OTHER, 1.0) == Decision()
    assert file.next_due(1.05) == pytest.approx(STILL_SECONDS - 0.05)
    assert file.observe(OTHER, 1.0 + STILL_SECONDS - 0.01) == Decision()
    assert file.observe(OTHER, 1.0 + STILL_SECONDS) == Decision(apply=OTHER)
    assert file.observe(OTHER, 2.0) == Decision()


def test_half_saved_change_waits_for_the_rest() -> None:
    file = ChangeRule(GOOD)
    file.observe(b"FLAG_REAL", 1.0)
    assert file.observe(OTHER, 1.15) == Decision()
    assert file.observe(OTHER, 1.25) == Decision()
    assert file.observe(OTHER, 1.35) == Decision(apply=OTHER)


def test_kill_switch_halts_at_first_sight_and_is_used_when_still() -> None:
    file = ChangeRule(GOOD)
    assert file.observe(HALT, 1.0) == Decision(halt=True)
    assert file.observe(HALT, 1.1) == Decision(halt=True)
    assert file.observe(HALT, 1.2) == Decision(apply=HALT)


def test_kill_switch_taken_back_at_once_is_lifted_by_the_old_content() -> None:
    file = ChangeRule(GOOD)
    assert file.observe(HALT, 1.0).halt
    assert file.observe(GOOD, 1.1) == Decision()
    assert file.next_due(1.1) == pytest.approx(STILL_SECONDS)
    assert file.observe(GOOD, 1.3) == Decision(apply=GOOD)
    assert file.observe(GOOD, 1.4) == Decision()


@pytest.mark.parametrize("nothing", [None, b"", b"  \n", b"\xff\xfe"])
def test_file_that_can_not_be_read_for_a_second_counts_as_unreadable(nothing: bytes | None) -> None:
    file = ChangeRule(GOOD)
    assert file.observe(nothing, 1.0) == Decision()
    assert file.next_due(1.4) == pytest.approx(UNREADABLE_SECONDS - 0.4)
    assert file.observe(nothing, 1.0 + UNREADABLE_SECONDS - 0.01) == Decision()
    assert file.observe(nothing, 1.0 + UNREADABLE_SECONDS) == Decision(unreadable=True)
    assert file.next_due(3.0) == 0.0
    assert file.observe(GOOD, 3.0) == Decision()


def test_replaced_file_may_be_gone_for_a_moment() -> None:
    file = ChangeRule(GOOD)
    file.observe(None, 1.0)
    file.observe(GOOD, 1.5)
    assert file.observe(None, 2.1) == Decision()


def test_kill_switch_in_illegible_bytes_halts_until_the_file_is_used_again() -> None:
    file = ChangeRule(GOOD)
    assert file.observe(b"\xff\nFLAG_TRADING_HALTED=1\n", 1.0) == Decision(halt=True)
    file.observe(GOOD, 1.1)
    assert file.observe(GOOD, 1.4) == Decision(apply=GOOD)


def test_reread_uses_the_file_at_once_even_unchanged() -> None:
    file = ChangeRule(GOOD)
    assert file.force(GOOD, 1.0) == Decision(apply=GOOD)
    assert file.force(OTHER, 1.0) == Decision(apply=OTHER)
    assert file.observe(OTHER, 1.0) == Decision()
    assert file.force(None, 2.0) == Decision()
    assert file.force(None, 3.0) == Decision(unreadable=True)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([GOOD, OTHER, HALT, None, b"FLAG_TRADING_HALTED=", b"\xff"]), st.floats(0.0, 0.5)
        ),
        max_size=30,
    )
)
def test_what_rests_in_the_file_is_what_is_used_in_the_end(steps: list[tuple[bytes | None, float]]) -> None:
    """Whatever happened before, a content that stays is applied last, and nothing it halted is forgotten."""
    file, now, halted, decision = ChangeRule(GOOD), 0.0, False, Decision()
    for raw, seconds in [*steps, (GOOD, 0.5), (GOOD, 0.5), (GOOD, 0.5)]:
        now += seconds
        decision = file.observe(raw, now)
        if decision.halt:
            halted = True
        if decision.apply is not None:
            halted = decision.apply == HALT
    assert not halted
    assert not decision.unreadable
    assert file.applied == GOOD
