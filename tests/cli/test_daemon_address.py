"""How the operator's commands find the daemon, and the commands themselves at a daemon behind TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from feedd.cli.daemon_address import by_settings, by_url
from feedd.config.settings import Settings
from feedd.errors import SettingsError
from feedd.model import Listen
from tests.alerts.stack import Process, free_port, start
from tests.cli.test_main import ENVIRONMENT
from tests.outputs.webs import PASSWORD, TLS, Files, hashed

USERS = f"basic_auth_users: {{alice: {hashed()}}}\n"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.issue()
    return files


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9745"),
        ("0.0.0.0", "http://127.0.0.1:9745"),
        ("::", "http://[::1]:9745"),
        ("desk.example", "http://desk.example:9745"),
    ],
)
def test_daemon_is_found_where_it_listens(host: str, url: str) -> None:
    assert str(by_settings(Settings(listen=Listen(host, 9745)), None)) == url


def test_daemon_behind_tls_is_known_by_its_certificate(files: Files) -> None:
    address = by_settings(Settings(web_config=files.write(TLS)), None)
    assert str(address) == "https://127.0.0.1:9745"
    assert isinstance(address.tls, aiohttp.Fingerprint)
    assert str(by_settings(Settings(web_config=files.write(USERS)), None)) == "http://127.0.0.1:9745"


def test_url_may_name_the_authority_to_trust(files: Files) -> None:
    assert isinstance(by_url("https://feedd", files.folder / "authority.pem", None).tls, ssl.SSLContext)
    assert by_url("https://feedd", None, None).tls is True


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("alice:hush:hush\n", aiohttp.encode_basic_auth("alice", "hush:hush")),
        ("  abc-def \n", "Bearer abc-def"),
    ],
)
def test_credentials_are_read_from_a_file(tmp_path: Path, text: str, header: str) -> None:
    (tmp_path / "credentials").write_text(text)
    assert by_settings(Settings(), tmp_path / "credentials").headers["Authorization"] == header


@pytest.mark.parametrize("text", ["", "\n", "two\nlines"])
def test_credentials_that_are_none_are_refused_unseen(tmp_path: Path, text: str) -> None:
    (tmp_path / "credentials").write_text(text)
    with pytest.raises(SettingsError, match="expected a line with user:password") as refused:
        by_url("http://feedd", None, tmp_path / "credentials")
    assert "lines" not in str(refused.value)


def test_files_and_urls_that_are_not_there_are_named(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(SettingsError, match="--credentials: expected a readable file"):
        by_url("http://feedd", None, absent)
    with pytest.raises(SettingsError, match="--ca: expected a file of certificates in PEM"):
        by_url("http://feedd", absent, None)
    absent.write_text("rubbish")
    with pytest.raises(SettingsError, match="--ca: expected a file of certificates in PEM"):
        by_url("http://feedd", absent, None)
    with pytest.raises(SettingsError, match=r"--url: expected http\(s\)://host:port") as refused:
        by_url("feedd:9745:secret", None, None)
    assert "secret" not in str(refused.value)


async def run(*arguments: str) -> tuple[int, str]:
    """Run feedd to its end. Returns its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "feedd", *arguments,
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def running_behind(env_file: Path) -> Process:
    """Start a daemon, on the event loop that is used in production, and wait until it listens."""
    log = env_file.with_suffix(".log")
    daemon = await start(log, sys.executable, "-m", "feedd", "run", "--env-file", str(env_file))
    async with asyncio.timeout(20.0):
        while "event=started" not in log.read_text():  # noqa: ASYNC110  # a file tells nobody
            await asyncio.sleep(0.02)
    return daemon


async def test_commands_reach_a_daemon_behind_tls_and_a_password(files: Files) -> None:
    env_file, credentials = files.folder / "feedd.env", files.folder / "credentials"
    files.write(TLS + USERS)
    listen = f"0.0.0.0:{free_port()}"
    env_file.write_text(
        f"FEEDD_LISTEN={listen}\nFEEDD_SYMBOLS=SPY\nFEEDD_WEB_CONFIG={files.web_config}\nFLAG_TRADING_HALTED=0\n"
    )
    credentials.write_text(f"alice:{PASSWORD}\n")
    known = ("--env-file", str(env_file), "--credentials", str(credentials))
    url = f"https://{listen.replace('0.0.0.0', 'localhost')}"
    daemon = await running_behind(env_file)
    try:
        for command in (
            ("status", *known),
            (
                "status",
                "--url",
                url,
                "--ca",
                f"{files.folder}/authority.pem",
                "--credentials",
                str(credentials),
            ),
        ):
            code, printed = await run(*command)
            assert (code, "SPY" in printed) == (0, True), printed
        code, printed = await run("halt", *known)
        assert (code, "confirmed by the daemon" in printed) == (0, True), printed
        code, printed = await run("status", *known[:2])
        assert code == 1
        assert "401, it wants credentials (--credentials)" in printed
        await daemon.stop()
        assert daemon.process.returncode == 0
        assert f"listening url=https://{listen}" in daemon.log.read_text()
        assert "Traceback" not in daemon.log.read_text()
    finally:
        await daemon.stop()


async def test_halt_sets_the_flag_even_if_the_daemon_can_not_be_found(files: Files) -> None:
    env_file = files.folder / "feedd.env"
    env_file.write_text(f"FEEDD_WEB_CONFIG={files.folder}/absent.yml\nFLAG_TRADING_HALTED=0\n")
    code, printed = await run("halt", "--env-file", str(env_file), "--timeout", "0.1")
    assert code == 1
    assert "absent.yml: FEEDD_WEB_CONFIG: expected a readable file" in printed
    assert (
        "FLAG_TRADING_HALTED=1 is set, but the daemon at http://127.0.0.1:9745 has not confirmed" in printed
    )
    assert "FLAG_TRADING_HALTED=1" in env_file.read_text()


async def test_wrong_web_config_is_exit_2_at_check_and_at_the_start(files: Files) -> None:
    env_file = files.folder / "feedd.env"
    env_file.write_text(
        f"FEEDD_LISTEN=127.0.0.1:0\nFEEDD_WEB_CONFIG={files.write('basic_auth_users: {a: b}')}\n"
    )
    for command in ("check", "run"):
        code, printed = await run(command, "--env-file", str(env_file))
        assert code == 2
        assert "feedd: " + str(files.web_config) + ": basic_auth_users.a: expected a name" in printed
        assert "Traceback" not in printed
    files.write(USERS)
    code, printed = await run("check", "--env-file", str(env_file))
    assert code == 0, printed
