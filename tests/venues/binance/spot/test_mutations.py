"""Damaged real frames by the ten thousand: none raises, all are accounted for. See `make mutations`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

import pytest

from feedd.core.symbol_state import SymbolState
from feedd.model import InvalidReason
from tests.venues.binance.spot import mutations
from tests.venues.binance.spot.mutations import DAMAGES, Mutation, passes, prove

FRAMES = 60_000
OF_THE_SOCKET = (InvalidReason.BINARY, InvalidReason.TOO_BIG)
"""What is seen before there is anything to decode."""


async def test_damaged_frames_raise_nothing_and_each_is_counted() -> None:
    outcomes = await prove(FRAMES, seed=1)
    assert outcomes.total() == FRAMES
    assert {damage for damage, _ in outcomes} == set(DAMAGES)
    assert {word for _, word in outcomes} == {
        "message",
        "message with unknown fields",
        "repetition",
        "notice of shutdown",
        "control reply",
        *(f"invalid, {reason}" for reason in InvalidReason if reason not in OF_THE_SOCKET),
    }
    # A number that was moved ahead makes old news of what is sound.
    assert {word for damage, word in outcomes if damage == "none"} == {"message", "repetition"}


def some_mutations(seed: int) -> list[Mutation]:
    frames: Iterator[Mutation] = mutations.mutations(next(passes()), Random(seed))
    return list(islice(frames, 500))


def test_same_seed_damages_in_the_same_way() -> None:
    assert some_mutations(1) == some_mutations(1)
    assert some_mutations(1) != some_mutations(2)


def raise_for(symbol_state: SymbolState, *_: object) -> None:
    raise OverflowError("where nobody expects it")


def do_nothing(symbol_state: SymbolState, *_: object) -> None:
    pass


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("method", "bug"),
    [
        ("invalid", raise_for),
        ("invalid", do_nothing),
        ("receive", raise_for),
        ("receive", do_nothing),
        ("unknown_fields", raise_for),
    ],
)
async def test_proof_names_the_frame_that_is_lost(
    monkeypatch: pytest.MonkeyPatch, method: str, bug: Callable[..., None]
) -> None:
    monkeypatch.setattr(SymbolState, method, bug)
    with pytest.raises(AssertionError, match=r"^frame \d+ of seed 7, [a-z ]+: b"):
        await prove(1_000, seed=7)
