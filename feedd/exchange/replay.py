"""A recorded session, played again as if it happened now. Times are microseconds unless named otherwise.

Each stream is played once in the life of the process. It starts with its first subscriber, pauses while it
has none, and goes on where it was: a client with a connection of its own per symbol gets every message
exactly once, whenever it connects or reconnects. After its end a stream is silent.

Event times are moved so that the session's beginning falls on the moment at which the stream was started.
The recorder's clock ran a few milliseconds behind the exchange's, so that recorded events seem to be received
before they happened. One constant for the whole session makes up for that: the smallest latency becomes zero,
the others keep their distance from it. A speed other than 1 squeezes events and sends alike; at speed 0 all
of it happens at the moment the stream was started.
"""

from __future__ import annotations

import heapq
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import orjson

from feedd.errors import Problem, SettingsError
from feedd.exchange.messages import Document, MarketMessage, TimeUnit, Watched, scale_times, shift_times

# How many messages one `advance` returns at speed 0, where the clients set the pace.
_BATCH = 500

_CONNECT = re.compile(r"(?P<url>\S+) <-> (?P<time>[\d.]+)")
_MESSAGE = re.compile(r"(?P<time>\d+\.\d+): (?P<text>\{.*\})")
_OTHER = re.compile(r"\S+ (<-|->) .*")


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """One message of a session; `offset` is when it was received, from the session's beginning."""

    index: int
    symbol: str
    kind: str
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A whole session. `start` and `correction` lead from recorded event times to offsets."""

    symbols: tuple[str, ...]
    messages: tuple[RecordedMessage, ...]
    start: int
    correction: int


class Playback:
    """The playback of one stream: its position, and when it was started."""

    def __init__(self, messages: list[RecordedMessage], session: RecordedSession, speed: float) -> None:
        self._messages = messages
        self._session = session
        self._speed = speed
        self._position = 0
        self._elapsed = 0
        self._started: int | None = None

    def start(self, now: int) -> None:
        """Start, or go on from where it was paused."""
        if self._started is None:
            self._started = now - self._scaled(self._elapsed)

    def pause(self, now: int) -> None:
        """Stop until the stream has a subscriber again."""
        if self._started is not None:
            self._elapsed = int((now - self._started) * self._speed)
            self._started = None

    @property
    def next_due(self) -> int | None:
        """When the next message is due; None while paused and at the end."""
        if self._started is None or self._position == len(self._messages):
            return None
        return self._started + self._scaled(self._messages[self._position].offset)

    @property
    def next_index(self) -> int:
        """The place of the next message in the whole session."""
        return self._messages[self._position].index

    def pop_next(self) -> tuple[RecordedMessage, Document]:
        """Take the next message, with its times moved to now."""
        assert self._started is not None
        recorded = self._messages[self._position]
        self._position += 1
        document: Document = orjson.loads(recorded.payload)
        event_time = document.get("E")
        if isinstance(event_time, int):
            offset = event_time * 1000 - self._session.correction - self._session.start
            moved = (self._started + self._scaled(offset)) // 1000
            shift_times(document, moved - event_time)
        return recorded, document

    def _scaled(self, offset: int) -> int:
        return int(offset / self._speed) if self._speed else 0


class Replay:
    """A recorded session in the place of a market."""

    def __init__(self, session: RecordedSession, speed: float) -> None:
        self.symbols = session.symbols
        self._batch = sys.maxsize if speed else _BATCH
        self._watched: dict[str, Watched] = {}
        self._changes: dict[str, Watched] = {}
        self._aggregates: dict[str, list[Document]] = {symbol: [] for symbol in session.symbols}
        by_stream: dict[tuple[str, str], list[RecordedMessage]] = {}
        for message in session.messages:
            by_stream.setdefault((message.symbol, message.kind), []).append(message)
        self._playbacks = {
            stream: Playback(messages, session, speed) for stream, messages in by_stream.items()
        }

    def watch(self, symbol: str, watched: Watched) -> None:
        """Set the streams of a symbol that have subscribers, from the next `advance` on."""
        self._changes[symbol] = watched

    def advance(self, now: int) -> list[MarketMessage]:
        """Return the messages that are due by `now`, in the recorded order."""
        messages = [self._render(*playback.pop_next()) for playback in self._due(now)]
        for symbol, watched in self._changes.items():
            self._watched[symbol] = watched
            self._start_and_pause(symbol, watched, now)
        self._changes.clear()
        return messages

    def next_due(self, now: int) -> int | None:
        """Return when the next message is due; None if no watched stream has any left."""
        if self._changes:
            return now
        dues = (playback.next_due for playback in self._playbacks.values())
        return min((due for due in dues if due is not None), default=None)

    def trades(self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int) -> list[Document]:
        """List none: no recorded session with single trades is known."""
        return []

    def aggregates(
        self, symbol: str, now: int, unit: TimeUnit, first: int | None, limit: int
    ) -> list[Document]:
        """List the aggregate trades that were played so far, as REST does."""
        played = self._aggregates[symbol]
        if first is not None:
            played = [aggregate for aggregate in played if aggregate["a"] >= first][:limit]
        return [_in_unit({field: each[field] for field in "apqflTmM"}, unit) for each in played[-limit:]]

    def _due(self, now: int) -> Iterator[Playback]:
        # Each playback is yielded once for every message that is due.
        waiting = [
            (due, playback.next_index, playback)
            for playback in self._playbacks.values()
            if (due := playback.next_due) is not None
        ]
        heapq.heapify(waiting)
        count = 0
        while waiting and waiting[0][0] <= now and count < self._batch:
            _, _, playback = heapq.heappop(waiting)
            yield playback
            count += 1
            if (due := playback.next_due) is not None:
                heapq.heappush(waiting, (due, playback.next_index, playback))

    def _start_and_pause(self, symbol: str, watched: Watched, now: int) -> None:
        for (of_symbol, kind), playback in self._playbacks.items():
            if of_symbol == symbol and kind in watched:
                playback.start(now)
            elif of_symbol == symbol:
                playback.pause(now)

    def _render(self, recorded: RecordedMessage, document: Document) -> MarketMessage:
        if document.get("e") == "aggTrade":
            self._aggregates[recorded.symbol].append(document)
        units = self._watched[recorded.symbol][recorded.kind]
        rendered = {unit: orjson.dumps(_in_unit(document, unit)) for unit in units}
        return MarketMessage(recorded.symbol, recorded.kind, rendered)


def read_session(path: Path) -> RecordedSession:
    """Read a session as the cryptofeed project records it: one connect, reply, request or message a line.

    Raises:
        SettingsError: the file can't be read, or a line isn't what a recorder writes.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(str(path), str(error), "a recorded session that can be read") from error
    start: int | None = None
    symbols: dict[str, None] = {}
    messages: list[RecordedMessage] = []
    for number, line in enumerate(lines, 1):
        if connect := _CONNECT.fullmatch(line):
            start = _microseconds(connect["time"]) if start is None else start
            symbols.update(dict.fromkeys(_symbols_of(connect["url"])))
        elif (message := _MESSAGE.fullmatch(line)) and start is not None:
            offset = _microseconds(message["time"]) - start
            messages.append(_recorded(f"{path}:{number}", len(messages), offset, message["text"]))
        elif line and not _OTHER.fullmatch(line):
            raise _wrong(f"{path}:{number}", line[:80], "'<url> <-> <time>', then '<time>: {message}'")
    if start is None or not messages:
        raise _wrong(str(path), "no message", "a connect and at least one message of a combined stream")
    symbols.update(dict.fromkeys(message.symbol for message in messages))
    return RecordedSession(tuple(symbols), tuple(messages), start, _correction(start, messages))


def _recorded(place: str, index: int, offset: int, text: str) -> RecordedMessage:
    try:
        document = orjson.loads(text)
        symbol, _, kind = document["stream"].partition("@")
        # The payload's bytes are what orjson prints: the exchange, too, writes no spaces.
        return RecordedMessage(index, symbol.upper(), kind, offset, orjson.dumps(document["data"]))
    except (orjson.JSONDecodeError, KeyError, AttributeError) as error:
        raise _wrong(place, text[:80], 'a message of the shape {"stream":…,"data":…}') from error


def _correction(start: int, messages: list[RecordedMessage]) -> int:
    leads = []
    for message in messages:
        event_time = orjson.loads(message.payload).get("E")
        if isinstance(event_time, int):
            leads.append(event_time * 1000 - (start + message.offset))
    return max(leads, default=0)


def _symbols_of(url: str) -> list[str]:
    parts = urlsplit(url)
    names = "/".join(parse_qs(parts.query).get("streams", [parts.path.removeprefix("/ws/")]))
    return [name.partition("@")[0].upper() for name in names.split("/") if "@" in name]


def _in_unit(document: Document, unit: TimeUnit) -> Document:
    if unit is TimeUnit.MICROSECOND:
        document = deepcopy(document)
        scale_times(document, 1000)
    return document


def _microseconds(seconds: str) -> int:
    return round(float(seconds) * 1_000_000)


def _wrong(place: str, found: str, expected: str) -> SettingsError:
    return SettingsError((Problem(place=place, key="replay", found=found, expected=expected),))
