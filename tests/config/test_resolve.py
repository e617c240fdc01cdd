"""Which source wins, what is refused and in which words, and what an operator is warned of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.config.env_file import kill_switch_in
from feedd.config.keys import KEYS
from feedd.config.resolve import Conflict, load, resolve
from feedd.config.settings import Settings
from feedd.errors import SettingsError
from feedd.model import ResumePolicy
from tests.config.full_file import FULL, FULL_SETTINGS, NAME, resolved, settings

LIVE = {"FLAG_REALTIME": "1"}


def messages(
    text: str | bytes = "",
    environ: Mapping[str, str] = MappingProxyType({}),
    arguments: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        resolved(text, environ, arguments)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem).removeprefix(f"{NAME}:") for problem in caught.value.problems]


def test_nothing_given_is_the_defaults() -> None:
    assert resolve(None, {}, {}).settings == Settings()


@pytest.mark.parametrize(
    "raw",
    [
        FULL.encode(),
        b"\xef\xbb\xbf" + FULL.encode(),
        FULL.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode(),
    ],
    ids=["plain", "BOM", "CRLF", "BOM and CRLF"],
)
def test_file_with_every_key_is_read(raw: bytes) -> None:
    found = resolved(raw)
    assert found.settings == FULL_SETTINGS
    assert (found.conflicts, found.warnings) == ((), ())
    assert found.origins["FLAG_REALTIME"] == f"{NAME}:2"
    assert found.origins["FEEDD_STALE_AFTER_SECONDS_ETHUSDT"] == f"{NAME}:12"


def test_every_key_is_in_the_full_file() -> None:
    lines = FULL.replace("ethusdt=", "<SYMBOL>=").splitlines()
    assert all(any(f"{key.name}=" in line for line in lines) for key in KEYS)


YES_OR_NO = "expected 1 or 0 (or true, yes, on, false, no, off)"
SECONDS = "expected a number of seconds above 0"
WITHOUT_PATH = "ws://host:port or wss://host:port, without a path"

BAD_FILES = [
    ("FLAG_REALTIME=maybe", [f"1: FLAG_REALTIME: {YES_OR_NO}, found 'maybe'"]),
    ("FLAG_REALTIME=", [f"1: FLAG_REALTIME: {YES_OR_NO}, found ''"]),
    ("\n\n# x\nFLAG_REALTIME=2", [f"4: FLAG_REALTIME: {YES_OR_NO}, found '2'"]),
    (
        "FLAG_TRADING_HALT=1",
        [
            "1: FLAG_TRADING_HALT: expected a key that feedd knows (did you mean FLAG_TRADING_HALTED?), "
            "found an unknown one"
        ],
    ),
    (
        "flag_trading_halted=0",
        [
            "1: flag_trading_halted: expected a key that feedd knows (did you mean FLAG_TRADING_HALTED?), "
            "found an unknown one"
        ],
    ),
    ("FLAG_XYZ=1", ["1: FLAG_XYZ: expected a key that feedd knows, found an unknown one"]),
    (
        "FEEDD_SYMBOL=BTCUSDT",
        [
            "1: FEEDD_SYMBOL: expected a key that feedd knows (did you mean FEEDD_SYMBOLS?), "
            "found an unknown one"
        ],
    ),
    (
        "FEEDD_STALE_AFTER_SECONDS_=1",
        [
            "1: FEEDD_STALE_AFTER_SECONDS_: expected a key that feedd knows "
            "(did you mean FEEDD_STALE_AFTER_SECONDS?), found an unknown one"
        ],
    ),
    (
        "FEEDD_SYMBOLS=",
        ["1: FEEDD_SYMBOLS: expected symbols separated by commas, none of them empty, found ''"],
    ),
    (
        "FEEDD_SYMBOLS=BTCUSDT,,ETHUSDT",
        [
            "1: FEEDD_SYMBOLS: expected symbols separated by commas, none of them empty, "
            "found 'BTCUSDT,,ETHUSDT'"
        ],
    ),
    (
        "FEEDD_SYMBOLS=BTC/USDT",
        [
            "1: FEEDD_SYMBOLS: expected symbols such as BTCUSDT, without blanks and / @ ? & # % = or quotes, "
            "found 'BTC/USDT'"
        ],
    ),
    (
        "FEEDD_SYMBOLS=ETHUSDT,binance-usdm:BTCUSDT",
        [
            "1: FEEDD_SYMBOLS: expected symbols such as BTCUSDT, without : "
            "(it is reserved; FEEDD_VENUE names the venue), found 'binance-usdm:BTCUSDT'"
        ],
    ),
    (
        "FEEDD_SYMBOLS=BTCUSDT,btcusdt",
        ["1: FEEDD_SYMBOLS: expected each name once, found 'BTCUSDT' 2 times"],
    ),
    (
        "FEEDD_VENUE=binance",
        [
            "1: FEEDD_VENUE: expected one of binance-spot, binance-spot-testnet, binance-spot-demo, "
            "binance-spot-data, binance-us, binance-tr, found 'binance'"
        ],
    ),
    (
        "FEEDD_WS_URL=wss://stream.binance.com:9443/",
        [f"1: FEEDD_WS_URL: expected {WITHOUT_PATH}, found 'wss://stream.binance.com:9443/'"],
    ),
    (
        "FEEDD_WS_URL=https://stream.binance.com",
        [f"1: FEEDD_WS_URL: expected {WITHOUT_PATH}, found 'https://stream.binance.com'"],
    ),
    (
        "FEEDD_REST_URL=api.binance.com",
        [
            "1: FEEDD_REST_URL: expected http://host:port or https://host:port, without a path, "
            "found 'api.binance.com'"
        ],
    ),
    (
        "FEEDD_STREAMS=",
        ["1: FEEDD_STREAMS: expected streams separated by commas, none of them empty, found ''"],
    ),
    (
        "FEEDD_STREAMS=trade,bookticker",
        [
            "1: FEEDD_STREAMS: expected streams such as trade, bookTicker or kline_1s, "
            "found 'bookticker' (did you mean bookTicker?)"
        ],
    ),
    (
        "FEEDD_STREAMS=wxyz",
        ["1: FEEDD_STREAMS: expected streams such as trade, bookTicker or kline_1s, found 'wxyz'"],
    ),
    ("FEEDD_STREAMS=trade,trade", ["1: FEEDD_STREAMS: expected each name once, found 'trade' 2 times"]),
    (
        "FEEDD_LISTEN=9745",
        ["1: FEEDD_LISTEN: expected host:port, such as 127.0.0.1:9745 or [::1]:9745, found '9745'"],
    ),
    (
        "FEEDD_LISTEN=0.0.0.0:9745",
        [
            "1: FEEDD_LISTEN: expected a loopback address, or FEEDD_WEB_CONFIG for TLS and auth, "
            "found '0.0.0.0:9745'"
        ],
    ),
    (
        "FEEDD_LISTEN=[::]:9745\nFEEDD_WEB_CONFIG=\n",
        [
            "1: FEEDD_LISTEN: expected a loopback address, or FEEDD_WEB_CONFIG for TLS and auth, "
            "found '[::]:9745'"
        ],
    ),
    ("FEEDD_STALE_AFTER_SECONDS=ten", [f"1: FEEDD_STALE_AFTER_SECONDS: {SECONDS}, found 'ten'"]),
    ("FEEDD_STALE_AFTER_SECONDS=nan", [f"1: FEEDD_STALE_AFTER_SECONDS: {SECONDS}, found 'nan'"]),
    (
        "FEEDD_STALE_AFTER_SECONDS_BTCUSDT=0",
        [f"1: FEEDD_STALE_AFTER_SECONDS_BTCUSDT: {SECONDS}, found '0'"],
    ),
    (
        "FEEDD_STALE_AFTER_SECONDS_ETHUSDT=5",
        [
            "1: FEEDD_STALE_AFTER_SECONDS_ETHUSDT: expected a symbol of FEEDD_SYMBOLS, "
            "found 'ETHUSDT', which is not among them"
        ],
    ),
    ("FEEDD_LATENCY_LIMIT_SECONDS=-1", [f"1: FEEDD_LATENCY_LIMIT_SECONDS: {SECONDS}, found '-1'"]),
    ("FEEDD_RESUME_AFTER_SECONDS=inf", [f"1: FEEDD_RESUME_AFTER_SECONDS: {SECONDS}, found 'inf'"]),
    ("FEEDD_RESUME=never", ["1: FEEDD_RESUME: expected one of auto, manual, found 'never'"]),
    (
        'FEEDD_CSV_PATH="a\\nb"',
        ["1: FEEDD_CSV_PATH: expected a path without control characters, found 'a\\nb'"],
    ),
    (
        "FEEDD_CSV_PATH=${HOME}/csv",
        [
            "1: FEEDD_CSV_PATH: expected a value as it is (feedd does not expand variables), "
            "found '${HOME}/csv'"
        ],
    ),
    ("FEEDD_CSV_MINUTES=0", ["1: FEEDD_CSV_MINUTES: expected a number of minutes above 0, found '0'"]),
    ("FEEDD_CSV_SPEED=-1", ["1: FEEDD_CSV_SPEED: expected a number of 0 or more, found '-1'"]),
    (
        "FEEDD_LOG_LEVEL=trace",
        ["1: FEEDD_LOG_LEVEL: expected one of debug, info, warning, error, found 'trace'"],
    ),
    ("FEEDD_LOG_FORMAT=xml", ["1: FEEDD_LOG_FORMAT: expected one of text, json, found 'xml'"]),
    (
        "FEEDD_CONNECT_BUDGET=301",
        ["1: FEEDD_CONNECT_BUDGET: expected a whole number from 1 to 300, found '301'"],
    ),
    (
        "FEEDD_ROTATE_AFTER_HOURS=24",
        ["1: FEEDD_ROTATE_AFTER_HOURS: expected a number of hours above 0 and below 24, found '24'"],
    ),
    (
        "FEEDD_ROTATE_WINDOW=22:00",
        ["1: FEEDD_ROTATE_WINDOW: expected two different times as HH:MM-HH:MM, in UTC, found '22:00'"],
    ),
    ("FEEDD_REDUNDANCY=3", ["1: FEEDD_REDUNDANCY: expected a whole number from 1 to 2, found '3'"]),
    (
        "FEEDD_SYMBOLS_PER_CONNECTION=0",
        ["1: FEEDD_SYMBOLS_PER_CONNECTION: expected a whole number from 1 to 1024, found '0'"],
    ),
    (
        "FEEDD_SYMBOLS_PER_CONNECTION=342",
        [
            "1: FEEDD_SYMBOLS_PER_CONNECTION: expected 341 at most with 3 streams each "
            "(a connection takes 1024), found '342'"
        ],
    ),
    (
        "FEEDD_EXCHANGE_STATUS_SECONDS=1m",
        [f"1: FEEDD_EXCHANGE_STATUS_SECONDS: {SECONDS}, found '1m'"],
    ),
    ("FEEDD_BACKFILL=2", [f"1: FEEDD_BACKFILL: {YES_OR_NO}, found '2'"]),
    (
        "FEEDD_ALERTMANAGER_URL=alerts:9093",
        ["1: FEEDD_ALERTMANAGER_URL: expected http://host:port or https://host:port, found 'alerts:9093'"],
    ),
    (
        "FEEDD_RUNBOOK_URL=wiki/runbook.md",
        ["1: FEEDD_RUNBOOK_URL: expected http://host:port or https://host:port, found 'wiki/runbook.md'"],
    ),
    (
        "FEEDD_WEB_CONFIG='a\tb'",
        ["1: FEEDD_WEB_CONFIG: expected a path without control characters, found 'a\\tb'"],
    ),
    (
        "FEEDD_CONSUMERS_MAX=many",
        ["1: FEEDD_CONSUMERS_MAX: expected a whole number from 1 to 1000000, found 'many'"],
    ),
    (
        "FEEDD_CONSUMER_QUEUE_BYTES=1",
        ["1: FEEDD_CONSUMER_QUEUE_BYTES: expected a whole number from 1024 to 1073741824, found '1'"],
    ),
    (
        "FEEDD_CONSUMER_QUEUE_MESSAGES=0",
        ["1: FEEDD_CONSUMER_QUEUE_MESSAGES: expected a whole number from 1 to 1000000, found '0'"],
    ),
    (
        "FEEDD_RESUME=auto\n\nFEEDD_RESUME=auto\nFEEDD_RESUME=auto\n",
        [
            f"3: FEEDD_RESUME: expected the key once, found it at {NAME}:1 too",
            f"4: FEEDD_RESUME: expected the key once, found it at {NAME}:1 too",
        ],
    ),
    (
        "FEEDD_STALE_AFTER_SECONDS_BTCUSDT=1\nFEEDD_STALE_AFTER_SECONDS_btcusdt=1\n",
        [f"2: FEEDD_STALE_AFTER_SECONDS_BTCUSDT: expected the key once, found it at {NAME}:1 too"],
    ),
    ("FEEDD_SYMBOLS", ["1: syntax: expected KEY=value, found 'FEEDD_SYMBOLS'"]),
    (
        "FEEDD_RESUME=manual\nFEEDD_SYMBOLS='BTCUSDT\n",
        ['2: syntax: expected KEY=value, with any quotes closed, found "FEEDD_SYMBOLS=\'BTCUSDT"'],
    ),
    # What follows from a mistake is not reported as another one.
    (
        "FEEDD_SYMBOLS=,\nFEEDD_STALE_AFTER_SECONDS_ETHUSDT=5\n",
        ["1: FEEDD_SYMBOLS: expected symbols separated by commas, none of them empty, found ','"],
    ),
    (
        "FEEDD_STREAMS=,\nFEEDD_SYMBOLS_PER_CONNECTION=512\n",
        ["1: FEEDD_STREAMS: expected streams separated by commas, none of them empty, found ','"],
    ),
    (
        "FEEDD_LISTEN=0.0.0.0:1\nFEEDD_WEB_CONFIG='a\tb'\n",
        ["2: FEEDD_WEB_CONFIG: expected a path without control characters, found 'a\\tb'"],
    ),
    (
        "rubbish\nFLAG_REALTIME=x\nFEEDD_RESUM=auto\nFEEDD_REDUNDANCY=9\nFEEDD_LISTEN=1.1.1.1:1\n",
        [
            "1: syntax: expected KEY=value, found 'rubbish'",
            f"2: FLAG_REALTIME: {YES_OR_NO}, found 'x'",
            "3: FEEDD_RESUM: expected a key that feedd knows (did you mean FEEDD_RESUME?), "
            "found an unknown one",
            "4: FEEDD_REDUNDANCY: expected a whole number from 1 to 2, found '9'",
            "5: FEEDD_LISTEN: expected a loopback address, or FEEDD_WEB_CONFIG for TLS and auth, "
            "found '1.1.1.1:1'",
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES)
def test_bad_file_is_refused_with_every_mistake(text: str, expected: list[str]) -> None:
    assert messages(text) == expected


@pytest.mark.parametrize("key", [key.name for key in KEYS])
def test_every_key_has_a_bad_file(key: str) -> None:
    # The kill switch has none: whatever is wrong with it halts.
    shown = key.replace("<SYMBOL>", "BTCUSDT")
    assert key == "FLAG_TRADING_HALTED" or any(f": {shown}: " in row[1][0] for row in BAD_FILES)


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        (
            {"FEEDD_SYMBOL": "X", "PATH": "/bin"},
            {},
            [
                "environment: FEEDD_SYMBOL: expected a key that feedd knows (did you mean FEEDD_SYMBOLS?), "
                "found an unknown one"
            ],
        ),
        (
            {"FEEDD_REDUNDANCY": "9"},
            {"FEEDD_CSV_MINUTES": "0"},
            [
                "command line: FEEDD_CSV_MINUTES: expected a number of minutes above 0, found '0'",
                "environment: FEEDD_REDUNDANCY: expected a whole number from 1 to 2, found '9'",
            ],
        ),
        # A value that is overridden is still checked.
        (
            {"FEEDD_STREAMS": "depht"},
            {"FEEDD_STREAMS": "trade"},
            [
                "environment: FEEDD_STREAMS: expected streams such as trade, bookTicker or kline_1s, "
                "found 'depht' (did you mean depth?)"
            ],
        ),
        (
            {"FEEDD_REDUNDANCY": "9"},
            {"FEEDD_REDUNDANCY": "1"},
            ["environment: FEEDD_REDUNDANCY: expected a whole number from 1 to 2, found '9'"],
        ),
        (
            {"FEEDD_STALE_AFTER_SECONDS_<SYMBOL>": "1"},
            {},
            [
                "environment: FEEDD_STALE_AFTER_SECONDS_<SYMBOL>: expected a symbol of FEEDD_SYMBOLS, "
                "found '<SYMBOL>', which is not among them"
            ],
        ),
        (
            {},
            {"FEEDD_LISTEN": "10.0.0.1:1"},
            [
                "command line: FEEDD_LISTEN: expected a loopback address, or FEEDD_WEB_CONFIG for TLS and "
                "auth, found '10.0.0.1:1'"
            ],
        ),
    ],
)
def test_bad_environment_or_command_line_is_refused(
    environ: dict[str, str], arguments: dict[str, str], expected: list[str]
) -> None:
    assert messages("", environ, arguments) == expected


@pytest.mark.parametrize(
    "text", ["PATH=/bin\n", "OTHER_FEEDD_X=1\n", "MY_FLAG=1\n", "GOMAXPROCS=${CORES}\n", "A=1\nA=2\n"]
)
def test_foreign_key_in_the_file_is_none_of_feedds_business(text: str) -> None:
    assert resolved(text) == resolve(None, {}, {})


def test_foreign_flag_in_the_environment_is_none_of_feedds_business() -> None:
    assert resolve(None, {"FLAG_OTHER": "1", "feedd_x": "1"}, {}) == resolve(None, {}, {})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("FEED_SYMBOLS", "FEEDD_SYMBOLS"),
        ("FEEEDD_SYMBOLS", "FEEDD_SYMBOLS"),
        ("TRADING_HALTED", "FLAG_TRADING_HALTED"),
        ("feedsymbols", "FEEDD_SYMBOLS"),
    ],
)
def test_key_with_a_mistyped_beginning_is_ignored_with_a_warning(key: str, hint: str) -> None:
    found = resolved(f"FLAG_REALTIME=1\n{key}=1\n")
    assert found.warnings == (f"{NAME}:2: {key} is not feedd's and is ignored (did you mean {hint}?)",)


@pytest.mark.parametrize(
    ("arguments", "text", "environ", "value", "origin"),
    [
        ({}, "", {}, 240, "default"),
        ({}, "", {"FEEDD_CONNECT_BUDGET": "3"}, 3, "environment"),
        ({}, "\nFEEDD_CONNECT_BUDGET=2\n", {}, 2, f"{NAME}:2"),
        ({}, "FEEDD_CONNECT_BUDGET=2\n", {"FEEDD_CONNECT_BUDGET": "3"}, 2, f"{NAME}:1"),
        ({"FEEDD_CONNECT_BUDGET": "1"}, "", {}, 1, "command line"),
        ({"FEEDD_CONNECT_BUDGET": "1"}, "FEEDD_CONNECT_BUDGET=2\n", {}, 1, "command line"),
        ({"FEEDD_CONNECT_BUDGET": "1"}, "", {"FEEDD_CONNECT_BUDGET": "3"}, 1, "command line"),
        (
            {"FEEDD_CONNECT_BUDGET": "1"},
            "FEEDD_CONNECT_BUDGET=2\n",
            {"FEEDD_CONNECT_BUDGET": "3"},
            1,
            "command line",
        ),
    ],
)
def test_stronger_source_wins(
    arguments: dict[str, str], text: str, environ: dict[str, str], value: int, origin: str
) -> None:
    found = resolved(text, environ, arguments)
    assert (found.settings.connect_budget, found.origins["FEEDD_CONNECT_BUDGET"]) == (value, origin)


def test_empty_value_in_the_file_unsets_what_the_environment_sets() -> None:
    found = resolved("FEEDD_CSV_PATH=\n", {"FEEDD_CSV_PATH": "/data"})
    assert found.settings.csv_path is None
    assert [str(conflict) for conflict in found.conflicts] == [
        f"FEEDD_CSV_PATH: {NAME}:1 says '', the environment says '/data': the file wins"
    ]


def test_blanks_around_a_value_do_not_count() -> None:
    assert settings("FEEDD_RESUME=' manual '\n").resume is ResumePolicy.MANUAL
    assert resolve(None, {"FEEDD_RESUME": " manual\n"}, {}).settings.resume is ResumePolicy.MANUAL


def test_disagreement_of_file_and_environment_is_reported() -> None:
    found = resolved(
        "FLAG_REALTIME=1\nFEEDD_SYMBOLS=BTCUSDT\nFEEDD_RESUME=auto\nFEEDD_STALE_AFTER_SECONDS_BTCUSDT=1\n",
        {
            "FLAG_REALTIME": "yes",
            "FEEDD_SYMBOLS": "ETHUSDT",
            "FEEDD_RESUME": "MANUAL",
            "FEEDD_STALE_AFTER_SECONDS_BTCUSDT": "2",
        },
    )
    assert found.conflicts == (
        Conflict("FEEDD_SYMBOLS", "BTCUSDT", f"{NAME}:2", "ETHUSDT"),
        Conflict("FEEDD_RESUME", "auto", f"{NAME}:3", "MANUAL"),
        Conflict("FEEDD_STALE_AFTER_SECONDS_BTCUSDT", "1", f"{NAME}:4", "2"),
    )
    assert str(found.conflicts[0]) == (
        f"FEEDD_SYMBOLS: {NAME}:2 says 'BTCUSDT', the environment says 'ETHUSDT': the file wins"
    )


def test_command_line_may_narrow_the_symbols_of_the_file() -> None:
    text = "FEEDD_SYMBOLS=BTCUSDT,ETHUSDT\nFEEDD_STALE_AFTER_SECONDS_ETHUSDT=5\n"
    found = resolved(text, arguments={"FEEDD_SYMBOLS": "BTCUSDT"})
    assert found.settings.symbols == ("BTCUSDT",)
    assert found.settings.stale_after_by_symbol == {}
    assert "FEEDD_STALE_AFTER_SECONDS_ETHUSDT" not in found.origins


def test_override_of_a_symbol_without_latin_letters() -> None:
    text = "FEEDD_SYMBOLS=这是测试币456\nFEEDD_STALE_AFTER_SECONDS_这是测试币456=60\n"
    assert settings(text).stale_after("这是测试币456") == 60


KEY = "FLAG_TRADING_HALTED"


@pytest.mark.parametrize(
    ("text", "environ", "arguments", "is_halted", "origin"),
    [
        ("", None, None, False, "default"),
        ("0", None, None, False, f"{NAME}:1"),
        (None, "0", None, False, "environment"),
        (None, None, "0", False, "command line"),
        ("1", None, None, True, f"{NAME}:1"),
        (None, "1", None, True, "environment"),
        (None, None, "1", True, "command line"),
        ("0", "1", None, True, "environment"),
        ("1", "0", None, True, f"{NAME}:1"),
        ("1", None, "0", True, f"{NAME}:1"),
        (None, "1", "0", True, "environment"),
        ("0", "0", "1", True, "command line"),
        ("1", "1", "1", True, "command line"),
        ("off", "NO", "False", False, "command line"),
        (None, "", None, True, "environment"),
        (None, "garbage", None, True, "environment"),
        ("''", None, None, True, f"{NAME}:1"),
        ("garbage", None, None, True, f"{NAME}:1"),
        ("${HALT}", None, None, True, f"{NAME}:1"),
        ("0\nFLAG_TRADING_HALTED=1", None, None, True, f"{NAME}:2"),
        ("1\nFLAG_TRADING_HALTED=0", None, None, True, f"{NAME}:1"),
        ("0\nFLAG_TRADING_HALTED=0", None, None, False, f"{NAME}:1"),
        ("0\nFLAG_REALTIME=1\nFEEDD_CSV_PATH=/xFLAG_TRADING_HALTED=1", None, None, True, f"{NAME}:3"),
        ("0 # 1", None, None, False, f"{NAME}:1"),
        ("' 0 '", None, None, False, f"{NAME}:1"),
        ('"0\n"', None, None, True, f"{NAME}:1"),
    ],
)
def test_kill_switch_halts_from_any_source(
    text: str | None, environ: str | None, arguments: str | None, is_halted: bool, origin: str
) -> None:
    found = resolved(
        f"{KEY}={text}\n" if text else "",
        {} if environ is None else {KEY: environ},
        {} if arguments is None else {KEY: arguments},
    )
    assert (found.settings.trading_halted, found.origins[KEY]) == (is_halted, origin)


@given(
    lines=st.lists(
        st.builds(
            "{}{}{}{}\n".format,
            st.sampled_from(["", "# ", "export ", "A=1", "A='1' ", "A=' #"]),
            st.sampled_from([KEY, "B", f"X_{KEY}"]),
            st.sampled_from(["=", " = ", "", "=\n"]),
            st.sampled_from(["", "0", "1", "'no'", "'0", "0'", '"0\n"', "x # 0", "off # 1"]),
        )
    )
)
def test_settled_file_halts_as_it_did_at_first_sight(lines: list[str]) -> None:
    raw = "".join(lines).encode()
    try:
        is_halted = settings(raw).trading_halted
    except SettingsError:
        return
    assert is_halted is kill_switch_in(raw)


@pytest.mark.parametrize(
    ("text", "environ", "warnings", "conflicts"),
    [
        ("0", {}, [], []),
        ("0", {KEY: "no"}, [], []),
        ("1", {KEY: "yes"}, [f"{NAME}:1: {KEY} is '1'", f"environment: {KEY} is 'yes'"], []),
        (
            "maybe",
            {KEY: "0"},
            [f"{NAME}:1: {KEY} is 'maybe', which is not a clear no (0 false no off)"],
            [f"{KEY}: {NAME}:1 says 'maybe', the environment says '0': a halt in either counts"],
        ),
        (
            "0",
            {KEY: ""},
            [f"environment: {KEY} is '', which is not a clear no (0 false no off)"],
            [f"{KEY}: {NAME}:1 says '0', the environment says '': a halt in either counts"],
        ),
        (
            f"0\n{KEY}=1",
            {KEY: "0"},
            [f"{NAME}:2: {KEY} is '1'"],
            [f"{KEY}: {NAME}:2 says '1', the environment says '0': a halt in either counts"],
        ),
    ],
)
def test_halt_is_explained(
    text: str, environ: dict[str, str], warnings: list[str], conflicts: list[str]
) -> None:
    found = resolved(f"{KEY}={text}\n", {**LIVE, **environ})
    assert [*found.warnings] == [f"{warning}: trading is halted in every symbol" for warning in warnings]
    assert [str(conflict) for conflict in found.conflicts] == conflicts


OFF = "FLAG_REALTIME is off: static CSV data, not production; no price here is the market's"
NO_CSV = "FEEDD_CSV_PATH is not set: only the sample that feedd ships (SPY, QQQ) can be played"


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("", (OFF, NO_CSV)),
        ("FLAG_REALTIME=0\n", (OFF, NO_CSV)),
        ("FLAG_REALTIME=off\nFEEDD_CSV_PATH=/data\n", (OFF,)),
        ("FLAG_REALTIME=1\n", ()),
    ],
)
def test_static_source_is_warned_of(text: str, warnings: tuple[str, ...]) -> None:
    assert resolved(text).warnings == warnings


@pytest.mark.parametrize(
    ("text", "is_warned_of"),
    [
        ("FEEDD_BACKFILL=1\nFEEDD_VENUE=binance-spot-data\n", True),
        ("FEEDD_VENUE=binance-spot-data\n", False),
        ("FEEDD_BACKFILL=1\n", False),
        ("FEEDD_BACKFILL=1\nFEEDD_VENUE=binance-spot-data\nFEEDD_STREAMS=aggTrade,kline_1s\n", False),
        ("FEEDD_BACKFILL=1\nFEEDD_VENUE=binance-spot-data\nFEEDD_REST_URL=https://proxy\n", False),
    ],
)
def test_backfill_where_the_venue_has_no_old_trades_is_warned_of(text: str, is_warned_of: bool) -> None:
    warnings = resolved("FLAG_REALTIME=1\n" + text).warnings
    assert any("FEEDD_BACKFILL" in warning for warning in warnings) is is_warned_of


def test_load_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "feedd.env"
    path.write_bytes(FULL.encode())
    found = load(path, {}, {"FEEDD_REDUNDANCY": "1"})
    assert found.settings == dataclasses.replace(FULL_SETTINGS, redundancy=1)
    assert found.origins["FLAG_REALTIME"] == f"{path}:2"


def test_load_without_a_file_takes_the_rest() -> None:
    assert load(None, {"FEEDD_REDUNDANCY": "2"}, {}).settings == Settings(redundancy=2)


def test_load_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "feedd.env"
    with pytest.raises(SettingsError) as caught:
        load(path, {}, {})
    assert str(caught.value) == (
        f"{path}: env-file: expected a readable file, found that it cannot be read: No such file or directory"
    )


def test_load_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="found that it cannot be read: Is a directory"):
        load(tmp_path, {}, {})


def test_load_of_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "feedd.env"
    path.write_bytes(b"FLAG_REALTIME=1\n# caf\xe9\n")
    with pytest.raises(SettingsError) as caught:
        load(path, {}, {})
    assert str(caught.value) == f"{path}:2: encoding: expected UTF-8 text, found byte 0xe9 at position 21"


def test_venue_brings_its_own_streams_unless_others_are_given() -> None:
    assert settings("FEEDD_VENUE=binance-us\n").streams == ("trade", "bookTicker", "kline_1m")
    assert settings("FEEDD_VENUE=binance-us\nFEEDD_STREAMS=trade\n").streams == ("trade",)


def test_stream_that_another_venue_has_is_refused() -> None:
    assert messages("FEEDD_VENUE=binance-us\nFEEDD_STREAMS=kline_1s\n") == [
        "2: FEEDD_STREAMS: expected streams such as trade, bookTicker or kline_1s, found 'kline_1s'"
    ]
