"""One box for all of these tests; deploy/install puts feedd in it, as where there is no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedd._version import __version__
from feedd.exchange import Exchange, ExchangeSettings
from tests.system.box import Box, require_box
from tests.system.service import EXCHANGE_PORT, SYMBOLS, UNIT, Service
from tests.system_components import needs

CHECKOUT = Path(__file__).parents[2]
IN_BOX = "/srv/feedd"
NEXT_IN_BOX = "/srv/feedd-next"
WHEELS_IN_BOX = "/srv/wheels"
NEXT_VERSION = f"{__version__}.post1"
PYTHON = "/usr/bin/python3"
INSTALL_SECONDS = 150.0
"""It compiles, beside other tests that take the other core: patience with a busy machine, no promise."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of a session also boots a box and installs."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages of a release, for the Python that the machine's services run on."""
    require_box()
    has_venv = subprocess.run([PYTHON, "-c", "import ensurepip"], capture_output=True, check=False)
    needs(f"{PYTHON} with venv", has_venv.returncode == 0)
    folder = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "--python", PYTHON, "download", "-qq", "--require-hashes"]
    subprocess.run([*pip, "-r", CHECKOUT / "requirements.lock", "-d", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def next_checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next release: the same under another version."""
    folder = tmp_path_factory.mktemp("next") / "feedd"
    for name in ("feedd", "deploy", "systemd"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock", "README.md"):
        shutil.copy(CHECKOUT / name, folder)
    module = folder / "feedd" / "_version.py"
    module.write_text(module.read_text().replace(f'"{__version__}"', f'"{NEXT_VERSION}"'))
    return folder


@pytest.fixture(scope="session")
def box(wheels: Path, next_checkout: Path) -> Iterator[Box]:
    """A machine with a systemd that was just booted."""
    with Box({CHECKOUT: IN_BOX, next_checkout: NEXT_IN_BOX, wheels: WHEELS_IN_BOX}) as box:
        yield box


def try_install(box: Box, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Install feedd in the box, or try to."""
    # What is compiled here is not measured, so that it need not be compiled well.
    command = ["env", "MYPYC_OPT_LEVEL=0", f"{IN_BOX}/deploy/install", "--wheels", WHEELS_IN_BOX, *arguments]
    return box.run(*command, check=False, timeout=INSTALL_SECONDS)


def install(box: Box, *arguments: str) -> str:
    """Install feedd in the box. Returns what was said."""
    done = try_install(box, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(box: Box) -> Box:
    """The box with feedd installed and not started."""
    install(box)
    return box


@pytest.fixture
def service(installed: Box) -> Iterator[Service]:
    """feedd, configured for the exchange in the box, and not started."""
    service = Service(installed)
    service.configure()
    yield service
    installed.run("systemctl", "stop", UNIT, check=False)
    service.systemctl("reset-failed", UNIT, check=False)


@pytest.fixture
def exchange(box: Box) -> Iterator[Exchange]:
    """An exchange that listens in the box."""
    exchange = Exchange(ExchangeSettings(symbols=SYMBOLS, rate=20.0))
    box.call(exchange.start(port=EXCHANGE_PORT))
    yield exchange
    box.call(exchange.stop())
