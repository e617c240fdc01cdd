"""Who is let in at the HTTP side: basic auth and bearer tokens, as the web config has them.

A password's check is slow on purpose (bcrypt). It runs in one thread, so that no flood of wrong passwords
takes the event loop or more than one core, and only so many may wait for it. What was right is remembered,
as a keyed hash, until the web config is read again. A name that nobody has takes as long as any other.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import Final

import bcrypt

from feedd.outputs.http.web_config import WebConfig

CHECKS_WAITING_MAX: Final = 16
_PASSWORD_BYTES: Final = 72
"""bcrypt knows no more of a password."""


class AuthResult(Enum):
    """Whether somebody may come in."""

    GRANTED = auto()
    DENIED = auto()
    BUSY = auto()
    """Too many others wait for their password to be checked."""


class Authenticator:
    """Checks the `Authorization` of each request."""

    def __init__(self) -> None:
        self._config = WebConfig()
        self._key = os.urandom(32)
        self._known: set[bytes] = set()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="password")

    def apply_config(self, config: WebConfig) -> None:
        """Check by this config from now on."""
        self._config = config
        self._known.clear()

    def stop(self) -> None:
        """Check no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def challenges(self) -> list[str]:
        """What a client may use: the values of `WWW-Authenticate`."""
        schemes = {"Basic": self._config.users, "Bearer": self._config.tokens}
        return [f'{scheme} realm="feedd"' for scheme, known in schemes.items() if known]

    async def check(self, authorization: str | None) -> AuthResult:
        """Decide on one request by that header."""
        if not self.challenges:
            return AuthResult.GRANTED
        scheme, _, credentials = (authorization or "").partition(" ")
        match scheme.lower():
            case "bearer" if self._config.tokens:
                return _granted_if(self._is_token(credentials.strip()))
            case "basic" if self._config.users:
                return await self._check_password(credentials.strip())
            case _:
                return AuthResult.DENIED

    def _is_token(self, token: str) -> bool:
        digest = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        fitting = [hmac.compare_digest(digest, known) for known in self._config.tokens.values()]
        return any(fitting)  # all have been compared, so that the time tells nothing

    async def _check_password(self, credentials: str) -> AuthResult:
        try:
            name, colon, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return AuthResult.DENIED
        secret = password.encode()[:_PASSWORD_BYTES]
        if not colon or b"\0" in secret:
            return AuthResult.DENIED
        hashed = self._config.users.get(name) or self._other_hash(name)
        known = self._digest(name.encode(), secret, hashed)
        if known in self._known:
            return AuthResult.GRANTED
        if self._waiting >= CHECKS_WAITING_MAX:
            return AuthResult.BUSY
        config = self._config
        self._waiting += 1
        try:
            is_right = await asyncio.get_running_loop().run_in_executor(
                self._thread, bcrypt.checkpw, secret, hashed
            )
        finally:
            self._waiting -= 1
        if not is_right or name not in config.users:
            return AuthResult.DENIED
        if config is self._config:
            self._known.add(known)
        return AuthResult.GRANTED

    def _other_hash(self, name: str) -> bytes:
        """Return somebody's hash for a name that nobody has: always the same, as if it were its own."""
        hashes = list(self._config.users.values())
        return hashes[int.from_bytes(self._digest(name.encode())) % len(hashes)]

    def _digest(self, *parts: bytes) -> bytes:
        return hmac.digest(self._key, b"\0".join(parts), "sha256")


def _granted_if(is_right: bool) -> AuthResult:
    return AuthResult.GRANTED if is_right else AuthResult.DENIED
