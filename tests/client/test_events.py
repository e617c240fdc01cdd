"""Events as a strategy sees them: frozen, of whole words, and counted where ids allow it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest

from feedd.client import events
from feedd.client.events import AggTrade, Event, MarketEvent, Missed, Trade
from tests.venues.binance.spot.frames import payload

ALL_KINDS: tuple[Any, ...] = tuple(
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct
)
MARKET_KINDS = tuple(kind for kind in ALL_KINDS if kind is not Missed)


def members(union: Any) -> set[type]:
    """Return the classes of a union, without their type parameters."""
    return {get_origin(member) or member for member in get_args(union)}


def test_market_event_is_every_kind_but_missed_and_event_is_all_of_them() -> None:
    assert members(MarketEvent) == set(MARKET_KINDS)
    assert members(Event) == set(ALL_KINDS)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_event_names_its_symbol_first(kind: Any) -> None:
    assert kind.__struct_fields__[0] == "symbol"


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_field_names_are_whole_words_and_no_wire_name_stands_for_two(kind: Any) -> None:
    assert all(len(word) > 1 for name in kind.__struct_fields__ for word in name.split("_"))
    assert len(set(kind.__struct_encode_fields__)) == len(kind.__struct_fields__)


@pytest.mark.parametrize("kind", MARKET_KINDS)
def test_times_and_only_times_end_in_ms_and_are_whole_milliseconds(kind: Any) -> None:
    hints = get_type_hints(kind)
    for name in kind.__struct_fields__:
        assert name.endswith("_ms") == ("time" in name.split("_")), name
        assert not name.endswith("_ms") or hints[name] is int


def test_event_can_not_be_changed() -> None:
    missed = Missed("BTCUSDT", "trade", 11, 14, 3.5)
    with pytest.raises(AttributeError, match="immutable"):
        missed.first = 12  # type: ignore[misc]  # mypy knows it too
    trade = msgspec.json.decode(msgspec.json.encode(payload("trade")), type=Trade[Decimal])
    with pytest.raises(AttributeError, match="immutable"):
        trade.price = Decimal(0)  # type: ignore[misc]


def test_same_messages_are_equal_events_and_other_prices_are_not() -> None:
    def decoded(**fields: object) -> AggTrade[Decimal]:
        message = payload("aggTrade") | fields
        return msgspec.json.decode(msgspec.json.encode(message), type=AggTrade[Decimal])

    assert decoded() == decoded()
    assert decoded(p="1.0") != decoded(p="2.0")


@pytest.mark.parametrize(("first", "last", "count"), [(11, 14, 4), (11, 11, 1)])
def test_missed_counts_both_its_first_and_its_last_id(first: int, last: int, count: int) -> None:
    assert Missed("BTCUSDT", "trade", first, last, 0.0).count == count


@pytest.mark.parametrize(("first", "last"), [(None, None), (11, None), (None, 14)])
def test_missed_without_ids_has_no_count(first: int | None, last: int | None) -> None:
    assert Missed("BTCUSDT", "bookTicker", first, last, 3.5).count is None
