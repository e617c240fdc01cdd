"""What the HTTP side logs of requests that go wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from feedd.outputs import web
from feedd.settings import resolve
from tests.running import Running, running

SETTINGS = resolve(None, {}, {"FEEDD_SYMBOLS": "SPY", "FEEDD_LISTEN": "127.0.0.1:0"}).settings
HTTP_LOG = "feedd.outputs.http_log"


async def status_line(feedd: Running, request: bytes) -> bytes:
    address = urlsplit(feedd.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", "Bad status line:"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "Got more than 8190 bytes when reading"),
    ],
)
async def test_request_that_is_no_http_is_a_line_without_a_traceback(
    sent: bytes, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(SETTINGS) as feedd:
        assert b" 400 " in await status_line(feedd, sent)
    [record] = [record for record in caplog.records if record.name == HTTP_LOG]
    assert (record.levelno, record.getMessage()) == (logging.INFO, "a request can't be read")
    assert record.exc_info is None
    said: dict[str, Any] = record.__dict__["fields"]
    assert said["detail"].startswith(detail)
    assert len(said["detail"]) < 200
    assert said["request"] == "Error handling request from 127.0.0.1"
    assert "aiohttp.server" not in {record.name for record in caplog.records}


async def test_bug_in_an_answer_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(web, "status", lambda *_: 1 // 0)
    async with running(SETTINGS) as feedd:
        status, _ = await feedd.get("/status")
    assert status == 500
    [record] = [record for record in caplog.records if record.name == HTTP_LOG]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
