"""A stream's usual gap, and when its silence is no quiet any more."""

from __future__ import annotations

import pytest

from feedd.core.mute_detector import FIRST_WORD_SECONDS, MUTE_GAPS, Rhythm


def looked_at(*looks: tuple[float, int]) -> Rhythm:
    rhythm = Rhythm()
    for now, messages in looks:
        rhythm.look(messages, now)
    return rhythm


@pytest.mark.parametrize(
    ("looks", "usual_gap"),
    [
        ([], None),
        ([(100.0, 7)], None),
        ([(100.0, 7), (101.0, 7)], None),
        ([(100.0, 7), (101.0, 17)], 0.1),
        ([(100.0, 0), (101.0, 0), (102.0, 0), (103.0, 1)], 3.0),
        ([(100.0, 0), (101.0, 10), (102.0, 20), (103.0, 30)], 0.1),
        ([(100.0, 0), (101.0, 10), (102.1, 11)], 0.2),
        ([(100.0, 0), (100.0, 5)], None),
    ],
)
def test_usual_gap_is_the_mean_of_gaps_and_follows_slowly(
    looks: list[tuple[float, int]], usual_gap: float | None
) -> None:
    found = looked_at(*looks).usual_gap
    assert found == (None if usual_gap is None else pytest.approx(usual_gap))


def test_stream_is_mute_once_it_is_silent_for_many_of_its_gaps_and_the_limit() -> None:
    rhythm = looked_at((0.0, 0), (1.0, 1))  # one a second
    silence = MUTE_GAPS * 1.0
    assert not rhythm.judge(silence - 0.1, True, True, stale_after=10.0)
    assert rhythm.judge(silence, True, True, stale_after=10.0)
    assert (rhythm.is_mute, rhythm.mutes) == (True, 1)
    assert not rhythm.judge(silence + 1.0, True, True, stale_after=10.0)
    assert rhythm.judge(0.1, True, True, stale_after=10.0)
    assert (rhythm.is_mute, rhythm.mutes) == (False, 1)


def test_silence_below_the_symbols_limit_is_no_muteness() -> None:
    rhythm = looked_at((0.0, 0), (1.0, 1000))
    assert not rhythm.judge(9.9, True, True, stale_after=10.0)
    assert rhythm.judge(10.0, True, True, stale_after=10.0)


def test_silence_of_all_streams_is_the_feeds_and_not_the_streams() -> None:
    rhythm = looked_at((0.0, 0), (1.0, 1))
    assert not rhythm.judge(1000.0, True, False, stale_after=10.0)


def test_stream_that_never_spoke_has_a_minute() -> None:
    rhythm = Rhythm()
    assert not rhythm.judge(FIRST_WORD_SECONDS - 0.1, False, True, stale_after=10.0)
    assert rhythm.judge(FIRST_WORD_SECONDS, False, True, stale_after=10.0)
    rhythm = Rhythm()
    assert not rhythm.judge(FIRST_WORD_SECONDS, False, True, stale_after=90.0)


def test_another_source_has_another_rhythm() -> None:
    rhythm = looked_at((0.0, 0), (1.0, 1))
    rhythm.judge(1000.0, True, True, stale_after=10.0)
    rhythm.forget()
    assert (rhythm.usual_gap, rhythm.is_mute, rhythm.mutes) == (None, False, 1)
    rhythm.look(50, 100.0)
    assert rhythm.usual_gap is None
