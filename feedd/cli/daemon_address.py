"""How an operator's command reaches the daemon: by its settings on the same machine, or by a URL."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Final

import aiohttp

from feedd.client.address import Address
from feedd.config.settings import Settings
from feedd.errors import Problem, SettingsError
from feedd.model import Listen
from feedd.outputs.http.web_config import certificate_in

_LOOPBACK_OF_ALL: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def by_settings(settings: Settings, credentials: Path | None) -> Address:
    """Return the address of the daemon that runs by these settings on this machine.

    Over TLS it must show the very certificate of its web config, whatever name that is for.

    Raises:
        SettingsError: the web config, its certificate or the credentials can't be read.
    """
    listen = Listen(_LOOPBACK_OF_ALL.get(settings.listen.host, settings.listen.host), settings.listen.port)
    certificate = None if settings.web_config is None else certificate_in(settings.web_config)
    scheme = "http" if certificate is None else "https"
    address = Address.parse(f"{scheme}://{listen}", headers=_headers(credentials))
    if certificate is None:
        return address
    return replace(address, tls=aiohttp.Fingerprint(hashlib.sha256(certificate).digest()))


def by_url(url: str, authority: Path | None, credentials: Path | None) -> Address:
    """Return the address at a URL. `authority` holds the certificates to trust, in PEM.

    Raises:
        SettingsError: the URL is none, or a file can't be used.
    """
    try:
        context = None if authority is None else ssl.create_default_context(cafile=authority)
        return Address.parse(url, _headers(credentials), context)
    except ValueError as error:
        raise _settings_error("--url", "something else", "http(s)://host:port") from error
    except OSError as error:
        raise _settings_error(
            "--ca", f"{authority}: {error.strerror or error}", "a file of certificates in PEM"
        ) from None


def _headers(credentials: Path | None) -> dict[str, str]:
    """Read `user:password` or a bearer token from a file, so that it isn't on the command line."""
    if credentials is None:
        return {}
    try:
        text = credentials.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise _settings_error("--credentials", str(error), "a readable file") from None
    name, colon, password = text.partition(":")
    header = aiohttp.encode_basic_auth(name, password) if colon else f"Bearer {text}"
    if not text or not header.isprintable():
        raise _settings_error(
            "--credentials", "something else", "a line with user:password or a bearer token"
        )
    return {"Authorization": header}


def _settings_error(option: str, found: str, expected: str) -> SettingsError:
    return SettingsError((Problem("command line", option, found, expected),))
