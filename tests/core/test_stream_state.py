"""One stream of a symbol: what it has brought, and for how long it has been silent."""

from __future__ import annotations

from feedd.core.route_state import RouteState
from feedd.core.stream_state import StreamState
from feedd.model import Subscription
from feedd.venues.binance.spot.tables import SPOT
from tests.venues.binance.spot.frames import data

STALE_AFTER = 10.0


def new_stream_state(name: str, route: RouteState | None = None) -> StreamState:
    route = RouteState("", STALE_AFTER, now=2.0) if route is None else route
    return StreamState(Subscription("BTCUSDT", SPOT.parse_stream(name)), route)


def test_new_stream_has_brought_nothing_and_goes_by_its_names() -> None:
    stream_state = new_stream_state("depth@100ms")
    assert (stream_state.symbol, stream_state.stream.name) == ("BTCUSDT", "depth@100ms")
    assert stream_state.wire_name == "btcusdt@depth@100ms"
    assert (stream_state.messages, stream_state.last_at) == (0, None)
    assert not stream_state.mute_detector.is_mute


def test_silence_counts_from_the_newest_message_of_this_very_stream() -> None:
    route = RouteState("", STALE_AFTER, now=2.0)
    trades, quotes = new_stream_state("trade", route), new_stream_state("bookTicker", route)
    trades.last_at, quotes.last_at = 5.0, 8.0
    assert (trades.silent_for(9.0), quotes.silent_for(9.0)) == (4.0, 1.0)


def test_silence_of_a_stream_that_never_spoke_counts_from_the_beginning_of_its_source() -> None:
    route = RouteState("", STALE_AFTER, now=2.0)
    trades = new_stream_state("trade", route)
    assert trades.silent_for(9.0) == 7.0
    route.restart(8.0)
    assert trades.silent_for(9.0) == 1.0


def test_sequence_is_by_the_rule_of_the_stream() -> None:
    trades, quotes = new_stream_state("trade"), new_stream_state("bookTicker")
    assert [trades.sequence.admit(data("trade", t=number)) for number in (1, 2, 2, 9)] == [
        True,
        True,
        False,
        True,
    ]
    assert [quotes.sequence.admit(data("bookTicker", u=number)) for number in (1, 2, 2, 9)] == [
        True,
        True,
        False,
        True,
    ]
    assert (trades.sequence.gaps, quotes.sequence.gaps) == (1, 0), "only the ids of trades are without holes"


def test_stream_that_moves_to_another_route_is_silent_since_that_began() -> None:
    trades = new_stream_state("trade", RouteState("a", STALE_AFTER, now=2.0))
    trades.move_to(RouteState("b", STALE_AFTER, now=8.0))
    assert (trades.route.name, trades.silent_for(9.0)) == ("b", 1.0)
