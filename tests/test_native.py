"""What was compiled is what it claims to be: every module of setup.py's list, from where it was installed."""

from __future__ import annotations

import ast
import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from shutil import which

import pytest

from feedd.native import is_native
from tests.system_components import needs

PROJECT = Path(__file__).parents[1]
INSTALLED = PROJECT / ".native"


def native_modules() -> list[str]:
    (listed,) = (
        node.value
        for node in ast.parse((PROJECT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NATIVE"
    )
    return [name.replace("/", ".") for name in ast.literal_eval(listed)]


@pytest.mark.parametrize("name", native_modules())
def test_module_runs_as_it_is_said_to(name: str) -> None:
    runs_installed = str(INSTALLED) in sys.path
    if runs_installed:
        needs("a C compiler", which((sysconfig.get_config_var("CC") or "cc").split()[0]))
    module = import_module(f"feedd.{name}")
    assert module.__file__ is not None
    assert (not module.__file__.endswith(".py")) == is_native() == runs_installed


def test_what_was_installed_is_what_the_checkout_has() -> None:
    """Whoever runs the tests without make must not test what is no longer there."""
    if str(INSTALLED) not in sys.path:
        return
    for source in (PROJECT / "feedd").rglob("*.py"):
        assert (INSTALLED / source.relative_to(PROJECT)).read_bytes() == source.read_bytes(), source
