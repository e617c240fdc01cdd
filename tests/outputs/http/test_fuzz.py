"""Fuzzed handshakes, requests and frames against every path of a daemon in a process of its own.

Whatever comes in, there is no 5xx but a 503 that says what is halted or static, no traceback, no growth, and
nothing changes.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd.outputs.http import handlers
from tests.alerts.stack import free_port
from tests.outputs.webs import TOKEN, digest, hashed

WEBSOCKETS = ["/gate/events", "/stream", "/ws", "/ws/spy@trade"]
PATHS = ["/", *(path for path, _ in handlers._PAGES), *WEBSOCKETS, "/nowhere", "*", ""]
ANSWER_SECONDS = 0.02
"""Who has not answered by then was not asked anything whole."""
GROWTH_KIB = 12 * 1024
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: chat",
)
FUZZ = settings(max_examples=100, deadline=None)


class Daemon:
    """A daemon on the sample of static data, and what it looked like before it was fuzzed."""

    def __init__(self, folder: Path, web_config: str) -> None:
        self.port = free_port()
        self.log = folder / "feedd.log"
        self.credentials = (f"Authorization: Bearer {TOKEN}",) if web_config else ()
        environ = {"FEEDD_LISTEN": f"127.0.0.1:{self.port}"}
        if web_config:
            (folder / "server.yml").write_text(web_config)
            environ["FEEDD_WEB_CONFIG"] = str(folder / "server.yml")
        command = [sys.executable, "-m", "feedd", "run", "--source", "csv", "--symbols", "SPY,QQQ"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, env=environ)

    def request(self, method: str, target: str, *headers: str) -> bytes:
        """Return a well-formed request with credentials."""
        lines = [f"{method} {target} HTTP/1.1", "Host: feedd", *self.credentials, *headers]
        return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"

    def say(self, *texts: bytes) -> bytes:
        """Send this over a connection of its own; returns what is answered at once."""
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as client:
                client.settimeout(ANSWER_SECONDS)
                for text in texts:
                    client.sendall(text)
                while piece := client.recv(65536):
                    answer += piece
        except (ConnectionError, TimeoutError):
            pass
        return answer

    def ask(self, target: str) -> bytes:
        """Return the body of a page, however long it takes."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.sendall(self.request("GET", target, "Connection: close"))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 200 " in head.partition(b"\r\n")[0], head
        return body

    def state(self) -> dict[str, Any]:
        """Return what no request may change."""
        found = json.loads(self.ask("/status"))
        gates = {name: gate["reasons"] for name, gate in found["symbols"].items()}
        return {"gates": gates, **{key: found[key] for key in ("source", "flags", "venue", "ready")}}

    def memory_kib(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def until(self, condition: Any, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)


@pytest.fixture(scope="module", params=["open", "guarded"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    users = f"basic_auth_users: {{alice: {hashed()}}}\nbearer_tokens: {{desk7: '{digest()}'}}\n"
    found = Daemon(tmp_path_factory.mktemp("fuzz"), "" if request.param == "open" else users)
    try:
        found.until(lambda: b" 200 " in found.say(found.request("GET", "/-/healthy"))[:16])
        found.until(lambda: found.state()["gates"] == {"SPY": [], "QQQ": []})
        for path in PATHS * 20:  # until all that is made once has been made
            found.say(found.request("GET", path, "Connection: close"), b"\0" * 100)
        state, memory, descriptors = found.state(), found.memory_kib(), found.descriptors()
        yield found
        assert found.state() == state
        assert found.memory_kib() - memory < GROWTH_KIB
        found.until(lambda: found.descriptors() <= descriptors)
        said = found.log.read_text()
        assert not re.search("Traceback|Error|level=error|bug", said), said
        assert all(line.startswith("time=") for line in said.splitlines()), said
        assert len(said.splitlines()) < 50, said
        found.process.send_signal(signal.SIGTERM)
        assert found.process.wait(10) == 0
    finally:
        found.process.kill()
        found.process.wait()


def check(answer: bytes, is_without_body: bool = False) -> None:
    """Fail where a request has got the better of the daemon."""
    for status in re.findall(rb"HTTP/1\.[01] (\d+) ", answer):
        says_why = is_without_body or re.search(b"halted|static", answer)
        assert int(status) < 500 or (status == b"503" and says_why), answer
    assert b"Traceback" not in answer


METHODS = st.sampled_from(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI", "get"]
)
LINE = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=40)
TARGETS = st.one_of(
    st.sampled_from(PATHS),
    st.builds("{}{}".format, st.sampled_from(PATHS), LINE),
    st.builds(
        "{}?{}={}".format, st.sampled_from(PATHS), st.sampled_from(["symbol", "allow", "streams"]), LINE
    ),
    st.builds("{}?{}".format, st.sampled_from(PATHS), LINE),
    st.builds("http://{}{}".format, LINE, st.sampled_from(PATHS)),
)
HEADERS = st.one_of(
    st.sampled_from(UPGRADE),
    st.builds(
        "{}: {}".format,
        st.sampled_from(
            [
                "Host",
                "Accept",
                "Accept-Encoding",
                "Authorization",
                "Connection",
                "Content-Encoding",
                "Content-Length",
                "Cookie",
                "Expect",
                "Origin",
                "Range",
                "Sec-WebSocket-Extensions",
                "Sec-WebSocket-Key",
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Version",
                "Transfer-Encoding",
                "Upgrade",
            ]
        ),
        st.one_of(
            LINE,
            st.sampled_from(
                [
                    "0",
                    "-1",
                    "99999999999999999999",
                    "chunked,gzip",
                    "identity",
                    "close",
                    "Upgrade",
                    "websocket",
                    "13",
                    "100-continue",
                    "gzip",
                    "permessage-deflate",
                    "permessage-deflate;server_max_window_bits=99",
                    "Basic",
                    "Bearer",
                    "bytes=0-",
                ]
            ),
            st.builds("Basic {}".format, LINE),
            st.builds("Bearer {}".format, LINE),
        ),
    ),
    st.builds("{}: {}".format, LINE, LINE),
    LINE,
)


@pytest.mark.parametrize(
    ("method", "target"), [("OPTIONS", "*"), ("CONNECT", "feedd:80"), ("GET", "/nothing"), ("GET", "/gate")]
)
def test_expect_header_that_is_no_text_changes_nothing(daemon: Daemon, method: str, target: str) -> None:
    plain = daemon.request(method, target, "Connection: close")
    strange = daemon.request(method, target, "Connection: close", "Expect: ?").replace(b"?", b"\xff")
    check(daemon.say(strange))
    assert first_line(daemon.say(strange)) == first_line(daemon.say(plain)) != b""


def first_line(answer: bytes) -> bytes:
    return answer.partition(b"\r\n")[0]


@FUZZ
@given(method=METHODS, target=TARGETS, headers=st.lists(HEADERS, max_size=8), body=st.binary(max_size=200))
def test_requests(daemon: Daemon, method: str, target: str, headers: list[str], body: bytes) -> None:
    check(daemon.say(daemon.request(method, target, *headers) + body), is_without_body=method == "HEAD")


@FUZZ
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4))
def test_bytes_that_are_no_http(daemon: Daemon, texts: list[bytes]) -> None:
    check(daemon.say(*texts))


@FUZZ
@given(st.sampled_from(PATHS), st.booleans(), st.integers(0, 300), st.integers(0, 20), st.binary(max_size=20))
def test_requests_with_a_hole(
    daemon: Daemon, path: str, is_upgrade: bool, start: int, length: int, filling: bytes
) -> None:
    text = daemon.request("GET", path, *(UPGRADE if is_upgrade else ()))
    check(daemon.say(text[:start] + filling + text[start + length :]))


@FUZZ
@given(st.sampled_from(PATHS), st.lists(st.sampled_from(PATHS), max_size=50))
def test_many_requests_at_once(daemon: Daemon, first: str, others: list[str]) -> None:
    check(daemon.say(b"".join(daemon.request("GET", path) for path in [first, *others])))


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Draw a WebSocket frame: a good one, or one that lies about itself."""
    payload = draw(
        st.one_of(
            st.binary(max_size=200),
            st.builds(
                lambda method, params, number: json.dumps(
                    {"method": method, "params": params, "id": number}
                ).encode(),
                st.sampled_from(["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "halt"]),
                st.one_of(st.none(), st.lists(st.one_of(LINE, st.integers(), st.booleans()), max_size=5)),
                st.one_of(st.none(), st.integers(), LINE),
            ),
        )
    )
    first = draw(st.one_of(st.sampled_from([0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, 0x00]), st.integers(0, 255)))
    size = draw(
        st.one_of(st.just(len(payload)), st.sampled_from([0, 125, 126, 127, 65536, 2**31, 2**63 - 1]))
    )
    is_masked = draw(st.sampled_from([True, True, True, False]))
    if size < 126:
        head = struct.pack("!BB", first, size | is_masked << 7)
    elif size < 65536:
        head = struct.pack("!BBH", first, 126 | is_masked << 7, size)
    else:
        head = struct.pack("!BBQ", first, 127 | is_masked << 7, size)
    return head + (b"\0\0\0\0" if is_masked else b"") + payload


@FUZZ
@given(st.sampled_from(WEBSOCKETS), st.sampled_from(["", "?allow=static"]), st.lists(frames(), max_size=8))
def test_frames(daemon: Daemon, path: str, query: str, sent: list[bytes]) -> None:
    check(daemon.say(daemon.request("GET", path + query, *UPGRADE), *sent))


def test_frames_meet_a_websocket(daemon: Daemon) -> None:
    good = struct.pack("!BB", 0x89, 0x80 | 4) + b"\0\0\0\0ping"
    answer = daemon.say(daemon.request("GET", "/gate/events?allow=static", *UPGRADE), good)
    assert b'{"type":"state"' in answer
    assert b"\x8a\x04ping" in answer
