"""When a change of the env-file acts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.config.change_rule import STILL_SECONDS, UNREADABLE_SECONDS, FlagFile, Verdict

GOOD = b"FLAG_REALTIME=1\n"
OTHER = b"FLAG_REALTIME=0\n"
HALT = b"FLAG_REALTIME=1\nFLAG_TRADING_HALTED=1\n"


def test_unchanged_file_does_nothing() -> None:
    file = FlagFile(GOOD)
    assert file.look(GOOD, 1.0) == Verdict()
    assert file.next_look(1.0) is None


def test_change_acts_once_it_has_been_still() -> None:
    file = FlagFile(GOOD)
    assert file.look(OTHER, 1.0) == Verdict()
    assert file.next_look(1.05) == pytest.approx(STILL_SECONDS - 0.05)
    assert file.look(OTHER, 1.0 + STILL_SECONDS - 0.01) == Verdict()
    assert file.look(OTHER, 1.0 + STILL_SECONDS) == Verdict(apply=OTHER)
    assert file.look(OTHER, 2.0) == Verdict()


def test_half_saved_change_waits_for_the_rest() -> None:
    file = FlagFile(GOOD)
    file.look(b"FLAG_REAL", 1.0)
    assert file.look(OTHER, 1.15) == Verdict()
    assert file.look(OTHER, 1.25) == Verdict()
    assert file.look(OTHER, 1.35) == Verdict(apply=OTHER)


def test_kill_switch_halts_at_first_sight_and_is_used_when_still() -> None:
    file = FlagFile(GOOD)
    assert file.look(HALT, 1.0) == Verdict(halt=True)
    assert file.look(HALT, 1.1) == Verdict(halt=True)
    assert file.look(HALT, 1.2) == Verdict(apply=HALT)


def test_kill_switch_taken_back_at_once_is_lifted_by_the_old_content() -> None:
    file = FlagFile(GOOD)
    assert file.look(HALT, 1.0).halt
    assert file.look(GOOD, 1.1) == Verdict()
    assert file.next_look(1.1) == pytest.approx(STILL_SECONDS)
    assert file.look(GOOD, 1.3) == Verdict(apply=GOOD)
    assert file.look(GOOD, 1.4) == Verdict()


@pytest.mark.parametrize("nothing", [None, b"", b"  \n", b"\xff\xfe"])
def test_file_that_can_not_be_read_for_a_second_counts_as_unreadable(nothing: bytes | None) -> None:
    file = FlagFile(GOOD)
    assert file.look(nothing, 1.0) == Verdict()
    assert file.next_look(1.4) == pytest.approx(UNREADABLE_SECONDS - 0.4)
    assert file.look(nothing, 1.0 + UNREADABLE_SECONDS - 0.01) == Verdict()
    assert file.look(nothing, 1.0 + UNREADABLE_SECONDS) == Verdict(unreadable=True)
    assert file.next_look(3.0) == 0.0
    assert file.look(GOOD, 3.0) == Verdict()


def test_replaced_file_may_be_gone_for_a_moment() -> None:
    file = FlagFile(GOOD)
    file.look(None, 1.0)
    file.look(GOOD, 1.5)
    assert file.look(None, 2.1) == Verdict()


def test_kill_switch_in_illegible_bytes_halts_until_the_file_is_used_again() -> None:
    file = FlagFile(GOOD)
    assert file.look(b"\xff\nFLAG_TRADING_HALTED=1\n", 1.0) == Verdict(halt=True)
    file.look(GOOD, 1.1)
    assert file.look(GOOD, 1.4) == Verdict(apply=GOOD)


def test_reread_uses_the_file_at_once_even_unchanged() -> None:
    file = FlagFile(GOOD)
    assert file.reread(GOOD, 1.0) == Verdict(apply=GOOD)
    assert file.reread(OTHER, 1.0) == Verdict(apply=OTHER)
    assert file.look(OTHER, 1.0) == Verdict()
    assert file.reread(None, 2.0) == Verdict()
    assert file.reread(None, 3.0) == Verdict(unreadable=True)


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
    file, now, halted, verdict = FlagFile(GOOD), 0.0, False, Verdict()
    for raw, seconds in [*steps, (GOOD, 0.5), (GOOD, 0.5), (GOOD, 0.5)]:
        now += seconds
        verdict = file.look(raw, now)
        if verdict.halt:
            halted = True
        if verdict.apply is not None:
            halted = verdict.apply == HALT
    assert not halted
    assert not verdict.unreadable
    assert file.applied == GOOD
