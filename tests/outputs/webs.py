"""Web configs for tests: certificates of an authority that nobody else trusts, cheap passwords."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import trustme

PASSWORD = "correct horse"
TOKEN = "3b1f-a-long-and-random-token"


def hashed(password: str = PASSWORD, cost: int = 4) -> str:
    """Return a password's hash, cheap enough for tests."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def digest(token: str = TOKEN) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Files:
    """A folder with a certificate of our own authority for `localhost` and 127.0.0.1, and a web config."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def web_config(self) -> Path:
        return self.folder / "web.yml"

    def issue(self, name: str = "feedd") -> None:
        """Put a new certificate and its key into the folder."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.folder / f"{name}.key")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (self.folder / f"{name}.pem").write_bytes(chain)
        self.authority.cert_pem.write_to_path(self.folder / "authority.pem")

    def write(self, text: str) -> Path:
        self.web_config.write_text(text)
        return self.web_config

    def trusting(self) -> ssl.SSLContext:
        """Return what a client needs to trust the certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


TLS = "tls_server_config: {cert_file: feedd.pem, key_file: feedd.key}\n"
