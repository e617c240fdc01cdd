"""Every venue by its name, each table whole in itself."""

from __future__ import annotations

import pytest

from feedd.model import VenueName
from feedd.venues.catalogue import VENUES
from feedd.venues.venue import Venue

EVERY = pytest.mark.parametrize("venue", VENUES.values(), ids=lambda venue: venue.name)


def test_every_name_that_the_settings_take_has_a_table() -> None:
    assert list(VENUES) == [name.value for name in VenueName]


@EVERY
def test_addresses_are_encrypted_and_end_in_no_slash(venue: Venue) -> None:
    assert venue.ws_urls
    assert all(url.startswith("wss://") and not url.endswith("/") for url in venue.ws_urls)
    assert venue.rest_url.startswith("https://")
    assert not venue.rest_url.endswith("/")


@EVERY
def test_default_streams_are_its_own(venue: Venue) -> None:
    assert [venue.parse_stream(name).name for name in venue.default_streams] == list(venue.default_streams)


@EVERY
def test_every_stream_has_a_route_and_a_history_where_it_says_so(venue: Venue) -> None:
    for name, definition in venue.streams.items():
        assert definition.stream.name == name
        assert definition.stream.route in venue.route_paths
        assert definition.stream.has_history == (definition.stream.kind in venue.histories)


@EVERY
def test_silence_is_longer_than_two_pings(venue: Venue) -> None:
    assert venue.rules.silence_seconds > 2 * venue.rules.ping_seconds
