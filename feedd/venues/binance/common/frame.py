"""One message of a combined stream, decoded."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

PayloadType = TypeVar("PayloadType", covariant=True)


class Frame(Struct, Generic[PayloadType], frozen=True, gc=False):
    """One message of a combined stream: `{"stream": <wire name>, "data": <payload>}`."""

    stream: str
    data: PayloadType
