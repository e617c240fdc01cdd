"""One word for each state of a feed, and its reason."""

from __future__ import annotations

import pytest

from feedd.core.feed_health import standing
from feedd.core.symbol_state import SymbolLimits, SymbolState
from feedd.core.venue_clock import VenueClock
from feedd.model import DisconnectReason, FeedHealth, ResumePolicy
from feedd.venues.binance.spot.tables import SPOT
from tests.venues.binance.spot.frames import frame

STREAMS = tuple(SPOT.parse_stream(name) for name in ("trade", "kline_1s"))


def symbol_state(*, is_live: bool = True) -> SymbolState:
    """A connected symbol that had ten trades a second for two seconds, the last one at 102."""
    limits = SymbolLimits(stale_after=10.0, latency=1.0, resume_after=0.0, resume=ResumePolicy.AUTO)
    made = SymbolState("BTCUSDT", STREAMS, limits, VenueClock(100.0, 0.0), 100.0)
    made.begin(STREAMS, measures_latency=is_live, now=100.0)
    if is_live:
        made.connected(100.0)
    made.mute_changes(100.0)
    for number in range(20):
        at = 100.1 + number / 10.0
        message = frame("trade", t=1 + number)
        made.receive(made.streams[message.stream], message.data, at)
        made.handed_on(made.streams[message.stream], at, at)
    made.mute_changes(102.0)
    return made


@pytest.mark.parametrize(
    ("now", "expected", "why"),
    [
        (102.1, FeedHealth.LIVE, ""),
        (103.5, FeedHealth.QUIET, "no message for 1.5 s, usually one every 0.1 s"),
        (107.0, FeedHealth.SUSPECT, "no message for 5.0 s, half the limit of 10 s"),
        (112.0, FeedHealth.STALE, "no message for 10.0 s, the limit is 10 s"),
    ],
)
def test_silence_has_a_word_for_each_of_its_lengths(now: float, expected: FeedHealth, why: str) -> None:
    silent = symbol_state()
    silent.tick(now)
    assert standing(silent, now) == (expected, why)


def test_feed_without_a_connection_is_down() -> None:
    lost = symbol_state()
    lost.disconnected(DisconnectReason.RESET, 102.1)
    lost.delay_reconnect(3.2)
    assert standing(lost, 102.2) == (FeedHealth.DOWN, "no connection, next attempt in 3 s")


def test_mute_stream_of_a_live_feed_is_named() -> None:
    live = symbol_state()
    for second in range(103, 170):
        message = frame("trade", t=second)
        live.receive(live.streams[message.stream], message.data, float(second))
        live.handed_on(live.streams[message.stream], float(second), float(second))
        live.mute_changes(float(second))
    assert standing(live, 169.1) == (FeedHealth.LIVE, "mute: kline_1s")


def test_recorded_data_needs_no_connection_and_is_never_suspect() -> None:
    assert standing(symbol_state(is_live=False), 102.1)[0] is FeedHealth.LIVE
    assert standing(symbol_state(is_live=False), 108.0)[0] is FeedHealth.QUIET


def test_feed_whose_rhythm_is_unknown_is_live_while_it_is_connected() -> None:
    limits = SymbolLimits(stale_after=10.0, latency=1.0, resume_after=0.0, resume=ResumePolicy.AUTO)
    new = SymbolState("BTCUSDT", STREAMS, limits, VenueClock(100.0, 0.0), 100.0)
    new.connected(100.0)
    assert standing(new, 103.0) == (FeedHealth.LIVE, "")
