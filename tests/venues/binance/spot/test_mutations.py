"""Damaged real frames by the ten thousand: none raises, all are accounted for. See `make mutations`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from random import Random

import pytest

from feedd.errors import DecodeError
from feedd.model import Event, InvalidReason, Subscription
from feedd.venues.binance.common.control_replies import ControlReply, DecodedFrame
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.decode import SpotDecoder
from feedd.venues.venue import StreamDecoder
from tests.venues.binance.spot import mutations
from tests.venues.binance.spot.mutations import DAMAGES, Mutation, OpenDecoder, passes, prove

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


class WithSecondLook:
    """Spot's decoder with another second look, which takes the place of a bug in it."""

    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        self._decoder = SpotDecoder(subscriptions)
        self.stream_decoders: Mapping[bytes, StreamDecoder] = self._decoder.stream_decoders

    def second_look(self, frame: bytes) -> DecodedFrame:
        return self._decoder.second_look(frame)


class Raising(WithSecondLook):
    def second_look(self, frame: bytes) -> DecodedFrame:
        raise OverflowError("where nobody expects it")


class Swallowing(WithSecondLook):
    def second_look(self, frame: bytes) -> DecodedFrame:
        return ControlReply(None, None)


class Forgiving(WithSecondLook):
    """What can't be trusted passes for the message before it."""

    def second_look(self, frame: bytes) -> DecodedFrame:
        with suppress(DecodeError):
            self._last = super().second_look(frame)
        return self._last


class FirstLook:
    """The first look of one stream, which takes every message for the first one."""

    def __init__(self, decoder: StreamDecoder) -> None:
        self.name = decoder.name
        self._decoder = decoder
        self._first: Frame[Event] | None = None

    def first_look(self, frame: bytes) -> Frame[Event] | None:
        self._first = self._first or self._decoder.first_look(frame)
        return self._first


class Repeating(WithSecondLook):
    def __init__(self, subscriptions: Iterable[Subscription]) -> None:
        super().__init__(subscriptions)
        self.stream_decoders = {name: FirstLook(each) for name, each in self.stream_decoders.items()}


@pytest.mark.parametrize("open_decoder", [Raising, Swallowing, Forgiving, Repeating])
async def test_proof_names_the_frame_that_is_lost(open_decoder: OpenDecoder) -> None:
    with pytest.raises(AssertionError, match=r"^frame \d+ of seed 7, [a-z ]+: b"):
        await prove(1_000, seed=7, open_decoder=open_decoder)
