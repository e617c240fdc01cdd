"""When undecodable messages stop being accidents: three in a row, or more than five of the last hundred."""

from __future__ import annotations

from collections import deque
from typing import Final

ROW: Final = 3
WINDOW: Final = 100
TOLERATED: Final = 5


class DecodeFailureRule:
    """Judges a symbol's messages. Good ones cost it nothing: it only keeps where the bad ones stood."""

    __slots__ = ("_bad",)

    def __init__(self) -> None:
        self._bad: deque[int] = deque(maxlen=TOLERATED + 1)

    def note_invalid(self, ordinal: int) -> None:
        """Note that the message of this ordinal (valid and invalid ones are counted together) was invalid."""
        self._bad.append(ordinal)

    def is_failing(self, ordinal: int) -> bool:
        """Tell whether the messages up to this ordinal show a schema that can't be trusted."""
        bad = self._bad
        too_many = len(bad) == bad.maxlen and bad[0] > ordinal - WINDOW
        in_a_row = len(bad) >= ROW and bad[-1] == ordinal and bad[-ROW] == ordinal - ROW + 1
        return too_many or in_a_row
