"""Every venue that feedd knows, by the name that FEEDD_VENUE has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from feedd.venues.binance.spot.tables import (
    BINANCE_TR,
    BINANCE_US,
    SPOT,
    SPOT_DATA,
    SPOT_DEMO,
    SPOT_TESTNET,
)
from feedd.venues.venue import Venue

VENUES: Final[Mapping[str, Venue]] = {
    venue.name: venue for venue in (SPOT, SPOT_TESTNET, SPOT_DEMO, SPOT_DATA, BINANCE_US, BINANCE_TR)
}
