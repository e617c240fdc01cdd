"""Which venue the settings choose, at which addresses, and which of its streams."""

from __future__ import annotations

from feedd.config.settings import Settings
from feedd.model import Stream
from feedd.venues.catalogue import VENUES
from feedd.venues.venue import Venue


def venue_for(settings: Settings) -> Venue:
    """Return the venue's table, with the addresses that the settings put in place of its own."""
    return VENUES[settings.venue].at(settings.ws_urls, settings.rest_url)


def streams_for(settings: Settings) -> tuple[Stream, ...]:
    """Return the streams that the live feed of a symbol is made of."""
    venue = VENUES[settings.venue]
    return tuple(venue.parse_stream(name) for name in settings.streams)
