"""Each key of the configuration: how its text becomes a value, and what a person is told about it.

It knows nothing of files, of which source wins, or of what is wrong only in combination.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path

from feedd.config.env_file import CLEAR_NO, CLEAR_YES, KILL_SWITCH_KEY
from feedd.model import Listen, LogFormat, LogLevel, ResumePolicy, RotateWindow, VenueName

STREAMS_PER_CONNECTION = 1024
"""The exchange's limit."""


class Unexpected(ValueError):
    """A value that doesn't fit. `found` is for what the value's own text would not make clear."""

    def __init__(self, expected: str, found: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.found = found


Parser = Callable[[str], object]


def _yes_or_no(text: str) -> bool:
    if text.lower() not in (*CLEAR_NO, *CLEAR_YES):
        raise Unexpected("1 or 0 (or true, yes, on, false, no, off)")
    return text.lower() in CLEAR_YES


def _halts(text: str) -> bool:
    return text.lower() not in CLEAR_NO


def _names(text: str, what: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if "" in names:
        raise Unexpected(f"{what} separated by commas, none of them empty")
    return names


def _without_duplicates(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise Unexpected("each name once", f"{name!r} {names.count(name)} times")
    return names


def _symbols(text: str) -> tuple[str, ...]:
    for name in _names(text, "symbols"):
        if ":" in name:
            expected = "symbols such as BTCUSDT, without : (it is reserved; FEEDD_VENUE names the venue)"
            raise Unexpected(expected, repr(name))
    names = _names(text.upper(), "symbols")
    for name in names:
        if not name.isprintable() or re.search(r"""[\s/@?&#%="'`\\]""", name):
            raise Unexpected(
                "symbols such as BTCUSDT, without blanks and / @ ? & # % = or quotes", repr(name)
            )
    return _without_duplicates(names)


def _streams(text: str) -> tuple[str, ...]:
    return _without_duplicates(_names(text, "streams"))


def _choice(kind: type[StrEnum]) -> Parser:
    def parse(text: str) -> object:
        try:
            return kind(text.lower())
        except ValueError:
            raise Unexpected(f"one of {', '.join(kind)}") from None

    return parse


def _number(expected: str, is_right: Callable[[float], bool]) -> Parser:
    def parse(text: str) -> object:
        if not re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", text, re.IGNORECASE):
            raise Unexpected(expected)
        number = float(text)
        if not (math.isfinite(number) and is_right(number)):
            raise Unexpected(expected)
        return number

    return parse


def _above_zero(unit: str) -> Parser:
    return _number(f"a number of {unit} above 0", lambda number: number > 0)


def _whole(lowest: int, highest: int) -> Parser:
    def parse(text: str) -> object:
        if not (re.fullmatch("[0-9]{1,18}", text) and lowest <= int(text) <= highest):
            raise Unexpected(f"a whole number from {lowest} to {highest}")
        return int(text)

    return parse


def _is_host(text: str) -> bool:
    """Say whether it is a name, an IPv4 address or an IPv6 address in brackets."""
    if text.startswith("["):
        return text.endswith("]") and _is_address(text[1:-1], IPv6Address)
    if re.fullmatch("[0-9.]*", text):
        return _is_address(text, IPv4Address)
    return re.fullmatch(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", text, re.IGNORECASE | re.ASCII) is not None


def _is_address(text: str, kind: type[IPv4Address] | type[IPv6Address]) -> bool:
    try:
        kind(text)
    except AddressValueError:
        return False
    return True


def _is_port(text: str, lowest: int) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and lowest <= int(text) <= 65_535


def _listen(text: str) -> Listen:
    host, _, port = text.rpartition(":")
    if not (_is_host(host) and _is_port(port, lowest=0)):
        raise Unexpected("host:port, such as 127.0.0.1:9745 or [::1]:9745")
    return Listen(host.strip("[]"), int(port))


def _url(schemes: tuple[str, ...], has_path: bool = False) -> Parser:
    examples = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    expected = examples if has_path else f"{examples}, without a path"

    def parse(text: str) -> object:
        match = re.fullmatch(r"(\w+)://(\[[^]]*\]|[^][:/?#]*)(?::([0-9]*))?(/[^\s?#]*)?", text)
        if (
            match is None
            or match[1] not in schemes
            or not _is_host(match[2])
            or not _is_port("1" if match[3] is None else match[3], lowest=1)
            or (match[4] and not has_path)
        ):
            # What stands before an @ may be a password.
            raise Unexpected(expected, repr(re.sub("//.*@", "//…@", text, flags=re.DOTALL)))
        return text.rstrip("/")

    return parse


_ws_url = _url(("ws", "wss"))


def _ws_urls(text: str) -> tuple[object, ...]:
    return tuple(_ws_url(name) for name in _names(text, "addresses")) if text else ()


def _path(text: str) -> Path:
    if not text.isprintable():
        raise Unexpected("a path without control characters")
    return Path(text)


def _rotate_window(text: str) -> RotateWindow:
    match = re.fullmatch("([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])", text)
    if match is None or match.group(1, 2) == match.group(3, 4):
        raise Unexpected("two different times as HH:MM-HH:MM, in UTC")
    start_hour, start_minute, end_hour, end_minute = map(int, match.groups())
    return RotateWindow(start_hour * 60 + start_minute, end_hour * 60 + end_minute)


def _unset_or(parse: Parser) -> Parser:
    return lambda text: parse(text) if text else None


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration: how it is read, and what a person is told about it."""

    name: str
    field: str
    """The field of `Settings` that it fills."""
    parse: Parser
    meaning: str
    change_when: str
    is_live: bool = True
    """Whether a running daemon takes a change without a restart."""


PER_SYMBOL_PREFIX = "FEEDD_STALE_AFTER_SECONDS_"
_SECONDS = _above_zero("seconds")

KEYS = (
    Key(
        "FLAG_REALTIME",
        "realtime",
        _yes_or_no,
        "1: live Binance feed. 0: static CSV data, which consumers must ask for by name.",
        "going live, or rolling back to recorded data.",
    ),
    Key(
        KILL_SWITCH_KEY,
        "trading_halted",
        _halts,
        "1: kill switch, trading is halted in every symbol. Anything but a clear 0 halts.",
        "trading must stop now, whatever the reason.",
    ),
    Key(
        "FEEDD_SYMBOLS",
        "symbols",
        _symbols,
        "The symbols to keep alive, separated by commas.",
        "the desk trades other symbols.",
    ),
    Key(
        "FEEDD_VENUE",
        "venue",
        _choice(VenueName),
        f"One of {', '.join(VenueName)}.",
        "testing, or when only the public data host can be reached.",
    ),
    Key(
        "FEEDD_WS_URL",
        "ws_urls",
        _ws_urls,
        "Address of the streams, ws(s)://host:port, instead of the venue's; several, separated by commas.",
        "there is a proxy in between, or the embedded exchange stands in.",
    ),
    Key(
        "FEEDD_REST_URL",
        "rest_url",
        _unset_or(_url(("http", "https"))),
        "Address of the REST side, http(s)://host:port, instead of the venue's.",
        "FEEDD_WS_URL changes, or another of Binance's REST hosts is nearer.",
    ),
    Key(
        "FEEDD_STREAMS",
        "streams",
        _streams,
        "The streams of each symbol, separated by commas. kline_1s is the heartbeat of a quiet market.",
        "strategies need other data; keep kline_1s unless every symbol trades all the time.",
    ),
    Key(
        "FEEDD_LISTEN",
        "listen",
        _listen,
        "host:port of the HTTP side. Anything but loopback needs FEEDD_WEB_CONFIG. Needs a restart.",
        "the port is taken, or consumers are on other machines.",
        is_live=False,
    ),
    Key(
        "FEEDD_STALE_AFTER_SECONDS",
        "stale_after_seconds",
        _SECONDS,
        "A symbol without market data for longer than this is halted.",
        "quiet symbols halt although nothing is wrong, or a fast strategy can't wait as long.",
    ),
    Key(
        f"{PER_SYMBOL_PREFIX}<SYMBOL>",
        "stale_after_by_symbol",
        _SECONDS,
        "The same for one symbol of FEEDD_SYMBOLS.",
        "one symbol is much quieter or busier than the rest.",
    ),
    Key(
        "FEEDD_LATENCY_LIMIT_SECONDS",
        "latency_limit_seconds",
        _SECONDS,
        "A symbol is halted when 3 messages in a row took longer from the exchange to the consumers.",
        "strategies tolerate older prices, or none as old as this.",
    ),
    Key(
        "FEEDD_RESUME_AFTER_SECONDS",
        "resume_after_seconds",
        _SECONDS,
        "Good data must have flowed for this long before an automatic halt lifts.",
        "the gate flaps (longer), or trading resumes too late (shorter).",
    ),
    Key(
        "FEEDD_RESUME",
        "resume",
        _choice(ResumePolicy),
        "auto: automatic halts lift by themselves. manual: they last until a reload re-arms them.",
        "a person must look before trading goes on.",
    ),
    Key(
        "FEEDD_CSV_PATH",
        "csv_path",
        _unset_or(_path),
        "File or folder of the CSV data for FLAG_REALTIME=0.",
        "replaying recorded data.",
    ),
    Key(
        "FEEDD_CSV_MINUTES",
        "csv_minutes",
        _above_zero("minutes"),
        "How many minutes of the CSV data are replayed.",
        "a drill needs more or less data.",
    ),
    Key(
        "FEEDD_CSV_SPEED",
        "csv_speed",
        _number("a number of 0 or more", lambda number: number >= 0),
        "How many times faster than recorded; 0 is as fast as it reads.",
        "a replay should take less time.",
    ),
    Key(
        "FEEDD_LOG_LEVEL",
        "log_level",
        _choice(LogLevel),
        f"The least severe message that is logged: {', '.join(LogLevel)}.",
        "looking into an incident (debug).",
    ),
    Key(
        "FEEDD_LOG_FORMAT",
        "log_format",
        _choice(LogFormat),
        "text for people, json for log pipelines.",
        "logs are shipped to a machine that parses them.",
    ),
    Key(
        "FEEDD_CONNECT_BUDGET",
        "connect_budget",
        _whole(1, 300),
        "Connection attempts per 5 minutes for the whole process. Binance allows an address 300.",
        "other programs connect to Binance from the same address (less).",
    ),
    Key(
        "FEEDD_ROTATE_AFTER_HOURS",
        "rotate_after_hours",
        _number("a number of hours above 0 and below 24", lambda number: 0 < number < 24),
        "Connections are renewed at this age, before the exchange ends them at 24 hours.",
        "renewals should fall elsewhere in the day.",
    ),
    Key(
        "FEEDD_ROTATE_WINDOW",
        "rotate_window",
        _unset_or(_rotate_window),
        "HH:MM-HH:MM in UTC: planned renewals happen only then. Unset: at any time.",
        "renewals should stay out of trading hours.",
    ),
    Key(
        "FEEDD_REDUNDANCY",
        "redundancy",
        _whole(1, 2),
        "Connections per symbol. 2: the first copy of each message wins.",
        "a lost connection must not cost a single message.",
    ),
    Key(
        "FEEDD_SYMBOLS_PER_CONNECTION",
        "symbols_per_connection",
        _whole(1, STREAMS_PER_CONNECTION),
        "How many symbols share one connection.",
        "there are more symbols than the connect budget has attempts.",
    ),
    Key(
        "FEEDD_EXCHANGE_STATUS_SECONDS",
        "exchange_status_seconds",
        _SECONDS,
        "How often the venue is asked whether it trades the symbols.",
        "a trading halt at the exchange must be seen sooner.",
    ),
    Key(
        "FEEDD_BACKFILL",
        "backfill",
        _yes_or_no,
        "1: missed trades are fetched over REST and marked as backfill.",
        "strategies need every trade, even late.",
    ),
    Key(
        "FEEDD_ALERTMANAGER_URL",
        "alertmanager_url",
        _unset_or(_url(("http", "https"), has_path=True)),
        "Alertmanager's address: halts are posted to it straight away as well.",
        "alerts must not wait for Prometheus to scrape.",
    ),
    Key(
        "FEEDD_RUNBOOK_URL",
        "runbook_url",
        _url(("http", "https"), has_path=True),
        "Where you publish alerts/runbook.md: the link in each alert that is posted to Alertmanager.",
        "alerts should lead to your copy; the rules file has the same link.",
    ),
    Key(
        "FEEDD_WEB_CONFIG",
        "web_config",
        _unset_or(_path),
        "TLS and auth of the HTTP side: a web config as Prometheus' exporters have it. A reload re-reads it.",
        "FEEDD_LISTEN leaves the loopback.",
    ),
    Key(
        "FEEDD_CONSUMERS_MAX",
        "consumers_max",
        _whole(1, 1_000_000),
        "How many consumers may be connected at once.",
        "more strategies connect, or the machine has few file descriptors.",
    ),
    Key(
        "FEEDD_CONSUMER_QUEUE_BYTES",
        "consumer_queue_bytes",
        _whole(1024, 1_073_741_824),
        "A consumer with more unread bytes than this is disconnected.",
        "good consumers are cut off in bursts (more), or memory is short (less).",
    ),
    Key(
        "FEEDD_CONSUMER_QUEUE_MESSAGES",
        "consumer_queue_messages",
        _whole(1, 1_000_000),
        "A consumer for which more messages than this wait is disconnected.",
        "good consumers are cut off in bursts (more), or none may be that far behind (less).",
    ),
)

# The key per symbol has as many names as there are symbols.
KEYS_BY_NAME = {key.name: key for key in KEYS if "<" not in key.name}
(PER_SYMBOL_KEY,) = (key for key in KEYS if key.name not in KEYS_BY_NAME)


def key_named(name: str) -> Key | None:
    """Return the key of that name, also of one for a single symbol, or None."""
    if name.startswith(PER_SYMBOL_PREFIX) and name != PER_SYMBOL_PREFIX:
        return PER_SYMBOL_KEY
    return KEYS_BY_NAME.get(name)
