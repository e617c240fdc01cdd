"""The web config: the exporters' format, every mistake named, no secret shown."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from feedd.errors import SettingsError
from feedd.outputs.http.web_config import WebConfig, certificate_in, load_web_config
from tests.outputs.webs import TLS, Files, digest, hashed

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
SHA256 = digest()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.issue()
    return files


def complaints(files: Files, text: str) -> list[str]:
    path = files.write(text)
    with pytest.raises(SettingsError) as wrong:
        load_web_config(path)
    return [str(problem).replace(str(files.folder), "…") for problem in wrong.value.problems]


def test_file_of_an_exporter_is_read(files: Files) -> None:
    config = load_web_config(
        files.write(
            f"""
tls_server_config:
  cert_file: feedd.pem
  key_file: {files.folder}/feedd.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: authority.pem
  min_version: TLS13
  max_version: TLS13
http_server_config:
  http2: false
  headers:
    X-Frame-Options: deny
    Strict-Transport-Security: ""
basic_auth_users:
  alice: {HASH}
bearer_tokens:
  desk7: "{SHA256}"
"""
        )
    )
    assert config.tls is not None
    assert config.tls.minimum_version is config.tls.maximum_version is ssl.TLSVersion.TLSv1_3
    assert config.tls.verify_mode is ssl.CERT_REQUIRED
    assert config.users == {"alice": HASH.encode()}
    assert config.tokens == {"desk7": bytes.fromhex(SHA256)}
    assert config.headers == {"X-Frame-Options": "deny"}
    assert HASH not in repr(config)


def test_defaults_are_the_exporters(files: Files) -> None:
    config = load_web_config(files.write(TLS))
    assert config.tls is not None
    assert config.tls.minimum_version is ssl.TLSVersion.TLSv1_2
    assert config.tls.verify_mode is ssl.CERT_NONE
    assert (config.users, config.tokens, config.headers) == ({}, {}, {})


def test_passwords_do_without_tls(files: Files) -> None:
    config = load_web_config(files.write(f"basic_auth_users: {{alice: {hashed()}}}\nbearer_tokens:\n"))
    assert config.tls is None
    assert set(config.users) == {"alice"}


NO_READER = "…/web.yml: web config: expected the exporters' web-config format, found "
PROTECTS = (
    "…/web.yml: web config: expected tls_server_config, basic_auth_users or bearer_tokens, "
    "found nothing that protects"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [PROTECTS]),
        ("http_server_config: {}", [PROTECTS]),
        ("basic_auth_users: {}", [PROTECTS]),
        ("- tls", [NO_READER + "Expected `object`, got `array`"]),
        ("basic_auth_user: {}", [NO_READER + "Object contains unknown field `basic_auth_user`"]),
        ("rate_limit: {burst: 1}", [NO_READER + "Object contains unknown field `rate_limit`"]),
        (
            "tls_server_config: {cert_file: feedd.pem}",
            [NO_READER + "Object missing required field `key_file` - at `$.tls_server_config`"],
        ),
        (
            "tls_server_config: {cert_file: feedd.pem, key_file: feedd.key, min_version: TLS10}",
            [NO_READER + "Invalid enum value 'TLS10' - at `$.tls_server_config.min_version`"],
        ),
        (
            "tls_server_config: {cert_file: feedd.pem, key_file: feedd.key, cipher_suites: [RC4]}",
            [NO_READER + "Object contains unknown field `cipher_suites` - at `$.tls_server_config`"],
        ),
        (
            "tls_server_config: {cert_file: feedd.pem, key_file: feedd.key, client_ca_file: authority.pem}",
            [
                "…/web.yml: tls_server_config: expected client_ca_file with "
                "client_auth_type: RequireAndVerifyClientCert, or neither, found one of both"
            ],
        ),
        (
            TLS.replace("}", ", min_version: TLS13, max_version: TLS12}"),
            ["…/web.yml: tls_server_config.min_version: expected no more than max_version, found TLS13"],
        ),
        (
            "tls_server_config: {cert_file: none.pem, key_file: feedd.key}",
            [
                "…/web.yml: tls_server_config.cert_file: expected a readable file, "
                "found that …/none.pem cannot be read: No such file or directory"
            ],
        ),
        (
            "basic_auth_users: {alice: secret, bob: $2y$31$" + "a" * 53 + ", 'c:d': '" + HASH + "'}",
            [
                f"…/web.yml: basic_auth_users.{name}: expected a name without a colon "
                "and a bcrypt hash of cost 4 to 15, found something else"
                for name in ("alice", "bob", "c:d")
            ],
        ),
        (
            "bearer_tokens: {desk7: hush}",
            [
                "…/web.yml: bearer_tokens.desk7: expected a SHA-256 in 64 hexadecimal digits, in quotes, "
                "found something else"
            ],
        ),
        (
            f"basic_auth_users: {{a: {HASH}}}\nhttp_server_config: {{headers: {{X-Frame-Options: 'dé'}}}}",
            [
                "…/web.yml: http_server_config.headers.X-Frame-Options: expected printable ASCII, "
                "found other characters"
            ],
        ),
        (
            f"basic_auth_users: {{a: {HASH}}}\nhttp_server_config: {{headers: {{X-Powered-By: us}}}}",
            [NO_READER + "Invalid enum value 'X-Powered-By' - at `key` in `$.http_server_config.headers`"],
        ),
        (
            f"basic_auth_users:\n  a: {HASH}\n  a: {HASH}",
            ["…/web.yml:2: syntax: expected YAML, found a stands twice"],
        ),
        (
            "a: [",
            ["…/web.yml:1: syntax: expected YAML, found expected the node content, but found '<stream end>'"],
        ),
        ("a: \0", ["…/web.yml: encoding: expected UTF-8 text, found other characters"]),
        (
            "!!python/object/apply:os.system [true]",
            [
                "…/web.yml:1: syntax: expected YAML, found could not determine a constructor for the tag "
                "'tag:yaml.org,2002:python/object/apply:os.system'"
            ],
        ),
    ],
)
def test_mistake_is_named_with_its_place(files: Files, text: str, expected: list[str]) -> None:
    assert complaints(files, text) == expected


@pytest.mark.parametrize(
    "text",
    ["basic_auth_users: {alice: hush-hush}", "basic_auth_users: [hush-hush]", "a: 'hush-hush", "hush-hush"],
)
def test_no_value_is_shown(files: Files, text: str) -> None:
    assert "hush" not in "".join(complaints(files, text))


def test_absent_file_is_named(files: Files) -> None:
    with pytest.raises(SettingsError, match=r"web\.yml: FEEDD_WEB_CONFIG: expected a readable file"):
        load_web_config(files.web_config)


@pytest.mark.parametrize("name", ["feedd.pem", "feedd.key"])
def test_certificate_that_is_none_is_named(files: Files, name: str) -> None:
    (files.folder / name).write_text("rubbish")
    (line,) = complaints(files, TLS)
    assert "tls_server_config.cert_file, key_file: expected a certificate and its key in PEM" in line


def test_authority_that_is_none_is_named(files: Files) -> None:
    (files.folder / "authority.pem").write_text("rubbish")
    text = TLS.replace("}", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: authority.pem}")
    (line,) = complaints(files, text)
    assert "tls_server_config.client_ca_file: expected certificates in PEM" in line


def test_key_with_a_passphrase_does_not_ask_for_it(files: Files) -> None:
    key = (files.folder / "feedd.key").read_text()
    (files.folder / "feedd.key").write_text(key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"))
    assert len(complaints(files, TLS)) == 1


def test_own_certificate_is_found_without_the_key(files: Files) -> None:
    path = files.write(TLS)
    (files.folder / "feedd.key").unlink()
    found = certificate_in(path)
    assert found is not None
    assert ssl.DER_cert_to_PEM_cert(found) in (files.folder / "feedd.pem").read_text()
    assert certificate_in(files.write(f"basic_auth_users: {{alice: {HASH}}}")) is None
    files.write(TLS)
    (files.folder / "feedd.pem").write_text("rubbish")
    with pytest.raises(SettingsError, match=r"tls_server_config\.cert_file: expected a certificate in PEM"):
        certificate_in(path)


def test_empty_config_lets_everybody_in() -> None:
    assert WebConfig() == WebConfig(None, {}, {}, {})
