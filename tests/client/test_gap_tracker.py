"""What was missed, known by ids where there are any, and by time where there are none."""

from __future__ import annotations

from feedd.client.decode import Decoder
from feedd.client.events import Missed
from feedd.client.gap_tracker import GapTracker
from tests.venues.binance.spot.frames import combined

STREAMS = ("trade", "aggTrade", "depth@100ms", "bookTicker", "kline_1s")
DECODER = Decoder(("BTCUSDT",), STREAMS, str)
T0 = 1_795_000_000_000


class Stream:
    """Decodes messages and returns what was missed before each."""

    def __init__(self) -> None:
        self.tracker = GapTracker(DECODER.names)

    def receive(self, stream: str, **fields: object) -> Missed | None:
        message = DECODER.decode(combined(stream, **fields))
        assert isinstance(message, tuple)
        return self.tracker.gap_before(*message)

    def trade(self, number: int, time: int = 0) -> Missed | None:
        return self.receive("trade", t=number, E=T0 + (time or number))

    def reconnect(self, lost_at: float, back_at: float) -> None:
        self.tracker.disconnected(lost_at)
        self.tracker.disconnected(lost_at + 0.1)  # an attempt that failed
        self.tracker.connected(back_at)


def test_first_message_and_consecutive_ones_miss_nothing() -> None:
    stream = Stream()
    stream.tracker.connected(5.0)
    assert [stream.trade(number) for number in (10, 11, 12)] == [None, None, None]


def test_ids_say_what_was_missed_while_away() -> None:
    stream = Stream()
    stream.trade(10)
    stream.reconnect(100.0, 103.5)
    missed = stream.trade(15)
    assert missed == Missed("BTCUSDT", "trade", 11, 14, 3.5)
    assert missed.count == 4
    assert stream.trade(16) is None


def test_quiet_outage_misses_nothing() -> None:
    stream = Stream()
    stream.trade(10)
    stream.reconnect(100.0, 103.5)
    assert stream.trade(11) is None


def test_hole_without_an_outage_is_of_the_daemons_side() -> None:
    stream = Stream()
    stream.trade(10)
    assert stream.trade(12) == Missed("BTCUSDT", "trade", 11, 11, 0.0)


def test_depth_is_counted_in_updates() -> None:
    stream = Stream()
    stream.receive("depth@100ms", U=5, u=9, E=T0)
    assert stream.receive("depth@100ms", U=10, u=12, E=T0 + 100) is None
    stream.reconnect(1.0, 2.0)
    assert stream.receive("depth@100ms", U=20, u=21, E=T0 + 900) == Missed(
        "BTCUSDT", "depth@100ms", 13, 19, 1.0
    )


def test_aggregates_have_ids_of_their_own() -> None:
    stream = Stream()
    stream.receive("aggTrade", a=5, E=T0)
    assert stream.receive("aggTrade", a=7, E=T0 + 1) == Missed("BTCUSDT", "aggTrade", 6, 6, 0.0)


def test_streams_without_such_ids_know_only_the_time() -> None:
    stream = Stream()
    assert stream.receive("bookTicker", u=5) is None
    assert stream.receive("bookTicker", u=900) is None
    stream.reconnect(100.0, 103.5)
    missed = stream.receive("bookTicker", u=901)
    assert missed == Missed("BTCUSDT", "bookTicker", None, None, 3.5)
    assert missed.count is None
    assert stream.receive("bookTicker", u=902) is None
    assert stream.receive("kline_1s") == Missed("BTCUSDT", "kline_1s", None, None, 3.5)


def test_outage_before_the_first_message_leaves_unknown_what_was_missed() -> None:
    stream = Stream()
    stream.reconnect(100.0, 103.5)
    assert stream.trade(10) == Missed("BTCUSDT", "trade", None, None, 3.5)


def test_outages_add_up_until_they_are_reported() -> None:
    stream = Stream()
    stream.receive("bookTicker")
    stream.reconnect(100.0, 101.0)
    stream.reconnect(110.0, 112.0)
    assert stream.receive("bookTicker") == Missed("BTCUSDT", "bookTicker", None, None, 3.0)


def test_older_message_that_comes_late_takes_nothing_back() -> None:
    stream = Stream()
    stream.trade(10)
    stream.trade(13)
    assert stream.trade(11) is None
    assert stream.trade(14) is None


def test_ids_that_begin_anew_are_no_loss_of_millions() -> None:
    stream = Stream()
    stream.trade(1_000_000, time=1)
    assert stream.trade(3, time=2) == Missed("BTCUSDT", "trade", None, None, 0.0)
    assert stream.trade(4, time=3) is None
    assert stream.trade(6, time=4) == Missed("BTCUSDT", "trade", 5, 5, 0.0)
