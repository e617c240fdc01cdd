"""Turns an env-file, the process environment and the command line into checked `Settings`.

It decides which source wins and what is wrong only in combination; `keys` knows what each text means. It
knows nothing of the running daemon, and only `read_env_file` touches the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, auto
from pathlib import Path
from types import MappingProxyType
from typing import Any

from feedd.config.env_file import CLEAR_NO, CLEAR_YES, KILL_SWITCH_KEY, EnvFile, parse_env_file
from feedd.config.keys import KEYS, KEYS_BY_NAME, PER_SYMBOL_KEY, PER_SYMBOL_PREFIX, Unexpected, key_named
from feedd.config.settings import Settings
from feedd.errors import Problem, SettingsError
from feedd.model import VenueName
from feedd.venues.catalogue import VENUES
from feedd.venues.venue import Venue


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


class _Origin(Enum):
    COMMAND_LINE = auto()
    FILE = auto()
    ENVIRONMENT = auto()


@dataclass(frozen=True, slots=True)
class _Given:
    """A key and its text, as one source has it."""

    source: _Origin
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
    values, mistakes = _parsed(given, _venue_in(given))
    winners = _strongest(values)
    settings = _settings_from(winners, VENUES[_venue_in(given)])
    contradictions = _contradictions(settings, values, winners, {mistake.key for mistake in mistakes})
    problems = (*file.problems, *_duplicates(given), *mistakes, *contradictions)
    if problems:
        raise SettingsError(problems)
    origins = {name: item.given.place for name, item in winners.items()}
    return Resolved(
        settings,
        MappingProxyType({name: origins.get(name, "default") for name in _names(settings)}),
        tuple(_conflicts(values)),
        (*_warnings(settings, values), *_ignored(file)),
    )


def _from_arguments(arguments: Mapping[str, str]) -> Iterator[_Given]:
    for name, text in arguments.items():
        yield _Given(_Origin.COMMAND_LINE, "command line", _canonical(name), text.strip())


def _from_file(file: EnvFile) -> Iterator[_Given]:
    legible = (entry for entry in file.entries if entry not in file.kill_switches)
    for entry in sorted((*legible, *file.kill_switches), key=lambda entry: entry.line):
        if entry.key.upper().startswith(("FEEDD_", "FLAG_")):
            place = f"{file.name}:{entry.line}"
            yield _Given(_Origin.FILE, place, _canonical(entry.key), entry.value.strip())


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    for name, text in environ.items():
        # Other programs have flags too: only the file is all feedd's own.
        if (name.startswith("FEEDD_") and name != TESTS_KEY) or name in KEYS_BY_NAME:
            yield _Given(_Origin.ENVIRONMENT, "environment", _canonical(name), text.strip())


def _canonical(name: str) -> str:
    return name.upper() if name.startswith(PER_SYMBOL_PREFIX) else name


def _venue_in(given: Iterable[_Given]) -> VenueName:
    """Return the venue that counts, before anything else is known: it decides what other texts mean."""
    texts = [item.text.lower() for item in given if item.name == "FEEDD_VENUE"]
    return next((VenueName(text) for text in texts if text in set(VenueName)), Settings().venue)


def _parsed(given: Iterable[_Given], venue: VenueName) -> tuple[list[_Value], list[Problem]]:
    values, problems = [], []
    for item in given:
        try:
            values.append(_Value(item, _value_of(item, venue)))
        except Unexpected as error:
            found = error.found or repr(item.text)
            problems.append(Problem(item.place, item.name, found, error.expected))
    return values, problems


def _value_of(item: _Given, venue: VenueName) -> object:
    key = key_named(item.name)
    if key is None:
        raise Unexpected(f"a key that feedd knows{_did_you_mean(item.name, cutoff=0.6)}", "an unknown one")
    if "${" in item.text and item.name != KILL_SWITCH_KEY:
        raise Unexpected("a value as it is (feedd does not expand variables)")
    value: Any = key.parse(item.text)
    if key.field == "streams":
        _check_streams(venue, value)
    return value


def _check_streams(venue: VenueName, names: Iterable[str]) -> None:
    """Raise Unexpected at the first name that is no stream of that venue."""
    table = VENUES[venue]
    for name in names:
        if name not in table.streams:
            nearest = table.nearest_stream(name)
            hint = f" (did you mean {nearest}?)" if nearest else ""
            raise Unexpected("streams such as trade, bookTicker or kline_1s", f"{name!r}{hint}")


def _did_you_mean(name: str, cutoff: float) -> str:
    matches = get_close_matches(name.upper(), KEYS_BY_NAME, n=1, cutoff=cutoff)
    return f" (did you mean {matches[0]}?)" if matches else ""


def _duplicates(given: Iterable[_Given]) -> Iterator[Problem]:
    first: dict[str, _Given] = {}
    for item in given:
        if item.source is not _Origin.FILE or item.name == KILL_SWITCH_KEY:
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


def _settings_from(winners: Mapping[str, _Value], venue: Venue) -> Settings:
    fields: dict[str, Any] = {"streams": venue.default_streams} | {
        key.field: winners[name].value for name, key in KEYS_BY_NAME.items() if name in winners
    }
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
    limit = VENUES[settings.venue].rules.streams_per_connection
    most = limit // streams
    if "FEEDD_STREAMS" not in wrong and settings.symbols_per_connection > most:
        found = repr(str(settings.symbols_per_connection))
        expected = f"{most} at most with {streams} streams each (a connection takes {limit})"
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
    in_file = _strongest(item for item in values if item.given.source is _Origin.FILE)
    in_environment = _strongest(item for item in values if item.given.source is _Origin.ENVIRONMENT)
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


def _names(settings: Settings) -> Iterator[str]:
    """Yield every key's name, and those of the symbols that have one of their own."""
    for key in KEYS:
        if key is PER_SYMBOL_KEY:
            yield from (f"{PER_SYMBOL_PREFIX}{symbol}" for symbol in settings.stale_after_by_symbol)
        else:
            yield key.name
