"""The env-file's syntax: python-dotenv's, with line numbers and without expansion of variables.

It decides what a file says and how one value in it is changed, on text alone; it knows no key but the kill
switch, which must be found even in a file that is broken everywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO

from dotenv.parser import Binding
from dotenv.parser import parse_stream as parse_bindings

from feedd.errors import Problem, SettingsError

KILL_SWITCH_KEY = "FLAG_TRADING_HALTED"
CLEAR_NO = ("0", "false", "no", "off")
CLEAR_YES = ("1", "true", "yes", "on")

_BOM = "\ufeff"
_NEWLINE = re.compile(r"\r\n|\r|\n")
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One `KEY=value` of a file."""

    key: str
    value: str
    line: int
    """The first line of the file is 1."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """What an env-file says."""

    name: str
    """What messages call it: its path."""
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()
    """The lines that can't be read, in the order of the file."""
    kill_switches: tuple[Entry, ...] = ()
    """The lines that halt trading, also those that the parser can't read."""


def parse_env_file(raw: bytes, name: str) -> EnvFile:
    """Read a file's content. Raises SettingsError only when it isn't UTF-8; bad lines are in `problems`."""
    text = _decoded(raw, name).lstrip(_BOM)
    entries, problems = [], []
    for line, binding in _numbered_bindings(text):
        expected = _what_is_missing(binding)
        if expected is not None:
            problems.append(Problem(f"{name}:{line}", "syntax", _shown(binding.original.string), expected))
        elif binding.key is not None and binding.value is not None:
            entries.append(Entry(binding.key, binding.value, line))
    as_parsed = {entry.line: entry for entry in entries if _is_halt(entry)}
    halting = (as_parsed.get(found.line, found) for found in _kill_switches_in(text))
    return EnvFile(name, tuple(entries), tuple(problems), tuple(halting))


def _is_halt(entry: Entry) -> bool:
    return entry.key == KILL_SWITCH_KEY and entry.value.strip().lower() not in CLEAR_NO


def _decoded(raw: bytes, name: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = 1 + len(_NEWLINE.findall(raw[: error.start].decode()))
        found = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        raise SettingsError((Problem(f"{name}:{line}", "encoding", found, "UTF-8 text"),)) from None


def _numbered_bindings(text: str) -> Iterator[tuple[int, Binding]]:
    # The parser's own line numbers count the blank lines before a binding as part of it, and count a CRLF
    # after a bad line twice.
    line, blanks = 1, ""
    for binding in parse_bindings(StringIO(text)):
        source = binding.original.string
        content = source.lstrip()
        line += len(_NEWLINE.findall(blanks + source[: len(source) - len(content)]))
        yield line, binding
        body = content.rstrip()
        line += len(_NEWLINE.findall(body))
        blanks = content[len(body) :]


def _what_is_missing(binding: Binding) -> str | None:
    if binding.error:
        return "KEY=value, with any quotes closed"
    if binding.key is None:
        return None
    if binding.value is None:
        return "KEY=value"
    return None if _NAME.fullmatch(binding.key) else "a key of letters, digits and _"


def _shown(source: str) -> str:
    """Return the start of a bad line, without the value of a key that isn't feedd's: it may be a secret."""
    first, *_ = _NEWLINE.split(source.strip())
    start, equals, _ = first.partition("=")
    if equals and not start.removeprefix("export ").lstrip().upper().startswith(("FEEDD_", "FLAG_")):
        first = f"{start}=…"
    return repr(first if len(first) <= 60 else f"{first[:60]}…")


def is_legible(raw: bytes) -> bool:
    """Say whether the bytes are a file's text at all: UTF-8, and not merely blanks or NULs.

    A file that was truncated, or zeroed by a crash, isn't.
    """
    try:
        return re.search(rf"[^\s\0{_BOM}]", raw.decode()) is not None
    except UnicodeDecodeError:
        return False


# What may stand before the key without hiding it from a person's eye: blanks, quotes, the invisible
# characters that come with a paste, the mark of bytes that aren't UTF-8, and `export`.
_LINE_START = r"""[\s"'\ufeff\ufffd\u00ad\u200b-\u200f\u2060\x00-\x1f]*(?:export\s+)?["']?"""
_WHOLE_LINE = re.compile(rf"{_LINE_START}{KILL_SWITCH_KEY}(?!\w)(?P<rest>.*)", re.IGNORECASE)
_NO = "|".join(CLEAR_NO)
_YES = "|".join(CLEAR_YES)
# `echo FLAG_TRADING_HALTED=1 >> file`, where the file had no newline at its end; two assignments on one line.
_AFTER_ANOTHER_VALUE = re.compile(
    rf"""\s*[^\#;=\s][^=]*=(?:(?!\s\#).)*?(?<!_){KILL_SWITCH_KEY}(?P<rest>\s*=\s*["']?(?:{_YES})\b.*)""",
    re.IGNORECASE,
)
# Possessive, so that a long run of blanks costs no more than its length.
_IS_NO = re.compile(
    rf"""["']?\s*+[=:]?\s*+(?:(["'])\s*+(?:{_NO})\s*+\1\s*+(?:\#.*)?|(?:{_NO})\s*+(?:(?<=\s)\#.*)?)""",
    re.IGNORECASE,
)
_BEGINNINGS_OF_NO = "|".join(word[:end] for word in CLEAR_NO for end in range(len(word) + 1))
_MAY_BECOME_NO = re.compile(rf"""["']?\s*+=?\s*+["']?\s*+(?:{_BEGINNINGS_OF_NO})""", re.IGNORECASE)


def kill_switch_in(raw: bytes, half_saved: bool = False) -> bool:
    """Say whether a kill switch is legible anywhere in the bytes, however broken the rest of them is.

    Whatever is not a clear no is a yes. With `half_saved` the file may still be being written: then a last
    line without its end, which could yet become a clear no, doesn't count.
    """
    text = raw.decode(errors="replace")
    # Without its NULs, the ASCII part of UTF-16 is legible.
    return any(_halts(candidate, half_saved) for candidate in (text, text.replace("\0", "")))


def _halts(text: str, half_saved: bool) -> bool:
    *_, last = _NEWLINE.split(text)
    if half_saved and (match := _WHOLE_LINE.match(last)) and _MAY_BECOME_NO.fullmatch(match["rest"]):
        text = text.removesuffix(last)
    return next(_kill_switches_in(text), None) is not None


def _kill_switches_in(text: str) -> Iterator[Entry]:
    for number, line in enumerate(_NEWLINE.split(text), start=1):
        match = _WHOLE_LINE.match(line) or _AFTER_ANOTHER_VALUE.match(line)
        if match is not None and not _IS_NO.fullmatch(match["rest"]):
            yield Entry(KILL_SWITCH_KEY, match["rest"].strip().removeprefix("=").strip(), number)


_BARE = re.compile(r"""[^\s"'\\#\0]*""")
_BLANK = r"[^\S\r\n]"
_ASSIGNMENT = re.compile(
    rf"""
    (?P<start> \s* (?:export{_BLANK}+)? (?:'[^']+'|[^=\#\s]+) )
    (?:
        (?P<equals> {_BLANK}*={_BLANK}* )
        (?:
            (?P<quote>["']) (?:\\.|(?!(?P=quote))[^\\])* (?P=quote)
            | (?<={_BLANK}) (?=\#)
            | [^\r\n]*? (?={_BLANK}*(?:[\r\n]|\Z)|{_BLANK}+\#)
        )
    )?
    (?P<rest> .* )
    """,
    re.VERBOSE | re.DOTALL,
)


def quoted(value: str) -> str:
    """Return `value` as it is written in an env-file: bare where that is safe, else in single quotes."""
    if _BARE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def edit_flag(text: str, key: str, value: str) -> str:
    """Return the file's text with `key` set to `value` wherever it stands, or appended where it doesn't.

    Everything else stays as it is, to the byte. Raises ValueError for a value that would need quotes.
    """
    if not _BARE.fullmatch(value):
        raise ValueError(f"expected a value without blanks, quotes, backslashes or #, found {value!r}")
    body = text.lstrip(_BOM)
    mark = text[: len(text) - len(body)]
    bindings = list(parse_bindings(StringIO(body)))
    if not any(binding.key == key for binding in bindings):
        return mark + _appended(body, f"{key}={value}")
    return mark + "".join(
        _with_value(binding.original.string, value) if binding.key == key else binding.original.string
        for binding in bindings
    )


def _with_value(source: str, value: str) -> str:
    match = _ASSIGNMENT.fullmatch(source)
    assert match is not None, "the parser took this for an assignment"
    quote = match["quote"] or ""
    assignment = f"{match['start']}{match['equals'] or '='}{quote}{value}{quote}"
    # Without a blank before it, a comment would become part of the value.
    is_glued = match["rest"].startswith("#") and not quote and not assignment[-1].isspace()
    return f"{assignment}{' ' if is_glued else ''}{match['rest']}"


def _appended(body: str, line: str) -> str:
    newline = next(iter(_NEWLINE.findall(body)), "\n")
    before = newline if body and not body.endswith(("\r", "\n")) else ""
    return f"{body}{before}{line}{newline}"
