"""One route of a symbol: whether it is connected, and for how long it has delivered good data."""

from __future__ import annotations

from feedd.core.route_state import RouteState

STALE_AFTER = 10.0


def delivering(route: RouteState, *times: float) -> None:
    """Hand on a good message at each of these times."""
    for now in times:
        route.staleness.last_at = now
        if route.good_from is None:
            route.began_well(now)


def test_new_route_is_not_connected_and_has_been_good_for_no_time() -> None:
    route = RouteState("market", STALE_AFTER, now=3.0)
    assert (route.name, route.is_connected, route.good_for) == ("market", False, 0.0)
    assert (route.staleness.since, route.staleness.deadline) == (3.0, 13.0)


def test_route_is_connected_while_any_of_its_connections_is_open() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    seen = []
    for change in (route.connected, route.connected, route.disconnected, route.disconnected):
        change()
        seen.append((route.open_connections, route.is_connected))
    assert seen == [(1, True), (2, True), (1, True), (0, False)]


def test_it_has_been_good_from_its_first_good_message_to_its_newest_message() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.connected()
    route.staleness.last_at = 1.0
    assert route.good_for == 0.0, "a message that nobody called good"
    delivering(route, 2.0, 5.0)
    assert route.good_for == 3.0
    route.staleness.last_at = 6.0
    assert route.good_for == 4.0


def test_second_connection_goes_on_with_the_good_time_of_the_first() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.connected()
    delivering(route, 1.0, 4.0)
    route.connected()
    route.disconnected()
    delivering(route, 9.0)
    assert route.good_for == 8.0


def test_pause_without_any_connection_begins_the_good_time_anew() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.connected()
    delivering(route, 1.0, 4.0)
    route.disconnected()
    assert route.good_for == 3.0, "whoever asks why it ended still wants to know"
    route.connected()
    assert route.good_for == 0.0
    delivering(route, 6.0, 7.0)
    assert route.good_for == 1.0


def test_good_time_may_be_forgotten_without_the_age() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.connected()
    delivering(route, 1.0, 4.0)
    route.forget_good()
    assert (route.good_for, route.staleness.last_at, route.is_connected) == (0.0, 4.0, True)


def test_other_source_begins_as_if_nothing_had_ever_come() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.connected()
    delivering(route, 1.0, 4.0)
    route.restart(20.0)
    assert (route.good_for, route.staleness.last_at) == (0.0, None)
    assert route.staleness.deadline == 20.0 + STALE_AFTER
    delivering(route, 21.0, 22.5)
    assert route.good_for == 1.5


def test_good_message_without_a_newest_one_proves_no_time() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.began_well(1.0)
    assert route.good_for == 0.0


def test_only_a_route_without_connection_is_put_off() -> None:
    route = RouteState("", STALE_AFTER, now=0.0)
    route.delay_reconnect(4.0)
    assert route.backoff_seconds == 4.0
    route.connected()
    assert route.backoff_seconds == 0.0
    route.delay_reconnect(4.0)
    assert route.backoff_seconds == 0.0
