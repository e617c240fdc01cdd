"""What `feedd` and `feedd.client` offer, and what it costs those who don't ask for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import feedd
from feedd import client

CLIENT_MODULES_LOADED = "print(*sorted(name for name in sys.modules if name.startswith('feedd.client')))"


def printed_by(code: str) -> str:
    """Run that code in a fresh interpreter."""
    command = [sys.executable, "-c", f"import sys\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", client.__all__)
def test_name_of_the_client_is_the_packages_too(name: str) -> None:
    assert getattr(feedd, name) is getattr(client, name)


def test_star_import_brings_all_names_of_the_client_and_no_other() -> None:
    names = printed_by("before = set(dir())\nfrom feedd import *\nprint(*set(dir()) - before - {'before'})")
    assert sorted(names.split()) == sorted(client.__all__)


@pytest.mark.parametrize("module", [feedd, client])
@pytest.mark.parametrize("name", ["disconnect", "STREAMS", "SILENCE_SECONDS"])
def test_name_that_is_not_offered_is_an_attribute_error(module: object, name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(module, name)


def test_command_line_loads_no_more_of_the_client_than_the_address() -> None:
    loaded = printed_by(f"import feedd.cli.main\n{CLIENT_MODULES_LOADED}")
    assert loaded.split() == ["feedd.client", "feedd.client.address"]


def test_importing_feedd_loads_nothing_of_the_client_until_it_is_asked_for() -> None:
    loaded = printed_by(f"import feedd\n{CLIENT_MODULES_LOADED}\nfeedd.Gate\n{CLIENT_MODULES_LOADED}")
    before, after = loaded.splitlines()
    assert before == ""
    assert "feedd.client.gate" in after.split()
