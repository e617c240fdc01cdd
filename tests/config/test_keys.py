"""Each key's grammar."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.config.keys import KEYS, Unexpected
from feedd.model import Listen, LogFormat, LogLevel, ResumePolicy, RotateWindow, VenueName

KEYS_BY_NAME = {key.name: key for key in KEYS}

YES_OR_NO = "1 or 0 (or true, yes, on, false, no, off)"
SECONDS = "a number of seconds above 0"
SYMBOLS = "symbols such as BTCUSDT, without blanks and / @ ? & # % = or quotes"
VENUES_SYMBOL = "symbols such as BTCUSDT, without : (it is reserved; FEEDD_VENUE names the venue)"
WS_URL = "ws://host:port or wss://host:port, without a path"
REST_URL = "http://host:port or https://host:port, without a path"
ALERTMANAGER_URL = "http://host:port or https://host:port"
LISTEN = "host:port, such as 127.0.0.1:9745 or [::1]:9745"
WINDOW = "two different times as HH:MM-HH:MM, in UTC"
HOURS = "a number of hours above 0 and below 24"
PATH = "a path without control characters"

GOOD: list[tuple[str, str, Any]] = [
    *(("FLAG_REALTIME", text, True) for text in ("1", "true", "True", "yes", "YES", "on", "On")),
    *(("FLAG_REALTIME", text, False) for text in ("0", "false", "FALSE", "no", "No", "off", "oFF")),
    *(("FLAG_TRADING_HALTED", text, False) for text in ("0", "false", "FALSE", "no", "off")),
    *(("FLAG_TRADING_HALTED", text, True) for text in ("1", "yes", "", "2", "00", "maybe", "nope", "${X}")),
    ("FEEDD_SYMBOLS", "btcusdt, EthUsdt ,SOLUSDT", ("BTCUSDT", "ETHUSDT", "SOLUSDT")),
    ("FEEDD_SYMBOLS", "这是测试币456,1000SATSUSDT,A-B_C.D", ("这是测试币456", "1000SATSUSDT", "A-B_C.D")),
    ("FEEDD_VENUE", "binance-spot-testnet", VenueName.BINANCE_SPOT_TESTNET),
    ("FEEDD_VENUE", "Binance-Spot", VenueName.BINANCE_SPOT),
    ("FEEDD_WS_URL", "", ()),
    ("FEEDD_WS_URL", "ws://127.0.0.1:8080", ("ws://127.0.0.1:8080",)),
    ("FEEDD_WS_URL", "wss://stream.binance.com", ("wss://stream.binance.com",)),
    ("FEEDD_WS_URL", "ws://[::1]:80, ws://b:81", ("ws://[::1]:80", "ws://b:81")),
    ("FEEDD_REST_URL", "https://api-gcp.binance.com:443", "https://api-gcp.binance.com:443"),
    ("FEEDD_REST_URL", "", None),
    ("FEEDD_STREAMS", "trade , depth@100ms,kline_1M", ("trade", "depth@100ms", "kline_1M")),
    ("FEEDD_LISTEN", "127.0.0.1:0", Listen("127.0.0.1", 0)),
    ("FEEDD_LISTEN", "[::1]:9745", Listen("::1", 9745)),
    ("FEEDD_LISTEN", "localhost:65535", Listen("localhost", 65535)),
    ("FEEDD_LISTEN", "feed-1.desk.local:80", Listen("feed-1.desk.local", 80)),
    ("FEEDD_STALE_AFTER_SECONDS", "2.5", 2.5),
    ("FEEDD_STALE_AFTER_SECONDS", ".5", 0.5),
    ("FEEDD_STALE_AFTER_SECONDS", "1e-3", 0.001),
    ("FEEDD_STALE_AFTER_SECONDS_<SYMBOL>", "60", 60.0),
    ("FEEDD_LATENCY_LIMIT_SECONDS", "1E1", 10.0),
    ("FEEDD_RESUME_AFTER_SECONDS", "0.1", 0.1),
    ("FEEDD_RESUME", "MANUAL", ResumePolicy.MANUAL),
    ("FEEDD_CSV_PATH", "", None),
    ("FEEDD_CSV_PATH", "/data/my csv", Path("/data/my csv")),
    ("FEEDD_CSV_MINUTES", "1.5", 1.5),
    ("FEEDD_CSV_SPEED", "0", 0.0),
    ("FEEDD_LOG_LEVEL", "DEBUG", LogLevel.DEBUG),
    ("FEEDD_LOG_FORMAT", "json", LogFormat.JSON),
    ("FEEDD_CONNECT_BUDGET", "300", 300),
    ("FEEDD_ROTATE_AFTER_HOURS", "23.9", 23.9),
    ("FEEDD_ROTATE_WINDOW", "", None),
    ("FEEDD_ROTATE_WINDOW", "22:30-02:00", RotateWindow(22 * 60 + 30, 120)),
    ("FEEDD_REDUNDANCY", "2", 2),
    ("FEEDD_SYMBOLS_PER_CONNECTION", "100", 100),
    ("FEEDD_EXCHANGE_STATUS_SECONDS", "30", 30.0),
    ("FEEDD_BACKFILL", "yes", True),
    ("FEEDD_ALERTMANAGER_URL", "http://alerts:9093", "http://alerts:9093"),
    ("FEEDD_ALERTMANAGER_URL", "https://ops/alertmanager/", "https://ops/alertmanager"),
    ("FEEDD_ALERTMANAGER_URL", "", None),
    ("FEEDD_RUNBOOK_URL", "https://wiki/feedd/runbook.md", "https://wiki/feedd/runbook.md"),
    ("FEEDD_WEB_CONFIG", "web.yml", Path("web.yml")),
    ("FEEDD_WEB_CONFIG", "", None),
    ("FEEDD_CONSUMERS_MAX", "1", 1),
    ("FEEDD_CONSUMER_QUEUE_BYTES", "1024", 1024),
    ("FEEDD_CONSUMER_QUEUE_MESSAGES", "1", 1),
]

BAD: list[tuple[str, str, str, str | None]] = [
    *(("FLAG_REALTIME", text, YES_OR_NO, None) for text in ("", "2", "01", "y", "enabled")),
    ("FEEDD_SYMBOLS", "", "symbols separated by commas, none of them empty", None),
    ("FEEDD_SYMBOLS", "BTCUSDT,,ETHUSDT", "symbols separated by commas, none of them empty", None),
    ("FEEDD_SYMBOLS", "BTCUSDT,", "symbols separated by commas, none of them empty", None),
    *(
        ("FEEDD_SYMBOLS", f"BTCUSDT,{text}", SYMBOLS, repr(text.upper()))
        for text in ("BTC/USDT", "btcusdt@trade", "A B", "A?B", "A&B", "A#B", "A%B", "A=B", "A'B", "A\\B")
    ),
    ("FEEDD_SYMBOLS", "BTCUSDT, binance-usdm:BTCUSDT", VENUES_SYMBOL, "'binance-usdm:BTCUSDT'"),
    ("FEEDD_SYMBOLS", "A\x00B", SYMBOLS, "'A\\x00B'"),
    ("FEEDD_SYMBOLS", "A\u200bB", SYMBOLS, "'A\\u200bB'"),
    ("FEEDD_SYMBOLS", "BTCUSDT,btcusdt", "each name once", "'BTCUSDT' 2 times"),
    ("FEEDD_VENUE", "kraken", f"one of {', '.join(VenueName)}", None),
    *(
        ("FEEDD_WS_URL", text, WS_URL, repr(text))
        for text in (
            "wss://stream.binance.com/",
            "wss://stream.binance.com/ws",
            "https://stream.binance.com",
            "WSS://stream.binance.com",
            "stream.binance.com:9443",
            "wss://",
            "wss://host:",
            "wss://host:0",
            "wss://host:65536",
            "wss://host?x=1",
            "wss://[::1",
            "wss://[fe80]:1",
            "wss://300.0.0.1",
            "wss://-a",
        )
    ),
    ("FEEDD_REST_URL", "ws://host", REST_URL, "'ws://host'"),
    ("FEEDD_REST_URL", "https://me:secret@host", REST_URL, "'https://…@host'"),
    ("FEEDD_STREAMS", "", "streams separated by commas, none of them empty", None),
    ("FEEDD_STREAMS", "trade,trade", "each name once", "'trade' 2 times"),
    *(
        ("FEEDD_LISTEN", text, LISTEN, None)
        for text in (
            "",
            "9745",
            ":9745",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "::1:9745",
            "*:9745",
            "a b:1",
        )
    ),
    *(
        (name, text, SECONDS, None)
        for name in (
            "FEEDD_STALE_AFTER_SECONDS",
            "FEEDD_STALE_AFTER_SECONDS_<SYMBOL>",
            "FEEDD_LATENCY_LIMIT_SECONDS",
            "FEEDD_RESUME_AFTER_SECONDS",
            "FEEDD_EXCHANGE_STATUS_SECONDS",
        )
        for text in ("", "0", "-1", "ten", "10s", "nan", "inf", "1e999", "1_0", "٣", "0x1", "1,5")
    ),
    ("FEEDD_RESUME", "", "one of auto, manual", None),
    ("FEEDD_CSV_PATH", "a\nb", PATH, None),
    ("FEEDD_CSV_MINUTES", "0", "a number of minutes above 0", None),
    ("FEEDD_CSV_SPEED", "-1", "a number of 0 or more", None),
    ("FEEDD_CSV_SPEED", "inf", "a number of 0 or more", None),
    ("FEEDD_LOG_LEVEL", "loud", "one of debug, info, warning, error", None),
    ("FEEDD_LOG_FORMAT", "xml", "one of text, json", None),
    *(
        ("FEEDD_CONNECT_BUDGET", text, "a whole number from 1 to 300", None)
        for text in ("", "0", "301", "1.5", "-1", "9" * 5000)
    ),
    ("FEEDD_ROTATE_AFTER_HOURS", "24", HOURS, None),
    ("FEEDD_ROTATE_AFTER_HOURS", "0", HOURS, None),
    *(
        ("FEEDD_ROTATE_WINDOW", text, WINDOW, None)
        for text in ("22:00", "22:00-24:00", "1:00-2:00", "01:60-02:00", "02:00-02:00", "02:00 - 03:00")
    ),
    ("FEEDD_REDUNDANCY", "3", "a whole number from 1 to 2", None),
    ("FEEDD_SYMBOLS_PER_CONNECTION", "1025", "a whole number from 1 to 1024", None),
    ("FEEDD_BACKFILL", "", YES_OR_NO, None),
    ("FEEDD_ALERTMANAGER_URL", "alerts:9093", ALERTMANAGER_URL, "'alerts:9093'"),
    ("FEEDD_RUNBOOK_URL", "", ALERTMANAGER_URL, "''"),
    ("FEEDD_ALERTMANAGER_URL", "http://alerts:9093/?a=b", ALERTMANAGER_URL, "'http://alerts:9093/?a=b'"),
    ("FEEDD_WEB_CONFIG", "a\tb", PATH, None),
    ("FEEDD_CONSUMERS_MAX", "0", "a whole number from 1 to 1000000", None),
    ("FEEDD_CONSUMER_QUEUE_BYTES", "1M", "a whole number from 1024 to 1073741824", None),
    ("FEEDD_CONSUMER_QUEUE_MESSAGES", "0", "a whole number from 1 to 1000000", None),
]


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_good_text_becomes_its_value(name: str, text: str, value: object) -> None:
    parsed = KEYS_BY_NAME[name].parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("name", "text", "expected", "found"), BAD)
def test_bad_text_is_refused_with_what_was_expected(
    name: str, text: str, expected: str, found: str | None
) -> None:
    with pytest.raises(Unexpected) as caught:
        KEYS_BY_NAME[name].parse(text)
    assert (caught.value.expected, caught.value.found) == (expected, found)


@pytest.mark.parametrize("name", KEYS_BY_NAME)
def test_every_key_is_in_both_tables(name: str) -> None:
    assert name in {row[0] for row in GOOD}
    assert name in {row[0] for row in BAD} | {"FLAG_TRADING_HALTED"}


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
@given(text=st.text())
def test_any_text_is_parsed_or_refused(key: Any, text: str) -> None:
    try:
        key.parse(text)
    except Unexpected as error:
        assert error.expected


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_is_explained_in_sentences(key: Any) -> None:
    assert re.fullmatch(r"\S.*\.", key.meaning)
    assert re.fullmatch(r"[a-zA-Z_]\S*[, ].*\.", key.change_when)
