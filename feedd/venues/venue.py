"""What a venue is: a frozen table of addresses, rules, streams and histories. Nobody asks its name.

One table per product and environment; feedd.venues.catalogue has them all. A new venue is a folder with its
payloads and its table, a row there, and its name among the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Protocol

from feedd.model import Event, Stream, StreamKind, Subscription
from feedd.venues.binance.common.control_replies import DecodedFrame
from feedd.venues.binance.common.frame import Frame


@dataclass(frozen=True, slots=True)
class VenueRules:
    """What the venue demands of its clients, and does to them."""

    ping_seconds: float
    """How often its server pings."""
    silence_seconds: float
    """A connection without any frame for so long is dead: two pings were missed, with some slack."""
    lifetime_seconds: float
    """It ends every connection at this age."""
    messages_per_second: int
    """It takes so many from one connection."""
    streams_per_connection: int
    connects_per_five_minutes: int
    """Attempts that it allows an address."""
    weight_per_minute: int
    """REST weight that it allows an address."""


@dataclass(frozen=True, slots=True)
class RestPaths:
    """Where its REST side is asked."""

    time: str
    exchange_info: str


@dataclass(frozen=True, slots=True)
class StreamDefinition:
    """One stream of a venue: what its messages look like, and what they can prove."""

    stream: Stream
    payload_type: type[Any]
    event_names: tuple[str, ...] = ()
    """The values of the payload's `e`; none where it has no such field."""
    cadence_seconds: float | None = None
    """How often it is pushed at the most; None where every event is."""
    is_heartbeat: bool = False
    """It is pushed also while nobody trades."""


@dataclass(frozen=True, slots=True)
class History:
    """How messages of one kind that were missed are asked for, and handed on."""

    path: str
    weight: int
    page_max: int
    """No request is answered with more."""
    query: Callable[[str, int, int], dict[str, str]]
    """(symbol, first id, count) → what to ask for."""
    decode_page: Callable[[bytes, int], Sequence[Any]]
    """(answer, first id asked for) → its entries, each with a `number`, rising. Raises DecodeError."""
    frame_of: Callable[[str, str, Any], bytes]
    """(wire name, symbol, entry) → the combined stream's message, marked as backfill."""


@dataclass(frozen=True, slots=True)
class Route:
    """Streams that are served under the same addresses: what one client of a symbol connects to."""

    name: str
    ws_urls: tuple[str, ...]
    """At least one; the same service behind each, so that two connections need not share a port."""
    streams: tuple[Stream, ...]


class StreamDecoder(Protocol):
    """Decodes the frames of one subscription that are of exactly the known shape."""

    name: str
    """The stream's wire name."""

    def first_look(self, frame: bytes) -> Frame[Event] | None:
        """Return the message of a frame; None for one that needs a second look."""


class Decoder(Protocol):
    """Decodes what one connection delivers."""

    @property
    def stream_decoders(self) -> Mapping[bytes, StreamDecoder]:
        """By the name of their stream, as it stands in a frame."""

    def second_look(self, frame: bytes) -> DecodedFrame:
        """Return the message of a frame that the first look did not know. Raises DecodeError."""


@dataclass(frozen=True, slots=True)
class Venue:
    """One venue. No address ends in a slash."""

    name: str
    """As FEEDD_VENUE has it."""
    title: str
    """As a person calls it."""
    ws_urls: tuple[str, ...]
    rest_url: str
    rest: RestPaths
    rules: VenueRules
    streams: Mapping[str, StreamDefinition]
    """By their name without the symbol."""
    default_streams: tuple[str, ...]
    histories: Mapping[StreamKind, History]
    decoder: Callable[[Iterable[Subscription]], Decoder]
    """Opens a decoder for one connection."""
    route_paths: Mapping[str, str]
    """Route → what follows the host."""

    def at(self, ws_urls: Sequence[str] = (), rest_url: str | None = None) -> Venue:
        """Return the same venue at other addresses, where such are given."""
        return replace(
            self,
            ws_urls=tuple(ws_urls) or self.ws_urls,
            rest_url=self.rest_url if rest_url is None else rest_url,
        )

    def parse_stream(self, name: str) -> Stream:
        """Return the stream of that name. Raises ValueError, which names the nearest one, for any other."""
        if name in self.streams:
            return self.streams[name].stream
        nearest = self.nearest_stream(name)
        hint = f"; did you mean {nearest}?" if nearest else ""
        raise ValueError(f"expected a stream of {self.title}, found {name!r}{hint}")

    def nearest_stream(self, name: str) -> str | None:
        """Return the stream that `name` was probably meant to be, or None when nothing is close."""
        lowered = {known.lower(): known for known in reversed(tuple(self.streams))}
        family, separator, _ = name.lower().partition("_")
        if separator and any(known.startswith(f"{family}_") for known in lowered):
            # Another interval is other data, however alike the names are: only the spelling may differ.
            return lowered.get(name.lower())
        matches = get_close_matches(name.lower(), lowered, n=1)
        return lowered[matches[0]] if matches else None

    def routes(self, streams: Iterable[Stream]) -> tuple[Route, ...]:
        """Return the routes that these streams need, in the table's order, each with its addresses."""
        wanted = tuple(streams)
        served = {name: tuple(each for each in wanted if each.route == name) for name in self.route_paths}
        return tuple(
            Route(name, tuple(url + self.route_paths[name] for url in self.ws_urls), found)
            for name, found in served.items()
            if found
        )
