"""The HTTP side behind a web config: TLS, passwords, tokens, and their change while it runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import feedd
from feedd.cli.daemon_address import by_settings, by_url
from feedd.cli.flag_commands import FLAG_COMMANDS, set_and_confirm
from feedd.cli.status import show_status
from feedd.config.resolve import resolve
from feedd.daemon import DaemonTiming
from feedd.errors import SettingsError
from feedd.exchange import Exchange, ExchangeSettings
from feedd.model import Rejection
from tests.outputs.webs import PASSWORD, TLS, TOKEN, Files, digest, hashed
from tests.running import SYMBOLS, EnvFile, Running, running, running_on

USERS = f"basic_auth_users: {{alice: {hashed()}}}\n"
TOKENS = f"bearer_tokens: {{desk7: '{digest()}'}}\n"
BASIC = {"Authorization": aiohttp.encode_basic_auth("alice", PASSWORD)}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATHS = ("/", "/metrics", "/gate", "/gate/events", "/status", "/-/ready", "/-/healthy", "/nowhere")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.issue()
    return files


@asynccontextmanager
async def guarded(
    files: Files, text: str, timing: DaemonTiming | None = None, **more: str
) -> AsyncIterator[Running]:
    """Run a daemon on static data behind that web config; its URL says what it speaks."""
    values = {"FEEDD_LISTEN": "127.0.0.1:0", "FEEDD_WEB_CONFIG": str(files.write(text))}
    async with running(resolve(None, {}, values | more).settings, timing=timing) as daemon:
        yield replace(daemon, url=daemon.url.replace("http", daemon.daemon.http.scheme))


async def status_of(daemon: Running, path: str, context: Any = True, **headers: str) -> int:
    async with daemon.http.get(daemon.url + path, headers=headers, ssl=context) as response:
        return response.status


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_wants_credentials(files: Files, path: str) -> None:
    async with guarded(files, USERS + TOKENS) as daemon:
        for headers in ({}, {"Authorization": aiohttp.encode_basic_auth("alice", "guess")}):
            async with daemon.http.get(daemon.url + path, headers=headers) as response:
                assert response.status == 401
                assert response.headers.getall("WWW-Authenticate") == [
                    'Basic realm="feedd"',
                    'Bearer realm="feedd"',
                ]
        async with daemon.http.post(daemon.url + path) as response:
            assert response.status == 401
        assert daemon.daemon.http.rejections[Rejection.UNAUTHORIZED] == 3
        allowed = {await status_of(daemon, path, **headers) for headers in (BASIC, BEARER)}
        assert 401 not in allowed
        assert len(allowed) == 1


async def test_websocket_wants_credentials(files: Files) -> None:
    async with guarded(files, USERS) as daemon:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await daemon.http.ws_connect(f"{daemon.url}/gate/events")
        assert refused.value.status == 401
        async with daemon.http.ws_connect(f"{daemon.url}/gate/events", headers=BASIC) as socket:
            assert (await socket.receive_json())["type"] == "state"


async def test_credentials_are_in_no_log(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with guarded(files, USERS + TOKENS) as daemon:
        for secret in ("guessed-password", PASSWORD):
            await status_of(daemon, "/gate", Authorization=aiohttp.encode_basic_auth("mallory", secret))
            await status_of(daemon, "/gate", Authorization=f"Bearer {secret}")
        await status_of(daemon, "/gate", **BASIC)
    told = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for secret in ("guessed-password", PASSWORD, TOKEN, BASIC["Authorization"].split()[1], hashed()[:10]):
        assert secret not in told
    rejections = [record for record in caplog.records if "turned away" in record.getMessage()]
    assert len(rejections) == 1  # one line a minute, however many there are


async def test_tls_serves_who_trusts_its_authority(files: Files) -> None:
    async with guarded(
        files, TLS + USERS + "http_server_config: {headers: {X-Frame-Options: deny}}"
    ) as daemon:
        assert daemon.url.startswith("https://")
        async with daemon.http.get(
            f"{daemon.url}/-/healthy", headers=BASIC, ssl=files.trusting()
        ) as response:
            assert response.status == 200
            assert response.headers["X-Frame-Options"] == "deny"
            assert response.headers["Server"] == "feedd"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status_of(daemon, "/-/healthy")
        with pytest.raises(aiohttp.ClientError):
            async with daemon.http.get(daemon.url.replace("https", "http")):
                pass
        await daemon.until(lambda daemon: daemon.daemon.http.rejections[Rejection.TLS] >= 2)


async def test_older_tls_is_refused(files: Files) -> None:
    async with guarded(files, TLS.replace("}", ", min_version: TLS13}")) as daemon:
        context = files.trusting()
        assert await status_of(daemon, "/-/healthy", context, Connection="close") == 200
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(daemon, "/-/healthy", context)


async def test_clients_need_a_certificate_where_that_is_asked_for(files: Files) -> None:
    text = TLS.replace("}", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.pem}")
    async with guarded(files, text) as daemon:
        context = files.trusting()
        with pytest.raises(aiohttp.ClientError):
            await status_of(daemon, "/-/healthy", context)
        files.authority.issue_cert("strategy").configure_cert(context)
        assert await status_of(daemon, "/-/healthy", context) == 200


async def test_wrong_web_config_forbids_the_start(files: Files) -> None:
    with pytest.raises(SettingsError, match="missing required field `key_file`"):
        async with guarded(files, "tls_server_config: {cert_file: feedd.pem}"):
            pass


async def test_clear_text_passwords_beyond_the_machine_are_warned_of(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(files, USERS, FEEDD_LISTEN="0.0.0.0:0"):
        assert "passwords cross the network in clear text" in caplog.text
    caplog.clear()
    async with guarded(files, USERS):
        pass
    async with guarded(files, TLS + USERS, FEEDD_LISTEN="0.0.0.0:0"):
        pass
    assert "clear text" not in caplog.text


@asynccontextmanager
async def followed(files: Files, text: str) -> AsyncIterator[tuple[EnvFile, Running]]:
    """Run a live daemon behind that web config, which follows its env-file."""
    async with Exchange(ExchangeSettings(symbols=SYMBOLS, rate=20.0)) as exchange:
        env_file = EnvFile(files.folder, exchange)
        env_file.set(FEEDD_WEB_CONFIG=str(files.write(text)))
        async with running_on(env_file.path) as daemon:
            await daemon.until_open()
            yield env_file, replace(daemon, url=daemon.url.replace("http", daemon.daemon.http.scheme))


async def reloaded(daemon: Running) -> None:
    """Have everything read again, and wait for that."""
    before = daemon.daemon.state.last_reload_success_at
    daemon.daemon.reload()
    await daemon.until(lambda daemon: daemon.daemon.state.last_reload_success_at > before)
    await asyncio.sleep(0)


async def test_reload_takes_renewed_certificates_and_new_passwords(files: Files) -> None:
    async with followed(files, TLS + USERS) as (_, daemon):
        assert await status_of(daemon, "/-/healthy", files.trusting(), **BASIC) == 200
        renewed = Files(files.folder)
        renewed.issue()
        renewed.write(TLS + TOKENS)
        await reloaded(daemon)
        assert daemon.daemon.state.last_reload_successful
        async with aiohttp.ClientSession() as http:  # with connections of its own
            fresh = replace(daemon, http=http)
            assert await status_of(fresh, "/-/healthy", renewed.trusting(), **BEARER) == 200
            assert await status_of(fresh, "/-/healthy", renewed.trusting(), **BASIC) == 401


async def test_bad_web_config_keeps_the_last_good_one_and_says_so(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    async with followed(files, TLS + USERS) as (_, daemon):
        files.write("basic_auth_users: {alice: secret}")
        await reloaded(daemon)
        await daemon.until(lambda daemon: not daemon.daemon.state.last_reload_successful)
        assert "the web config is wrong; the last good one stays" in caplog.text
        assert await status_of(daemon, "/-/healthy", files.trusting(), **BASIC) == 200
        files.write(TLS + USERS)
        await reloaded(daemon)
        assert daemon.daemon.state.last_reload_successful


async def test_another_web_config_is_taken_live_even_one_without_tls(files: Files, tmp_path: Path) -> None:
    async with followed(files, TLS) as (env_file, daemon):
        other = tmp_path / "other.yml"
        other.write_text(USERS)
        env_file.set(FEEDD_WEB_CONFIG=str(other))
        await daemon.until(lambda daemon: daemon.daemon.http.scheme == "http")
        plain = replace(daemon, url=daemon.url.replace("https", "http"))
        assert await status_of(plain, "/-/healthy") == 401
        assert await status_of(plain, "/-/healthy", **BASIC) == 200
        assert daemon.symbol_state().counts.connects == 1


async def test_client_gets_through_tls_and_passwords(files: Files) -> None:
    async with followed(files, TLS + USERS) as (_, daemon):
        url = daemon.url.replace("https://", "https://alice:correct%20horse@")
        async with feedd.connect(url, SYMBOLS, streams=(), ssl=files.trusting()) as feed:
            await feed.wait_open(SYMBOLS[0])
        assert await asyncio.to_thread(_is_open, daemon.url, files, BASIC)
        assert not await asyncio.to_thread(_is_open, daemon.url, files, {})


def _is_open(url: str, files: Files, headers: dict[str, str]) -> bool:
    with feedd.Gate(url, ssl=files.trusting(), headers=headers) as gate:
        return gate.open(SYMBOLS[0])


async def test_verbs_find_the_daemon_behind_its_web_config(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    credentials = files.folder / "credentials"
    credentials.write_text(f"alice:{PASSWORD}\n")
    async with followed(files, TLS + USERS) as (env_file, daemon):
        settings = daemon.daemon.state.settings
        port = int(daemon.url.rpartition(":")[2])
        settings = replace(settings, listen=replace(settings.listen, host="0.0.0.0", port=port))
        address = by_settings(settings, credentials)
        assert str(address) == daemon.url
        assert await show_status(address, as_json=False, watch=False) == 0
        assert SYMBOLS[0] in capsys.readouterr().out
        said: list[str] = []
        for command in FLAG_COMMANDS[:2]:
            await set_and_confirm(command, env_file.path, address, 5.0, said.append)
        assert said[1].startswith(f"confirmed by the daemon at {daemon.url} after ")
        by_name = by_url(daemon.url, files.folder / "authority.pem", credentials)
        assert await show_status(by_name, as_json=True, watch=False) == 0
        for wrong, why in (
            (by_settings(settings, None), r"401, it wants credentials \(--credentials\)"),
            (by_url(daemon.url, None, credentials), "certificate verify failed"),
        ):
            with pytest.raises(feedd.errors.UnavailableError, match=why):
                await show_status(wrong, as_json=True, watch=False)
        Files(files.folder).issue()
        with pytest.raises(feedd.errors.UnavailableError, match="another certificate than its web config's"):
            await show_status(by_settings(settings, credentials), as_json=True, watch=False)
