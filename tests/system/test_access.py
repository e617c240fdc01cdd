"""The README's way to let others in: root's keys reach the locked-in service, and the verbs the daemon."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent

from feedd.exchange import Exchange
from tests.outputs.webs import PASSWORD, TLS, Files, hashed
from tests.system.conftest import CHECKOUT
from tests.system.service import ENV_FILE, SYMBOLS, UNIT, Service, verb
from tests.system.test_service import changed

WEB_CONFIG = "/run/credentials/feedd.service/web.yml"
CREDENTIALS = "/etc/feedd/alice"


def drop_in() -> str:
    """Return what the README tells to write."""
    readme = (CHECKOUT / "README.md").read_text()
    found = re.search(r"^    \[Service\]\n(?:    LoadCredential=.*\n)+", readme, re.MULTILINE)
    assert found is not None
    assert WEB_CONFIG in readme
    return dedent(found[0])


def test_keys_that_only_root_can_read_are_handed_over(
    service: Service, exchange: Exchange, tmp_path: Path
) -> None:
    box, files = service.box, Files(tmp_path)
    files.issue()
    files.write(TLS + f"basic_auth_users: {{alice: {hashed()}}}\n")
    for name in ("web.yml", "feedd.pem", "feedd.key"):
        box.path(f"/etc/feedd/{name}").write_bytes((tmp_path / name).read_bytes())
        box.path(f"/etc/feedd/{name}").chmod(0o600)
    box.path(CREDENTIALS).write_text(f"alice:{PASSWORD}\n")
    service.configure(FEEDD_LISTEN="0.0.0.0:9745", FEEDD_WEB_CONFIG=WEB_CONFIG)
    known = ("--env-file", ENV_FILE, "--credentials", CREDENTIALS)
    with changed(UNIT, box, drop_in()):
        service.start()
        status = json.loads(box.run("feedd", "status", "--json", *known).stdout)
        assert set(status["symbols"]) == set(SYMBOLS)
        assert "confirmed by the daemon at https://127.0.0.1:9745" in verb(box, "halt", *known[2:])
        refused = box.run("feedd", "status", *known[:2], check=False)
        assert refused.returncode == 1
        assert "401, it wants credentials" in refused.stderr
        assert service.get("/gate") == (0, "")  # it speaks TLS only
        service.systemctl("stop", UNIT)
