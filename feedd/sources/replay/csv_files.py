"""A symbol's CSV file → its messages, one by one, as Binance would have sent them.

It finds the file, opens it (plain, .gz or .zip), learns its format from its first rows and reads on in
constant memory. Every row ends up as a Row or, if it can't be trusted, as a BadRow that says why; only a file
that can't be used at all is an error. It keeps no clock: when a row is due is the player's business.

    FeeddError
    └── UnusableFile    no file, more than one candidate, an unknown format, damaged or without a good row
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Final, cast
from zipfile import BadZipFile, ZipExtFile, ZipFile

import msgspec

from feedd.errors import FeeddError
from feedd.model import InvalidReason, Source, Subscription
from feedd.sources.replay.csv_rows import (
    EXPECTED,
    LONE_BAR_INTERVAL,
    CsvTable,
    Read,
    RecordedPayload,
    Unfit,
    interval_of,
    shown,
    split,
    table_of,
)
from feedd.venues.binance.common.frame import Frame
from feedd.venues.binance.spot.payloads import Kline, Payload
from feedd.venues.binance.spot.tables import SPOT

SUFFIXES: Final = (".csv", ".csv.gz", ".zip")
"""What a symbol's file may end in; where there are several, the first of these is taken."""
MAX_LINE_BYTES: Final = 16_384
"""A row has some 150 bytes. Without a bound, a file without line ends would be read into memory whole."""
HEAD_LINES: Final = 200
"""How far into a file its format must have shown itself."""
_BUFFER_BYTES: Final = 65_536
_SOURCE: Final = str(Source.STATIC)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_DAMAGED: Final = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, BadZipFile, struct.error),
    # zipfile: a compression it doesn't know; a password; offsets and names that make no sense.
    *(NotImplementedError, RuntimeError, ValueError, OverflowError),
)
"""What reading an archive raises that is damaged, or no archive at all."""


class UnusableFile(FeeddError):
    """There is no data for a symbol. The text names the path that was looked for, or where it is wrong."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A message of a recording."""

    time: int
    """When it was sent, in ms since 1970."""
    frame: Frame[Payload]
    raw: bytes
    """The frame as it goes over the wire."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be trusted."""

    place: str
    """File and line."""
    expected: str
    found: str
    reason: InvalidReason
    line: bytes

    def __str__(self) -> str:
        return f"{self.place}: expected {self.expected}, found {self.found}"


class _StaticFrame(msgspec.Struct, frozen=True, gc=False):
    """A combined stream's frame that can't pass for live."""

    stream: str
    source: str
    data: Payload


class _Line(msgspec.Struct, frozen=True, gc=False):
    number: int
    content: bytes


class _Parsed(msgspec.Struct, frozen=True, gc=False):
    line: _Line
    payload: RecordedPayload


def find_file(csv_path: Path | None, symbol: str, is_only_symbol: bool) -> Path:
    """Return the file that holds a symbol's data. Raises UnusableFile.

    Args:
        csv_path: a folder with a file per symbol, or one file.
        is_only_symbol: one file is then the symbol's, whatever its name.
    """
    candidates = [f"{symbol}{suffix}" for suffix in SUFFIXES]
    names = f"{', '.join(candidates[:-1])} or {candidates[-1]}"
    if csv_path is None:
        raise UnusableFile(f"FEEDD_CSV_PATH is not set: expected a file or a folder with {names}")
    try:
        if csv_path.is_dir():
            return _find_in_folder(csv_path, candidates, names)
        if not csv_path.is_file():
            raise UnusableFile(f"{csv_path}: expected a file or a folder with {names}, found none")
    except OSError as error:
        raise UnusableFile(f"{csv_path}: {error.strerror}") from None
    if is_only_symbol or csv_path.name.lower() in map(str.lower, candidates):
        return csv_path
    raise UnusableFile(f"{csv_path}: expected {names}, as this is one file for several symbols")


def _find_in_folder(folder: Path, candidates: list[str], names: str) -> Path:
    present = sorted(entry.name for entry in folder.iterdir())
    for candidate in candidates:
        same = [name for name in present if name.lower() == candidate.lower()]
        for name in sorted(same, key=lambda name: name != candidate):
            if (folder / name).is_file():
                return folder / name
    raise UnusableFile(f"{folder}: expected {names} in this folder, found none")


class CsvRecording:
    """One symbol's file, opened. Its rows can be read once, from one thread at a time."""

    def __init__(self, path: Path, symbol: str) -> None:
        """Open the file and learn its format. Raises UnusableFile."""
        self.path = path
        self.damage: str | None = None
        """What kept the file from being read to its end."""
        self._symbol = symbol
        try:
            self._file = _open(path)
        except _DAMAGED as error:
            raise UnusableFile(f"{path}: {_text_of(error)}") from None
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def read(self, count: int) -> list[Row | BadRow]:
        """Return the next rows, at most so many; none at the end.

        They stand in the file's order, but for bad rows that come up to two places early.
        """
        return list(islice(self._rows, count))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _begin(self) -> None:
        lines = self._lines()
        head = list(islice(lines, HEAD_LINES))
        table = self._table_of(head)
        name = self._stream_name(table, head)
        self.subscription = Subscription(self._symbol, SPOT.parse_stream(name))
        # Candles of one interval never open twice at one time; trades may well share one.
        self._least_step = 1 if table.is_of_candles else 0
        self._earliest = 0
        read = table.reader(self._symbol, self.subscription.stream.interval or "")
        self._wire_name = self.subscription.wire_name
        self._rows = self._in_order(self._parsed(chain(head, lines), read))

    def _lines(self) -> Iterator[_Line]:
        """Read line by line; blank ones are none."""
        for number, content in enumerate(iter(self._read_line, b""), 1):
            line = content.removeprefix(_BYTE_ORDER_MARK) if number == 1 else content
            if line and not line.isspace():
                yield _Line(number, line)

    def _read_line(self) -> bytes:
        try:
            line = part = self._file.readline(MAX_LINE_BYTES + 1)
            while len(part) > MAX_LINE_BYTES and not part.endswith(b"\n"):
                part = self._file.readline(MAX_LINE_BYTES + 1)
        except _DAMAGED as error:
            self.damage = _text_of(error)
            return b""
        return line

    def _table_of(self, head: list[_Line]) -> CsvTable:
        """Find the first line that tells the format; a header is taken out of `head`."""
        for index, line in enumerate(head):
            try:
                table = table_of(_split(line), self._symbol)
            except Unfit:
                continue
            if table is not None:
                if table.has_header:
                    del head[index]
                return table
        if self.damage is not None:
            raise UnusableFile(f"{self.path}: {self.damage}")
        found = shown(head[0].content.decode("utf-8", "backslashreplace").strip()) if head else "nothing"
        raise UnusableFile(f"{self.path}: expected {EXPECTED}, found {found}")

    def _stream_name(self, table: CsvTable, head: list[_Line]) -> str:
        rows = list(self._parsed(head, table.reader(self._symbol, LONE_BAR_INTERVAL)))
        payloads = [row.payload for row in rows if isinstance(row, _Parsed)]
        if not payloads:
            problem = next((str(row) for row in rows if isinstance(row, BadRow)), "no rows after its header")
            raise UnusableFile(f"{self.path}: no good row at its beginning: {problem}")
        candles = [payload.candle for payload in payloads if isinstance(payload, Kline)]
        if not candles:
            return table.stream_name
        try:
            interval = interval_of(candles, table.tells_close_time)
        except Unfit as unfit:
            raise UnusableFile(f"{self.path}: {unfit}") from None
        return f"kline_{interval}"

    def _parsed(self, lines: Iterable[_Line], read: Read) -> Iterator[_Parsed | BadRow]:
        for line in lines:
            try:
                payload = read(_split(line))
            except Unfit as unfit:
                yield self._bad(line, unfit)
            else:
                yield _Parsed(line, payload)

    def _in_order(self, rows: Iterator[_Parsed | BadRow]) -> Iterator[Row | BadRow]:
        """Tell which rows are out of order.

        A row is judged when the next two are known: if it lies beyond both, it is the one that is wrong (a
        year mistyped, say), and they need not be refused for running backwards.
        """
        waiting: deque[_Parsed] = deque()
        for row in rows:
            if isinstance(row, BadRow):
                yield row
            else:
                waiting.append(row)
                if len(waiting) > 2:
                    yield self._judge(waiting)
        while waiting:
            yield self._judge(waiting)

    def _judge(self, waiting: deque[_Parsed]) -> Row | BadRow:
        row = waiting.popleft()
        time = row.payload.event_time
        if time < self._earliest:
            return self._bad(row.line, Unfit("a time after that of the row before", "an earlier one"))
        if len(waiting) == 2 and self._is_beyond_both(time, *waiting):
            return self._bad(row.line, Unfit("a time before those of the next rows", "a later one"))
        self._earliest = time + self._least_step
        raw = _encode(_StaticFrame(self._wire_name, _SOURCE, row.payload))
        return Row(time, Frame(self._wire_name, row.payload), raw)

    def _is_beyond_both(self, time: int, one: _Parsed, other: _Parsed) -> bool:
        return (
            self._earliest <= one.payload.event_time < time
            and self._earliest <= other.payload.event_time < time
        )

    def _bad(self, line: _Line, unfit: Unfit) -> BadRow:
        place = f"{self.path}:{line.number}"
        return BadRow(place, unfit.expected, unfit.found, unfit.reason, line.content)


_encode: Final[Callable[[object], bytes]] = msgspec.json.Encoder().encode


def _open(path: Path) -> IO[bytes]:
    """Open the data in a file, which may be packed."""
    name = path.name.lower()
    if name.endswith(".gz"):
        return io.BufferedReader(gzip.open(path), _BUFFER_BYTES)
    if name.endswith(".zip"):
        with ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise BadZipFile(f"expected one file in it, found {len(members)}")
            member = cast("ZipExtFile", archive.open(members[0]))
            return io.BufferedReader(member, _BUFFER_BYTES)
    return path.open("rb", _BUFFER_BYTES)


def _split(line: _Line) -> list[str]:
    if len(line.content) > MAX_LINE_BYTES:
        raise Unfit(f"a line of at most {MAX_LINE_BYTES} bytes", "a longer one")
    return split(line.content)


def _text_of(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
