"""The house's floors: a file imports only from below its own, and what decides never touches the world."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "feedd"

FLOORS = (
    ({"_version", "errors", "model", "logs", "native"},),
    ({"venues"},),
    ({"config"},),
    ({"core"},),
    ({"sources"}, {"outputs"}),
    ({"daemon", "config_reload"},),
    ({"cli", "__main__"},),
)
"""From the ground up, the rooms of each floor. Files of one room may import each other, two rooms may not."""
ROOMS = {name: (floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms for name in room}
APART = {
    "exchange": {"_version", "errors", "model", "venues.binance.common.stream_protocol"},
    "drill": {"_version", "errors", "model"},
    "client": {"_version", "errors", "core.backoff"},
}
"""What stands beside the house, and all that it may import of it: whole rooms, or single files."""
VISITORS = {
    "exchange": {"cli"},
    "drill": {"cli"},
    "client": {"cli"},
}
"""Who may import what stands apart."""

PURE = {"_version", "errors", "model", "venues", "config", "core"}
SHELL = {"config.watcher"}
"""What stands beside pure files of its room, and does touch the world."""
IMPURE_MODULES = {
    "aiohttp", "asyncio", "logging", "os", "prometheus_client", "random", "secrets", "socket", "subprocess",
    "threading", "time", "uvloop",
}  # fmt: skip
IMPURE_CALLS = {
    "input", "now", "open", "print", "read_bytes", "read_text", "today", "utcnow", "write_bytes",
    "write_text",
}  # fmt: skip
EXEMPT = ("config", "read_env_file")
"""The one function of the pure rooms that reads a file."""

CORE_MAY_IMPORT = {"core", "errors", "model"}
SETTINGS_READERS = {"core.daemon_state"}
"""What in the core knows the settings: the daemon's state holds those in force."""


def complaints(module: str, source: str) -> list[str]:
    """Return what a file does that its floor forbids. `module` is its name without the package's."""
    tree = ast.parse(source)
    room = module.partition(".")[0]
    is_pure = room in PURE and module not in SHELL
    found = [] if room in ROOMS or room in APART else [f"{room} stands on no floor"]
    for name in imported(tree):
        if name.startswith("."):
            found.append("imports relatively")
        elif name == "feedd" or name.startswith("feedd."):
            if not may_import(room, name.partition(".")[2], is_pure):
                found.append(f"{room} imports {name}")
        elif is_pure and name.partition(".")[0] in IMPURE_MODULES:
            found.append(f"{room} imports {name}")
    if is_pure:
        found += [f"{room} calls {name}" for name in called(tree, room) if name in IMPURE_CALLS]
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            # `from feedd import x` fetches a room, unless x is something that the package itself says.
            rooms = [alias.name for alias in node.names if alias.name in ROOMS or alias.name in APART]
            yield from [f"feedd.{room}" for room in rooms] if name == "feedd" and rooms else [name]


def may_import(room: str, module: str, is_pure: bool) -> bool:
    other = module.partition(".")[0]
    if other in ("", room):
        return True
    if room in APART:
        return other in APART[room] or module in APART[room]
    if other in APART:
        return room in VISITORS[other]
    if room not in ROOMS or other not in ROOMS or (other == "logs" and is_pure):
        return False
    return ROOMS[other][0] < ROOMS[room][0] or ROOMS[other][1] is ROOMS[room][1]


def called(tree: ast.Module, room: str) -> Iterator[str]:
    exempt = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and (room, node.name) == EXEMPT
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and id(node) not in exempt:
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name
                case _:
                    pass


def modules(folder: Path) -> list[str]:
    """Return the names of a folder's modules, as they are imported, without the package's name."""
    paths = sorted(path.relative_to(PACKAGE).with_suffix("") for path in folder.rglob("*.py"))
    return [".".join(path.parts) for path in paths]


@pytest.mark.parametrize("module", [name for name in modules(PACKAGE) if name != "__init__"])
def test_file_imports_only_from_below_its_floor(module: str) -> None:
    source = (PACKAGE / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    assert complaints(module, source) == []


CORE = [name for name in modules(PACKAGE / "core") if "__init__" not in name]


@pytest.mark.parametrize("module", CORE)
def test_core_imports_values_only(module: str) -> None:
    source = (PACKAGE / module.replace(".", "/")).with_suffix(".py").read_text("utf-8")
    rooms = {name.split(".")[1] for name in imported(ast.parse(source)) if name.startswith("feedd.")}
    assert rooms - CORE_MAY_IMPORT == ({"config"} if module in SETTINGS_READERS else set())


@pytest.mark.parametrize("module", [name for name in CORE if name not in SETTINGS_READERS])
def test_importing_a_core_file_loads_no_configuration(module: str) -> None:
    code = f"import sys, feedd.{module}; print(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, check=True, text=True
    )
    loaded = run.stdout.split()
    assert f"feedd.{module}" in loaded
    assert [name for name in loaded if name.startswith(("feedd.config", "dotenv"))] == []


@pytest.mark.parametrize(
    "module",
    [name for room in ("venues", "core") for name in modules(PACKAGE / room) if "__init__" not in name],
)
def test_module_that_decides_has_its_own_tests(module: str) -> None:
    room, _, name = module.rpartition(".")
    assert (PROJECT / "tests" / room.replace(".", "/") / f"test_{name}.py").is_file()


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("model", "from feedd.core.gate import Gate", "model imports feedd.core.gate"),
        ("venues.binance.spot.decode", "from feedd.core import gate", "venues imports feedd.core"),
        ("venues.venue", "import feedd.config.keys", "venues imports feedd.config.keys"),
        ("core.gate", "import feedd.sources.supervisor", "core imports feedd.sources.supervisor"),
        ("core.gate", "from feedd import outputs", "core imports feedd.outputs"),
        ("core.gate", "from feedd import __version__, daemon", "core imports feedd.daemon"),
        ("core.gate", "from feedd.logs import fields", "core imports feedd.logs"),
        ("core.gate", "def late():\n    from feedd.cli.main import main", "core imports feedd.cli.main"),
        ("core.gate", "if TYPE_CHECKING:\n    import feedd.daemon", "core imports feedd.daemon"),
        ("core.gate", "from feedd.unheard_of import x", "core imports feedd.unheard_of"),
        ("core.gate", "from .sequence import Sequence", "imports relatively"),
        ("core.gate", "from . import sequence", "imports relatively"),
        (
            "sources.supervisor",
            "from feedd.outputs.systemd import Notifier",
            "sources imports feedd.outputs.systemd",
        ),
        ("outputs.systemd", "import feedd.sources.supervisor", "outputs imports feedd.sources.supervisor"),
        ("sources.supervisor", "from feedd.daemon import Daemon", "sources imports feedd.daemon"),
        ("daemon", "from feedd.cli.main import main", "daemon imports feedd.cli.main"),
        ("daemon", "from feedd.exchange import Exchange", "daemon imports feedd.exchange"),
        (
            "exchange.server",
            "from feedd.config.settings import Settings",
            "exchange imports feedd.config.settings",
        ),
        ("exchange.server", "from feedd import client", "exchange imports feedd.client"),
        (
            "exchange.server",
            "from feedd.venues.binance.spot.decode import Decoder",
            "exchange imports feedd.venues.binance.spot.decode",
        ),
        ("client", "from feedd.model import Reason", "client imports feedd.model"),
        ("core.gate", "from feedd.client import Gate", "core imports feedd.client"),
        ("newcomer", "", "newcomer stands on no floor"),
        ("core.gate", "import time", "core imports time"),
        ("core.gate", "import asyncio.events as loop", "core imports asyncio.events"),
        ("venues.binance.spot.decode", "from random import random", "venues imports random"),
        ("config.settings", "import logging", "config imports logging"),
        ("core.gate", "from datetime import datetime\ndatetime.now()", "core calls now"),
        ("core.gate", "def f(path):\n    return open(path)", "core calls open"),
        ("config.env_file", "from pathlib import Path\nPath('x').read_text()", "config calls read_text"),
        ("config.settings", "def save(path):\n    path.write_text('')", "config calls write_text"),
        ("core.gate", "def read_env_file(path):\n    path.read_bytes()", "core calls read_bytes"),
    ],
)
def test_trespass_is_found(module: str, source: str, complaint: str) -> None:
    assert complaint in complaints(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "core.gate",
            "from feedd.config.settings import Settings\nfrom feedd.core.symbol_state import Session",
        ),
        ("core.gate", "from feedd import __version__"),
        ("config.settings", "def read_env_file(path):\n    return path.read_bytes()"),
        ("logs", "import logging"),
        (
            "outputs.systemd",
            "import asyncio\nimport feedd.logs\nfrom feedd.core.daemon_state import Desk",
        ),
        ("daemon", "from feedd import outputs, sources"),
        ("__main__", "from feedd.cli.main import main"),
        ("cli.demo", "from feedd.exchange import Exchange"),
        (
            "exchange.server",
            "import time\nfrom feedd.errors import FeeddError\nfrom feedd import __version__",
        ),
        ("client", "import asyncio\nfrom feedd.errors import FeeddError"),
    ],
)
def test_what_a_floor_allows_is_no_trespass(module: str, source: str) -> None:
    assert complaints(module, source) == []
