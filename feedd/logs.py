"""Log lines for the operator: one event and its fields, as `key=value` text or as one JSON object.

Under systemd each line starts with its severity in the journal's notation, so that `journalctl -p warning`
works.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson

from feedd.model import LogFormat, LogLevel

_SYSLOG_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Return what a logging call takes as `extra` to carry these fields."""
    return {"fields": values}


def set_up(level: LogLevel, log_format: LogFormat, environ: Mapping[str, str] = os.environ) -> None:
    """Send feedd's log to standard error, in that form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(log_format, for_journal="JOURNAL_STREAM" in environ))
    root = logging.getLogger("feedd")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
    # It warns of every handshake that offers a subprotocol: whoever connects could fill the journal.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


def discard() -> None:
    """Log nothing: for a daemon that is there to be broken."""
    root = logging.getLogger("feedd")
    root.handlers[:] = [logging.NullHandler()]
    root.propagate = False


class _Formatter(logging.Formatter):
    def __init__(self, log_format: LogFormat, for_journal: bool) -> None:
        super().__init__()
        self._write = _as_json if log_format is LogFormat.JSON else _as_text
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, object] = {"event": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        priority = f"<{_SYSLOG_PRIORITIES.get(record.levelno, 3)}>" if self._for_journal else ""
        return priority + self._write(record, values)


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _as_json(record: logging.LogRecord, values: Mapping[str, object]) -> str:
    line = {"time": _timestamp(record), "level": record.levelname.lower(), **values}
    return orjson.dumps(line, default=str).decode()


def _as_text(record: logging.LogRecord, values: Mapping[str, object]) -> str:
    pairs = {"time": _timestamp(record), "level": record.levelname.lower(), **values}
    return " ".join(f"{key}={_quoted(value)}" for key, value in pairs.items())


def _quoted(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    if text and not any(character in text for character in ' "=\n'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
