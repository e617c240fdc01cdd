"""The web config: TLS and passwords of the HTTP side, in the file format of the Prometheus exporters.

Source: prometheus/exporter-toolkit, docs/web-configuration.md. What feedd doesn't do is refused, not ignored,
so that nobody believes to be protected by it. `bearer_tokens` is feedd's own: names and SHA-256 of tokens.
Messages show no value of the file: it may be a secret.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from feedd.errors import Problem, SettingsError

GREATEST_COST: Final = 15
"""A password check of this bcrypt cost takes two seconds; each more doubles it."""

_BCRYPT: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

HeaderName = Literal[
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
]


class _TlsSection(msgspec.Struct, forbid_unknown_fields=True):
    cert_file: str
    key_file: str
    client_auth_type: Literal["NoClientCert", "RequireAndVerifyClientCert"] = "NoClientCert"
    client_ca_file: str | None = None
    min_version: Literal["TLS12", "TLS13"] = "TLS12"
    max_version: Literal["TLS12", "TLS13"] = "TLS13"


class _HttpSection(msgspec.Struct, forbid_unknown_fields=True):
    http2: bool = True
    """Without effect: feedd speaks HTTP/1.1, which every client takes instead."""
    headers: dict[HeaderName, str] = {}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tls_server_config: _TlsSection | None = None
    http_server_config: _HttpSection | None = None
    basic_auth_users: dict[str, str] | None = None
    bearer_tokens: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says. Without users and tokens, everybody who can connect is let in."""

    tls: ssl.SSLContext | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """bcrypt hashes by user."""
    tokens: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """SHA-256 digests by name."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to every answer."""


def certificate_in(path: Path) -> bytes | None:
    """Return the server's own certificate (DER), or None where there is no TLS. The key stays untouched.

    Raises:
        SettingsError: something is wrong with one of the files.
    """
    tls = _file(path).tls_server_config
    if tls is None:
        return None
    certificate = path.parent / tls.cert_file
    _check_readable(certificate, path, "cert_file")
    try:
        text = certificate.read_text("ascii")
        start = text.index(ssl.PEM_HEADER)
        return ssl.PEM_cert_to_DER_cert(text[start : text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)])
    except ValueError as error:
        raise _wrong(path, "tls_server_config.cert_file", str(error), "a certificate in PEM") from None


def load_web_config(path: Path) -> WebConfig:
    """Read the file and the certificates that it names, relative to its folder.

    Raises:
        SettingsError: something is wrong with one of the files.
    """
    file = _file(path)
    tls, http = file.tls_server_config, file.http_server_config
    return WebConfig(
        tls=None if tls is None else _context(tls, path),
        users={name: text.encode() for name, text in (file.basic_auth_users or {}).items()},
        tokens={name: bytes.fromhex(text) for name, text in (file.bearer_tokens or {}).items()},
        headers={name: text for name, text in (http.headers if http else {}).items() if text},
    )


def _file(path: Path) -> _File:
    try:
        file = msgspec.convert(_content(path), _File)
    except msgspec.ValidationError as error:
        raise _wrong(path, "web config", str(error), "the exporters' web-config format") from None
    problems = tuple(_problems(file, path))
    if problems:
        raise SettingsError(problems)
    return file


def _content(path: Path) -> Any:
    # A daemon that only loopback reaches has no such file, and starts 20 ms sooner without this.
    import yaml

    class StrictLoader(yaml.SafeLoader):
        """Refuses a key that stands twice, where the last one would win."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise yaml.constructor.ConstructorError(
                    problem=f"{twice} stands twice", problem_mark=node.start_mark
                )
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_bytes(), StrictLoader) or {}
    except OSError as error:
        found = f"that it cannot be read: {error.strerror}"
        raise _wrong(path, "FEEDD_WEB_CONFIG", found, "a readable file") from error
    except yaml.MarkedYAMLError as error:
        line = 0 if error.problem_mark is None else error.problem_mark.line + 1
        raise _wrong(f"{path}:{line}", "syntax", str(error.problem), "YAML") from None
    except (yaml.YAMLError, RecursionError):
        raise _wrong(path, "encoding", "other characters", "UTF-8 text") from None


def _problems(file: _File, path: Path) -> Iterator[Problem]:
    tls, http = file.tls_server_config, file.http_server_config
    users, tokens = file.basic_auth_users or {}, file.bearer_tokens or {}
    if tls is None and not users and not tokens:
        expected = "tls_server_config, basic_auth_users or bearer_tokens"
        yield Problem(str(path), "web config", "nothing that protects", expected)
    if tls is not None:
        if (tls.client_ca_file is None) != (tls.client_auth_type == "NoClientCert"):
            expected = "client_ca_file with client_auth_type: RequireAndVerifyClientCert, or neither"
            yield Problem(str(path), "tls_server_config", "one of both", expected)
        if _VERSIONS[tls.min_version] > _VERSIONS[tls.max_version]:
            expected = "no more than max_version"
            yield Problem(str(path), "tls_server_config.min_version", tls.min_version, expected)
    for name, text in users.items():
        match = _BCRYPT.fullmatch(text)
        if match is None or not 4 <= int(match[1]) <= GREATEST_COST or ":" in name:
            expected = f"a name without a colon and a bcrypt hash of cost 4 to {GREATEST_COST}"
            yield Problem(str(path), f"basic_auth_users.{name}", "something else", expected)
    for name, text in tokens.items():
        if not _SHA256.fullmatch(text):
            expected = "a SHA-256 in 64 hexadecimal digits, in quotes"
            yield Problem(str(path), f"bearer_tokens.{name}", "something else", expected)
    for header, text in (http.headers if http else {}).items():
        if not _PRINTABLE.fullmatch(text):
            yield Problem(
                str(path), f"http_server_config.headers.{header}", "other characters", "printable ASCII"
            )


def _context(tls: _TlsSection, path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    certificate, key = path.parent / tls.cert_file, path.parent / tls.key_file
    for name, file in (("cert_file", certificate), ("key_file", key)):
        _check_readable(file, path, name)
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        expected = "a certificate and its key in PEM, without a passphrase"
        raise _wrong(path, "tls_server_config.cert_file, key_file", str(error), expected) from None
    if tls.client_ca_file is not None:
        authority = path.parent / tls.client_ca_file
        _check_readable(authority, path, "client_ca_file")
        try:
            context.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise _wrong(
                path, "tls_server_config.client_ca_file", str(error), "certificates in PEM"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_readable(file: Path, path: Path, key: str) -> None:
    try:
        file.open("rb").close()
    except OSError as error:
        found = f"that {file} cannot be read: {error.strerror}"
        raise _wrong(path, f"tls_server_config.{key}", found, "a readable file") from error


def _wrong(place: Path | str, key: str, found: str, expected: str) -> SettingsError:
    return SettingsError((Problem(str(place), key, found, expected),))
