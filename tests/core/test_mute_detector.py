"""A stream's usual gap, and when its silence is no quiet any more."""

from __future__ import annotations

import pytest

from feedd.core.mute_detector import FIRST_WORD_SECONDS, MUTE_GAPS, MuteDetector


def looked_at(*looks: tuple[float, int]) -> MuteDetector:
    mute_detector = MuteDetector()
    for now, messages in looks:
        mute_detector.observe(messages, now)
    return mute_detector


@pytest.mark.parametrize(
    ("looks", "mean_interval"),
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
    looks: list[tuple[float, int]], mean_interval: float | None
) -> None:
    found = looked_at(*looks).mean_interval
    assert found == (None if mean_interval is None else pytest.approx(mean_interval))


def test_stream_is_mute_once_it_is_silent_for_many_of_its_gaps_and_the_limit() -> None:
    mute_detector = looked_at((0.0, 0), (1.0, 1))  # one a second
    silence = MUTE_GAPS * 1.0
    assert not mute_detector.judge(silence - 0.1, True, True, stale_after=10.0)
    assert mute_detector.judge(silence, True, True, stale_after=10.0)
    assert (mute_detector.is_mute, mute_detector.mutes) == (True, 1)
    assert not mute_detector.judge(silence + 1.0, True, True, stale_after=10.0)
    assert mute_detector.judge(0.1, True, True, stale_after=10.0)
    assert (mute_detector.is_mute, mute_detector.mutes) == (False, 1)


def test_silence_below_the_symbols_limit_is_no_muteness() -> None:
    mute_detector = looked_at((0.0, 0), (1.0, 1000))
    assert not mute_detector.judge(9.9, True, True, stale_after=10.0)
    assert mute_detector.judge(10.0, True, True, stale_after=10.0)


def test_silence_of_all_streams_is_the_feeds_and_not_the_streams() -> None:
    mute_detector = looked_at((0.0, 0), (1.0, 1))
    assert not mute_detector.judge(1000.0, True, False, stale_after=10.0)


def test_stream_that_never_spoke_has_a_minute() -> None:
    mute_detector = MuteDetector()
    assert not mute_detector.judge(FIRST_WORD_SECONDS - 0.1, False, True, stale_after=10.0)
    assert mute_detector.judge(FIRST_WORD_SECONDS, False, True, stale_after=10.0)
    mute_detector = MuteDetector()
    assert not mute_detector.judge(FIRST_WORD_SECONDS, False, True, stale_after=90.0)


def test_another_source_has_another_rhythm() -> None:
    mute_detector = looked_at((0.0, 0), (1.0, 1))
    mute_detector.judge(1000.0, True, True, stale_after=10.0)
    mute_detector.forget()
    assert (mute_detector.mean_interval, mute_detector.is_mute, mute_detector.mutes) == (None, False, 1)
    mute_detector.observe(50, 100.0)
    assert mute_detector.mean_interval is None
