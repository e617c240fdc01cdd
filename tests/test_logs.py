"""Log lines: one line an event, whatever stands in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest

from feedd import logs
from feedd.logs import fields
from feedd.model import LogFormat, LogLevel

log = logging.getLogger("feedd.tests")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave feedd's logger as it was found."""
    root = logging.getLogger("feedd")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before


def test_text_line_has_the_event_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogLevel.INFO, LogFormat.TEXT, {})
    log.warning(
        "trading halted", extra=fields(symbol="BTCUSDT", reasons=("stale", "latency"), detail='a "b"\nc')
    )
    line = capsys.readouterr().err
    assert line.startswith("time=20")
    assert line.endswith(
        'level=warning event="trading halted" symbol=BTCUSDT reasons=stale,latency detail="a \\"b\\"\\nc"\n'
    )


def test_json_line_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogLevel.INFO, LogFormat.JSON, {})
    log.info("connected", extra=fields(symbol="BTCUSDT", path=ValueError("odd")))
    parsed = orjson.loads(capsys.readouterr().err)
    assert parsed.pop("time").endswith("+00:00")
    assert parsed == {"level": "info", "event": "connected", "symbol": "BTCUSDT", "path": "odd"}


def test_traceback_stays_on_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogLevel.INFO, LogFormat.TEXT, {})
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        log.exception("a bug")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "ZeroDivisionError" in text


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)],
)
def test_journal_is_told_the_severity(level: int, priority: int, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogLevel.DEBUG, LogFormat.TEXT, {"JOURNAL_STREAM": "8:1"})
    log.log(level, "event")
    assert capsys.readouterr().err.startswith(f"<{priority}>time=")


def test_less_severe_lines_than_asked_for_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(LogLevel.WARNING, LogFormat.TEXT, {})
    log.info("connected")
    assert capsys.readouterr().err == ""
