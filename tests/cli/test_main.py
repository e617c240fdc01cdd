"""The command line as a user runs it: a process of its own, its exit code and what it prints."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from feedd._version import __version__

RECORDING = Path(__file__).parents[3] / "shared/data/binance-spot-2021-10-12.ws.txt"
RECORDED = {"depth@100ms": 177, "bookTicker": 84, "aggTrade": 2, "kline_1m": 2}
SYMBOLS = "NKNUSDT,BLZETH,LRCBTC,RUNEEUR"
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("FEEDD_", "FLAG_"))}


def feedd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run feedd to its end."""
    return subprocess.run(
        [sys.executable, "-m", "feedd", *arguments],
        env=ENVIRONMENT | environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=30,
    )


class Started:
    """A feedd that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read what it prints until a line matches."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"no line matched {pattern!r}:\n{''.join(self.lines)}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=10)
        self.lines += rest.splitlines(keepends=True)
        return self.process.returncode


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[Started]:
    """Start feedd; kill it if the test has not ended it."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "feedd", *arguments],
        env=ENVIRONMENT | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    with process:
        try:
            yield Started(process)
        finally:
            process.kill()


def test_version_is_printed() -> None:
    outcome = feedd("--version")
    assert (outcome.returncode, outcome.stdout) == (0, f"feedd {__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--source", "satellite"]])
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    assert feedd(*arguments).returncode == 2


def test_check_prints_every_setting_and_its_origin(tmp_path: Path) -> None:
    env_file = tmp_path / "feedd.env"
    env_file.write_text("FLAG_REALTIME=1\nFEEDD_SYMBOLS=ETHUSDT\n")
    outcome = feedd("check", "--env-file", str(env_file), FEEDD_LATENCY_LIMIT_SECONDS="2")
    assert outcome.returncode == 0
    assert f"FEEDD_SYMBOLS=ETHUSDT  # {env_file}:2\n" in outcome.stdout
    assert "FEEDD_LATENCY_LIMIT_SECONDS=2  # environment\n" in outcome.stdout
    assert "FEEDD_REDUNDANCY=1  # default\n" in outcome.stdout


def test_wrong_settings_are_exit_2_with_all_problems(tmp_path: Path) -> None:
    env_file = tmp_path / "feedd.env"
    env_file.write_text("FLAG_REALTIME=maybe\nFEEDD_SYMBOL=ETHUSDT\n")
    for command in ("check", "run"):
        outcome = feedd(command, "--env-file", str(env_file))
        assert outcome.returncode == 2
        assert f"feedd: {env_file}:1: FLAG_REALTIME: expected" in outcome.stderr
        assert f"feedd: {env_file}:2: FEEDD_SYMBOL: expected" in outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_missing_env_file_is_exit_2(tmp_path: Path) -> None:
    outcome = feedd("run", "--env-file", str(tmp_path / "none.env"))
    assert outcome.returncode == 2
    assert "No such file" in outcome.stderr


def test_open_address_without_web_config_is_refused() -> None:
    outcome = feedd("run", "--listen", "0.0.0.0:9745")
    assert outcome.returncode == 2
    assert "FEEDD_WEB_CONFIG" in outcome.stderr


def test_status_without_a_daemon_is_exit_1() -> None:
    outcome = feedd("status", "--url", "http://127.0.0.1:9")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("feedd: no daemon answers at http://127.0.0.1:9")


def test_forgotten_realtime_flag_is_logged_loudly() -> None:
    with started("run", "--listen", "127.0.0.1:0") as daemon:
        daemon.read_until("event=started .*source=static")
        assert daemon.stop() == 0
    assert any("level=warning" in line and "FLAG_REALTIME" in line for line in daemon.lines)


def test_taken_port_is_exit_1_with_a_line_that_says_so() -> None:
    with started("run", "--listen", "127.0.0.1:0") as daemon:
        port = daemon.read_until(r"event=listening url=http://127.0.0.1:(\d+)")[1]
        outcome = feedd("run", "--listen", f"127.0.0.1:{port}")
        assert outcome.returncode == 1
        assert "address already in use" in outcome.stderr
        assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_0(number: signal.Signals) -> None:
    with started("run", "--listen", "127.0.0.1:0") as daemon:
        daemon.read_until("event=started")
        assert daemon.stop(number) == 0
    assert any("event=stopped" in line for line in daemon.lines)


def test_json_log_is_one_object_a_line() -> None:
    with started("run", "--listen", "127.0.0.1:0", FEEDD_LOG_FORMAT="json") as daemon:
        daemon.read_until('"event":"listening"')
        daemon.stop()
    assert all(line.startswith('{"time":"') for line in daemon.lines)


@pytest.mark.skipif(not RECORDING.exists(), reason="the recorded session is not beside the project")
def test_recorded_session_is_accounted_for_to_the_message(tmp_path: Path) -> None:
    """The daemon reads all 265 messages of a real session, and invents none."""
    with started(
        "exchange", "--replay", str(RECORDING), "--listen", "127.0.0.1:0", "--speed", "4"
    ) as exchange:
        address = exchange.read_until(r"ws://(\S+)")[1]
        env_file = tmp_path / "feedd.env"
        env_file.write_text(
            f"FLAG_REALTIME=1\nFEEDD_SYMBOLS={SYMBOLS}\nFEEDD_STREAMS={','.join(RECORDED)}\n"
            f"FEEDD_WS_URL=ws://{address}\nFEEDD_REST_URL=http://{address}\nFEEDD_LISTEN=127.0.0.1:0\n"
            "FEEDD_STALE_AFTER_SECONDS=2\nFEEDD_RESUME_AFTER_SECONDS=1\n"
        )
        with started("run", "--env-file", str(env_file)) as daemon:
            url = daemon.read_until(r"event=listening url=(\S+)")[1]
            # A thin market's silence halts, and after the last message it lasts.
            daemon.read_until("symbol=NKNUSDT reasons=stale added=stale")
            for symbol in SYMBOLS.split(","):
                assert f'"{symbol}":{{"halted":true,"reasons":["stale"' in _get(f"{url}/gate")
            samples = [
                sample
                for family in text_string_to_metric_families(_get(f"{url}/metrics"))
                for sample in family.samples
            ]
            daemon.stop()

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    assert {stream: total("feedd_messages_total", stream=stream) for stream in RECORDED} == RECORDED
    assert total("feedd_messages_total") == 265
    assert total("feedd_invalid_messages_total") == 0
    assert total("feedd_gaps_total") == 0
    assert total("feedd_duplicate_messages_total") == 0
    assert total("feedd_unknown_fields_total") == 0
    for name in ("exchange", "total"):
        assert total(f"feedd_{name}_latency_seconds_count") == 177 + 2 + 2, "only what carries an event time"
    assert total("feedd_processing_latency_seconds_count") == 265
    assert total("feedd_negative_latency_total") == 0


def _get(url: str) -> str:
    try:
        with urlopen(url, timeout=10) as response:
            body: bytes = response.read()
    except HTTPError as refusal:
        body = refusal.read()
        refusal.close()
    return body.decode()


def test_demo_whose_port_is_taken_is_exit_1_with_a_line_that_says_so() -> None:
    with started("run", "--listen", "127.0.0.1:0") as daemon:
        address = daemon.read_until(r"event=listening url=http://(\S+)")[1]
        outcome = feedd("demo", "--listen", address, "--exchange-port", "0")
        assert outcome.returncode == 1
        assert "address already in use" in outcome.stderr
        assert "Traceback" not in outcome.stderr


def test_demo_has_three_symbols_live_and_status_shows_them() -> None:
    with started("demo", "--listen", "127.0.0.1:0", "--exchange-port", "0") as demo:
        url = demo.read_until(r"(http://\S+)/ +all pages")[1]
        for _ in range(3):
            demo.read_until('event="trading open"')
        outcome = feedd("status", "--url", url)
        assert outcome.returncode == 0
        assert len(re.findall(r"^(BTC|ETH|SOL)USDT +open .* live ", outcome.stdout, re.MULTILINE)) == 3
        as_json = feedd("status", "--url", url, "--json")
        assert as_json.stdout.startswith('{"version"')
        assert demo.stop(signal.SIGINT) == 0
