"""Turns an env-file, the process environment and the command line into frozen, checked `Settings`.

It decides which source wins and what is wrong only in combination; `keys` knows what each text means. It
knows nothing of the running daemon, and only `load` touches the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Any

from feedd.config.env_file import CLEAR_NO, CLEAR_YES, KILL_SWITCH_KEY, EnvFile, parse_env_file, quoted
from feedd.config.keys import (
    KEYS,
    PER_SYMBOL_PREFIX,
    STREAMS_PER_CONNECTION,
    Key,
    Unexpected,
)
from feedd.errors import Problem, SettingsError
from feedd.model import Listen, LogFormat, LogLevel, ResumePolicy, RotateWindow, VenueName

__all__ = [
    "Conflict",
    "Resolved",
    "SettingChange",
    "Settings",
    "describe",
    "differences",
    "load",
    "resolve",
    "sample",
]


_LOOPBACK = Listen("127.0.0.1", 9745)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can decide, checked. The defaults are the documented ones."""

    realtime: bool = False
    """True: live Binance feed. False: static CSV data, which never passes for live."""
    trading_halted: bool = False
    """The kill switch."""
    symbols: tuple[str, ...] = ("BTCUSDT",)
    """Upper case, at least one, no duplicates."""
    venue: VenueName = VenueName.BINANCE_SPOT
    ws_urls: tuple[str, ...] = ()
    """`ws(s)://host[:port]`, several for the same streams, or none for the venue's own."""
    rest_url: str | None = None
    """`http(s)://host[:port]`, or None for the venue's own."""
    streams: tuple[str, ...] = ("trade", "bookTicker", "kline_1s")
    """Names without the symbol, at least one, no duplicates."""
    listen: Listen = _LOOPBACK
    stale_after_seconds: float = 10.0
    stale_after_by_symbol: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Only the symbols that differ from `stale_after_seconds`; read it through `stale_after`."""
    latency_limit_seconds: float = 1.0
    resume_after_seconds: float = 5.0
    resume: ResumePolicy = ResumePolicy.AUTO
    csv_path: Path | None = None
    csv_minutes: float = 15.0
    csv_speed: float = 1.0
    """How many times faster than recorded; 0 means as fast as it reads."""
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.TEXT
    connect_budget: int = 240
    """Connection attempts per 5 minutes for the whole process, at most 300."""
    rotate_after_hours: float = 23.0
    rotate_window: RotateWindow | None = None
    """None: planned renewals may happen at any time of day."""
    redundancy: int = 1
    """Connections per symbol, 1 or 2."""
    symbols_per_connection: int = 1
    exchange_status_seconds: float = 30.0
    backfill: bool = False
    alertmanager_url: str | None = None
    """`http(s)://host[:port][/prefix]` without a slash at the end, or None."""
    runbook_url: str = "https://feedd.example/runbook.md"
    """As in alerts/feedd.rules.yaml, and nobody's."""
    web_config: Path | None = None
    consumers_max: int = 1000
    consumer_queue_bytes: int = 1_048_576
    consumer_queue_messages: int = 10_000

    def stale_after(self, symbol: str) -> float:
        """Return after how many seconds without market data `symbol` counts as stale."""
        return self.stale_after_by_symbol.get(symbol, self.stale_after_seconds)


# The key per symbol has as many names as there are symbols.
_KEYS_BY_NAME = {key.name: key for key in KEYS}
_PER_SYMBOL_KEY = _KEYS_BY_NAME.pop(f"{PER_SYMBOL_PREFIX}<SYMBOL>")


@dataclass(frozen=True, slots=True)
class Conflict:
    """A key that the env-file and the environment disagree on."""

    key: str
    in_file: str
    place: str
    """The file and line."""
    in_environment: str

    def __str__(self) -> str:
        rule = "a halt in either counts" if self.key == KILL_SWITCH_KEY else "the file wins"
        return (
            f"{self.key}: {self.place} says {self.in_file!r}, "
            f"the environment says {self.in_environment!r}: {rule}"
        )


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings, and how they came about."""

    settings: Settings
    origins: Mapping[str, str]
    """Per key `command line`, `<file>:<line>`, `environment` or `default`."""
    conflicts: tuple[Conflict, ...]
    warnings: tuple[str, ...]
    """Sentences that an operator must see at start and after a reload."""


TESTS_KEY = "FEEDD_REQUIRE_SYSTEM"
"""Set where tests run, and so in the environment of every feedd that they start: no mistake."""


class _Source(Enum):
    COMMAND_LINE = auto()
    FILE = auto()
    ENVIRONMENT = auto()


@dataclass(frozen=True, slots=True)
class _Given:
    """A key and its text, as one source has it."""

    source: _Source
    place: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Value:
    """What a given text means."""

    given: _Given
    value: Any


def load(path: Path | None, environ: Mapping[str, str], arguments: Mapping[str, str]) -> Resolved:
    """Read the env-file, if there is one, and resolve. Raises SettingsError, also for an unreadable file."""
    if path is None:
        return resolve(None, environ, arguments)
    return resolve(parse_env_file(read_env_file(path), str(path)), environ, arguments)


def read_env_file(path: Path) -> bytes:
    """Return the file's content. Raises SettingsError where it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        found = f"that it cannot be read: {error.strerror}"
        raise SettingsError((Problem(str(path), "env-file", found, "a readable file"),)) from error


def resolve(file: EnvFile | None, environ: Mapping[str, str], arguments: Mapping[str, str]) -> Resolved:
    """Merge the sources, the strongest first: command line, env-file, environment, default.

    `arguments` holds what the command line gave, under the keys' names. Every value is checked, also one
    that a stronger source overrides. The kill switch halts wherever it is set. Raises SettingsError with all
    that is wrong.
    """
    file = file or EnvFile("", ())
    given = [*_from_arguments(arguments), *_from_file(file), *_from_environment(environ)]
    values, mistakes = _parsed(given)
    winners = _strongest(values)
    settings = _settings_from(winners)
    contradictions = _contradictions(settings, values, winners, {mistake.key for mistake in mistakes})
    problems = (*file.problems, *_duplicates(given), *mistakes, *contradictions)
    if problems:
        raise SettingsError(problems)
    origins = {name: item.given.place for name, item in winners.items()}
    return Resolved(
        settings,
        MappingProxyType({name: origins.get(name, "default") for name in _texts(settings)}),
        tuple(_conflicts(values)),
        (*_warnings(settings, values), *_ignored(file)),
    )


def _from_arguments(arguments: Mapping[str, str]) -> Iterator[_Given]:
    for name, text in arguments.items():
        yield _Given(_Source.COMMAND_LINE, "command line", _canonical(name), text.strip())


def _from_file(file: EnvFile) -> Iterator[_Given]:
    legible = (entry for entry in file.entries if entry not in file.kill_switches)
    for entry in sorted((*legible, *file.kill_switches), key=lambda entry: entry.line):
        if entry.key.upper().startswith(("FEEDD_", "FLAG_")):
            place = f"{file.name}:{entry.line}"
            yield _Given(_Source.FILE, place, _canonical(entry.key), entry.value.strip())


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name, text in environ.items():
        # Other programs have flags too: only the file is all feedd's own.
        if (name.startswith("FEEDD_") and name != TESTS_KEY) or name in _KEYS_BY_NAME:
            yield _Given(_Source.ENVIRONMENT, "environment", _canonical(name), text.strip())


def _canonical(name: str) -> str:
    return name.upper() if name.startswith(PER_SYMBOL_PREFIX) else name


def _key_named(name: str) -> Key | None:
    if name.startswith(PER_SYMBOL_PREFIX) and name != PER_SYMBOL_PREFIX:
        return _PER_SYMBOL_KEY
    return _KEYS_BY_NAME.get(name)


def _parsed(given: Iterable[_Given]) -> tuple[list[_Value], list[Problem]]:
    values, problems = [], []
    for item in given:
        try:
            values.append(_Value(item, _value_of(item)))
        except Unexpected as error:
            found = error.found or repr(item.text)
            problems.append(Problem(item.place, item.name, found, error.expected))
    return values, problems


def _value_of(item: _Given) -> object:
    key = _key_named(item.name)
    if key is None:
        raise Unexpected(f"a key that feedd knows{_did_you_mean(item.name, cutoff=0.6)}", "an unknown one")
    if "${" in item.text and item.name != KILL_SWITCH_KEY:
        raise Unexpected("a value as it is (feedd does not expand variables)")
    return key.parse(item.text)


def _did_you_mean(name: str, cutoff: float) -> str:
    matches = get_close_matches(name.upper(), _KEYS_BY_NAME, n=1, cutoff=cutoff)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _duplicates(given: Iterable[_Given]) -> Iterator[Problem]:
    first: dict[str, _Given] = {}
    for item in given:
        if item.source is not _Source.FILE or item.name == KILL_SWITCH_KEY:
            continue
        if item.name in first:
            yield Problem(item.place, item.name, f"it at {first[item.name].place} too", "the key once")
        first.setdefault(item.name, item)


def _strongest(values: Iterable[_Value]) -> dict[str, _Value]:
    """Return the value that counts for each name: the first, but for the kill switch one that halts."""
    winners: dict[str, _Value] = {}
    for item in sorted(values, key=lambda item: not _is_halt(item)):
        winners.setdefault(item.given.name, item)
    return winners


def _is_halt(item: _Value) -> bool:
    return item.given.name == KILL_SWITCH_KEY and item.value is True


def _settings_from(winners: Mapping[str, _Value]) -> Settings:
    fields = {key.field: winners[name].value for name, key in _KEYS_BY_NAME.items() if name in winners}
    symbols = fields.get("symbols", Settings().symbols)
    names = {symbol: f"{PER_SYMBOL_PREFIX}{symbol}" for symbol in symbols}
    overrides = {symbol: winners[name].value for symbol, name in names.items() if name in winners}
    return Settings(**fields, stale_after_by_symbol=MappingProxyType(overrides))


def _contradictions(
    settings: Settings, values: list[_Value], winners: Mapping[str, _Value], wrong: set[str]
) -> Iterator[Problem]:
    """Yield what is wrong only in combination, leaving out what the keys in `wrong` may have caused."""

    def problem(name: str, found: str, expected: str) -> Problem:
        return Problem(winners[name].given.place, name, found, expected)

    if not wrong & {"FEEDD_LISTEN", "FEEDD_WEB_CONFIG"} and not _is_guarded(settings):
        expected = "a loopback address, or FEEDD_WEB_CONFIG for TLS and auth"
        yield problem("FEEDD_LISTEN", repr(str(settings.listen)), expected)
    streams = len(settings.streams)
    most = STREAMS_PER_CONNECTION // streams
    if "FEEDD_STREAMS" not in wrong and settings.symbols_per_connection > most:
        found = repr(str(settings.symbols_per_connection))
        expected = f"{most} at most with {streams} streams each (a connection takes {STREAMS_PER_CONNECTION})"
        yield problem("FEEDD_SYMBOLS_PER_CONNECTION", found, expected)
    if "FEEDD_SYMBOLS" not in wrong:
        yield from _strangers(settings, values)


def _is_guarded(settings: Settings) -> bool:
    return settings.listen.is_loopback or settings.web_config is not None


def _strangers(settings: Settings, values: list[_Value]) -> Iterator[Problem]:
    """Yield the overrides of symbols that nobody configured."""
    # A command line may narrow the file's symbols for one run without making the file's overrides wrong.
    configured = {symbol for item in values if item.given.name == "FEEDD_SYMBOLS" for symbol in item.value}
    for item in values:
        symbol = item.given.name.removeprefix(PER_SYMBOL_PREFIX)
        if symbol != item.given.name and symbol not in configured.union(settings.symbols):
            found = f"{symbol!r}, which is not among them"
            yield Problem(item.given.place, item.given.name, found, "a symbol of FEEDD_SYMBOLS")


def _conflicts(values: list[_Value]) -> Iterator[Conflict]:
    in_file = _strongest(item for item in values if item.given.source is _Source.FILE)
    in_environment = _strongest(item for item in values if item.given.source is _Source.ENVIRONMENT)
    for name, item in in_file.items():
        other = in_environment.get(name)
        if other is not None and item.value != other.value:
            yield Conflict(name, item.given.text, item.given.place, other.given.text)


def _warnings(settings: Settings, values: Iterable[_Value]) -> Iterator[str]:
    if not settings.realtime:
        yield "FLAG_REALTIME is off: static CSV data, not production; no price here is the market's"
        if settings.csv_path is None:
            yield "FEEDD_CSV_PATH is not set: only the sample that feedd ships (SPY, QQQ) can be played"
    data_host = settings.venue is VenueName.BINANCE_SPOT_DATA and settings.rest_url is None
    if settings.backfill and data_host and "trade" in settings.streams:
        yield "FEEDD_BACKFILL: the public data host has no single trades of the past: missed ones stay lost"
    for item in filter(_is_halt, values):
        given = item.given
        clear = given.text.lower() in CLEAR_YES
        why = "" if clear else f", which is not a clear no ({' '.join(CLEAR_NO)})"
        yield f"{given.place}: {given.name} is {given.text!r}{why}: trading is halted in every symbol"


def _ignored(file: EnvFile) -> Iterator[str]:
    """Warn of keys that look like feedd's with the beginning mistyped; any other may be another program's."""
    for entry in file.entries:
        hint = _did_you_mean(entry.key, cutoff=0.8)
        if hint and not entry.key.upper().startswith(("FEEDD_", "FLAG_")):
            yield f"{file.name}:{entry.line}: {entry.key} is not feedd's and is ignored{hint}"


def _texts(settings: Settings) -> dict[str, str]:
    """Return each key's value as it would stand in an env-file."""
    texts = {}
    for key in KEYS:
        if key is _PER_SYMBOL_KEY:
            for symbol, seconds in settings.stale_after_by_symbol.items():
                texts[f"{PER_SYMBOL_PREFIX}{symbol}"] = _text_of(seconds)
        else:
            texts[key.name] = _text_of(getattr(settings, key.field))
    return texts


def _text_of(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


def describe(resolved: Resolved) -> list[str]:
    """Return the effective settings, a line each: `KEY=value  # origin`. The lines are a valid env-file."""
    return [
        f"{name}={quoted(text)}  # {resolved.origins[name]}"
        for name, text in _texts(resolved.settings).items()
    ]


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A key whose value is not what it was. An unset value is empty."""

    key: str
    old: str
    new: str
    is_live: bool
    """False: the change takes a restart."""

    def __str__(self) -> str:
        return f"{self.key}: {self.old!r} -> {self.new!r}"


def differences(old: Settings, new: Settings) -> tuple[SettingChange, ...]:
    """Return what changes from `old` to `new`, key by key."""
    before, after = _texts(old), _texts(new)
    names = (*after, *(name for name in before if name not in after))
    return tuple(
        SettingChange(name, before.get(name, ""), after.get(name, ""), _is_live(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _is_live(name: str) -> bool:
    key = _key_named(name)
    return key is not None and key.is_live


def sample() -> str:
    """Return an env-file for a person to start from: every key with its default, meaning and use."""
    return "\n".join([_SAMPLE_HEAD, *map(_sample_of, KEYS)])


_SAMPLE_HEAD = """\
# feedd's configuration, in UTF-8. A line is KEY=value; variables are not expanded.
# A saved change acts by itself; `systemctl reload feedd` forces a re-read. `feedd check` validates it.
"""


def _sample_of(key: Key) -> str:
    about = f"# {key.meaning}\n# Change it when {key.change_when}\n"
    if key is _PER_SYMBOL_KEY:
        return f"{about}#{PER_SYMBOL_PREFIX}BTCUSDT={_text_of(Settings().stale_after_seconds)}\n"
    # The flags are there to be flipped; any other default may improve with a new release.
    mark = "" if key.name.startswith("FLAG_") else "#"
    return f"{about}{mark}{key.name}={_text_of(getattr(Settings(), key.field))}\n"
