"""deploy/install and deploy/rollback below a folder, without systemd; tests/system has them on a machine.

The releases here are of a program that has feedd's name and no more than deploy needs of it, so that they are
built quickly: `feedd --version`, and `feedd check`, which refuses an env-file with what it doesn't know.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedd.config.describe import sample
from tests.system_components import needs

CHECKOUT = Path(__file__).parents[1]
FIRST, SECOND = "1.0.0", "1.1.0"
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "feedd"
dynamic = ["version"]
[project.scripts]
feedd = "feedd.cli:main"
[tool.setuptools]
packages = ["feedd"]
[tool.setuptools.dynamic]
version = { attr = "feedd.MODULE.__version__" }
"""
CLI = """
import sys
from pathlib import Path
from feedd.MODULE import __version__

def main():
    if sys.argv[1:] == ["--version"]:
        print("feedd", __version__)
    elif sys.argv[1:3] == ["check", "--env-file"]:
        print("KEY=value")
        if f"NOT_IN_{__version__}" in Path(sys.argv[3]).read_text():
            print("feedd: there is a key that nobody knows", file=sys.stderr)
            return 2
"""


def make_tree(folder: Path, version: str, cli: str = CLI, module: str = "_version") -> Path:
    """Make a checkout whose sample env-file and unit name its version, which that module holds."""
    (folder / "feedd").mkdir(parents=True)
    (folder / "feedd" / "__init__.py").touch()
    (folder / "feedd" / f"{module}.py").write_text(f'__version__ = "{version}"\n')
    (folder / "feedd" / "cli.py").write_text(cli.replace("MODULE", module))
    (folder / "pyproject.toml").write_text(PYPROJECT.replace("MODULE", module))
    (folder / "setup.py").write_text("import setuptools; setuptools.setup()\n")
    (folder / "requirements.lock").write_text(lock_of_setuptools())
    shutil.copytree(CHECKOUT / "deploy", folder / "deploy")
    (folder / "systemd").mkdir()
    (folder / "systemd" / "feedd.env").write_text(f"# of {version}\nFLAG_REALTIME=0\n")
    (folder / "systemd" / "feedd.service").write_text(f"# of {version}\n[Service]\n")
    return folder


def lock_of_setuptools() -> str:
    found = re.search(
        r"^setuptools==.*(?:\n    --hash.*)+", (CHECKOUT / "requirements.lock").read_text(), re.MULTILINE
    )
    assert found is not None
    return found[0].removesuffix("\\") + "\n"


class Machine:
    """A folder that feedd is installed below."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root = root
        self.wheels = wheels
        self.base = root / "opt" / "feedd"
        self.env_file = root / "etc" / "feedd" / "feedd.env"
        self.new_env_file = self.env_file.with_name("feedd.env.new")
        self.unit = root / "etc" / "systemd" / "system" / "feedd.service"

    def install(self, tree: Path, *arguments: str | Path) -> str:
        return said(self.try_install(tree, *arguments))

    def try_install(self, tree: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [tree / "deploy" / "install", "--root", self.root, "--wheels", self.wheels, *arguments]
        return run(*command)

    def rollback(self, *arguments: str) -> str:
        return said(self.try_rollback(*arguments))

    def try_rollback(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(CHECKOUT / "deploy" / "rollback", "--root", self.root, *arguments)

    @property
    def in_use(self) -> str:
        """The version that the link leads to."""
        return run(self.base / "current" / "bin" / "feedd", "--version").stdout.split()[1]

    @property
    def releases(self) -> list[str]:
        return sorted(path.name for path in (self.base / "releases").iterdir())

    def state(self) -> dict[str, tuple[int, int]]:
        """Return what tells whether anything was changed: every file's inode and time of change."""
        return {
            str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
            for path in self.root.rglob("*")
            if path.name != ".lock" and "__pycache__" not in path.parts
        }


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    # What is installed must be found, and not what these tests are run on.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkouts, and the packages that they need."""
    needs("/usr/bin/python3 with venv", run("/usr/bin/python3", "-c", "import ensurepip").returncode == 0)
    needs("flock", shutil.which("flock"))
    folder = tmp_path_factory.mktemp("workshop")
    make_tree(folder / FIRST, FIRST, module="__init__")  # as checkouts were before
    make_tree(folder / SECOND, SECOND)
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--require-hashes", "--no-deps"]
    said(run(*pip, "-r", folder / FIRST / "requirements.lock", "-d", folder / "wheels"))
    return folder


@pytest.fixture(scope="module")
def first_only(workshop: Path) -> Machine:
    """The first release is in use. Not to be changed."""
    machine = Machine(workshop / "first", workshop / "wheels")
    machine.install(workshop / FIRST)
    return machine


@pytest.fixture(scope="module")
def first_and_second(workshop: Path, first_only: Machine) -> Machine:
    """The first release was in use, and now the second is. Not to be changed."""
    machine = copy(first_only, workshop / "second")
    machine.install(workshop / SECOND)
    return machine


def copy(machine: Machine, root: Path) -> Machine:
    shutil.copytree(machine.root, root, symlinks=True)
    return Machine(root, machine.wheels)


@pytest.fixture
def one(first_only: Machine, tmp_path: Path) -> Machine:
    """A machine with the first release."""
    return copy(first_only, tmp_path / "root")


@pytest.fixture
def two(first_and_second: Machine, tmp_path: Path) -> Machine:
    """A machine with the second release in use, and the first kept."""
    return copy(first_and_second, tmp_path / "root")


def test_release_is_put_in_use_with_all_that_belongs_to_it(first_only: Machine, workshop: Path) -> None:
    assert first_only.in_use == FIRST
    assert (first_only.base / "current").readlink() == Path("releases") / FIRST
    assert first_only.env_file.read_text() == (workshop / FIRST / "systemd" / "feedd.env").read_text()
    assert first_only.unit.read_text() == (workshop / FIRST / "systemd" / "feedd.service").read_text()
    assert (first_only.root / "usr/local/bin/feedd").readlink() == Path("/opt/feedd/current/bin/feedd")
    assert (first_only.root / "var/lib/feedd").is_dir()
    assert not (workshop / FIRST / "build").exists(), "a build leaves nothing in the checkout"


def test_service_without_rights_can_read_it_all(first_only: Machine) -> None:
    for path in first_only.root.rglob("*"):
        if not path.is_symlink() and path.name != ".lock":
            wanted = 0o005 if path.is_dir() else 0o004
            assert path.stat().st_mode & wanted == wanted, path
            assert not path.stat().st_mode & 0o022, path


def test_installing_the_same_again_changes_nothing(one: Machine, workshop: Path) -> None:
    before = one.state()
    assert f"{FIRST} is in use already" in one.install(workshop / FIRST)
    assert one.state() == before


def test_second_release_takes_over(first_and_second: Machine) -> None:
    assert first_and_second.in_use == SECOND
    assert first_and_second.releases == [FIRST, SECOND]
    assert f"of {SECOND}" in first_and_second.unit.read_text()
    assert f"of {SECOND}" in first_and_second.env_file.read_text(), "nobody had edited it"
    assert not first_and_second.new_env_file.exists()


def test_rollback_goes_back_one_release_and_never_two(two: Machine) -> None:
    assert f"{FIRST} is in use, {SECOND} was" in two.rollback()
    assert two.in_use == FIRST
    assert f"of {FIRST}" in two.unit.read_text()
    assert two.rollback("--list") == f"{SECOND} (rolled back)\n{FIRST} (in use)\n"
    before = two.state()
    assert f"{FIRST} is in use already; {SECOND} was rolled back" in two.rollback()
    assert two.state() == before


def test_rollback_goes_where_it_is_told_to(two: Machine) -> None:
    two.rollback("--to", FIRST)
    assert two.in_use == FIRST
    two.rollback("--to", SECOND)
    assert two.in_use == SECOND
    done = two.try_rollback("--to", "9.9.9")
    assert (done.returncode, two.in_use) == (1, SECOND)
    assert "there is no release 9.9.9" in done.stderr


def test_rollback_of_the_first_release_is_refused(one: Machine) -> None:
    done = one.try_rollback()
    assert (done.returncode, one.in_use) == (1, FIRST)
    assert f"there is no release to go back to: {FIRST} is the first" in done.stderr


def test_rollback_to_a_release_that_refuses_the_env_file_is_refused(two: Machine) -> None:
    two.env_file.write_text(f"NOT_IN_{FIRST}=1\n")
    done = two.try_rollback()
    assert (done.returncode, two.in_use) == (1, SECOND)
    assert "there is a key that nobody knows" in done.stderr
    assert f"{SECOND} stays in use" in done.stderr


def test_release_that_was_rolled_back_is_used_again_without_a_build(two: Machine, workshop: Path) -> None:
    two.rollback()
    said = two.install(workshop / SECOND)
    assert "building" not in said
    assert two.in_use == SECOND
    two.rollback()
    assert two.in_use == FIRST


def test_last_three_releases_are_kept(two: Machine, workshop: Path) -> None:
    for number, name in enumerate(("0.7.0", "0.8.0", "0.9.0"), start=-3):
        older = two.base / "releases" / name
        shutil.copytree(two.base / "releases" / FIRST, older, symlinks=True)
        (older / "release").write_text(f"version={name}\nsequence={number}\ndigest=other\n")
    said = two.install(workshop / SECOND)
    assert two.releases == ["0.9.0", FIRST, SECOND]
    assert "removed 0.7.0\n" in said
    assert "removed 0.8.0\n" in said


def test_release_to_go_back_to_is_kept_however_old(two: Machine, workshop: Path) -> None:
    two.rollback("--to", FIRST)
    for number, name in enumerate(("2.0.0", "2.1.0"), start=10):
        newer = two.base / "releases" / name
        shutil.copytree(two.base / "releases" / FIRST, newer, symlinks=True)
        (newer / "release").write_text(f"version={name}\nsequence={number}\ndigest=other\n")
    two.install(workshop / SECOND)
    assert two.releases == [FIRST, SECOND, "2.1.0"]
    two.rollback()
    assert two.in_use == FIRST


def test_edited_env_file_stays_and_a_new_sample_is_put_beside_it(two: Machine, workshop: Path) -> None:
    two.rollback()
    edited = two.env_file.read_text().replace("FLAG_REALTIME=0", "FLAG_REALTIME=1")
    two.env_file.write_text(edited)
    said = two.install(workshop / SECOND)
    assert two.env_file.read_text() == edited
    assert f"of {SECOND}" in two.new_env_file.read_text()
    assert str(two.new_env_file) in said
    assert str(two.new_env_file) not in two.install(workshop / SECOND), "it is said once"


def test_edited_env_file_is_left_in_peace_while_the_sample_is_the_same(one: Machine, workshop: Path) -> None:
    one.env_file.write_text("FLAG_REALTIME=1\n")
    one.install(workshop / FIRST)
    assert one.env_file.read_text() == "FLAG_REALTIME=1\n"
    assert not one.new_env_file.exists()


def test_edited_unit_stays_too(two: Machine, workshop: Path) -> None:
    two.rollback()
    two.unit.write_text("[Service]\nNice=5\n")
    two.install(workshop / SECOND)
    assert two.unit.read_text() == "[Service]\nNice=5\n"
    assert f"of {SECOND}" in two.unit.with_name("feedd.service.new").read_text()


def test_env_file_that_was_removed_is_not_put_back(one: Machine, workshop: Path) -> None:
    one.env_file.unlink()
    assert "stays gone" in one.install(workshop / FIRST)
    assert not one.env_file.exists()


def test_release_that_does_not_run_is_refused(one: Machine, tmp_path: Path) -> None:
    done = one.try_install(make_tree(tmp_path / "broken", "2.0.0", "raise RuntimeError('broken')\n"))
    assert done.returncode == 1
    assert "feedd 2.0.0 does not run" in done.stderr
    assert (one.in_use, one.releases) == (FIRST, [FIRST])
    assert f"of {FIRST}" in one.unit.read_text()


def test_release_without_its_packages_is_refused(one: Machine, workshop: Path, tmp_path: Path) -> None:
    done = one.try_install(workshop / SECOND, "--wheels", tmp_path)
    assert done.returncode == 1
    assert "the packages can't be installed" in done.stderr
    assert (one.in_use, one.releases) == (FIRST, [FIRST])


def test_release_that_refuses_the_env_file_is_refused(two: Machine, workshop: Path) -> None:
    two.rollback()
    two.env_file.write_text(f"NOT_IN_{SECOND}=1\n")
    done = two.try_install(workshop / SECOND)
    assert done.returncode == 1
    assert "there is a key that nobody knows" in done.stderr
    assert f"{FIRST} stays in use" in done.stderr
    assert two.in_use == FIRST


def test_changed_checkout_of_the_same_version_is_a_release_of_its_own(
    one: Machine, workshop: Path, tmp_path: Path
) -> None:
    tree = make_tree(tmp_path / "tree", FIRST, CLI + "# changed\n")
    assert f"{FIRST}-2 is in use, {FIRST} was" in one.install(tree)
    assert one.releases == [FIRST, f"{FIRST}-2"]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_package_is_installed_like_a_checkout(
    one: Machine, workshop: Path, tmp_path: Path, kind: str
) -> None:
    tree, built = make_tree(tmp_path / "tree", SECOND), tmp_path / "built"
    build = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(built)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (package,) = built.iterdir()
    one.install(workshop / SECOND, package)
    assert (one.in_use, one.releases) == (SECOND, [FIRST, SECOND])


def test_what_an_interrupted_install_left_is_removed(one: Machine, workshop: Path) -> None:
    (one.base / "releases" / SECOND / "bin").mkdir(parents=True)
    assert "unfinished" in one.install(workshop / FIRST)
    assert one.releases == [FIRST]


def test_two_installs_at_once_are_one_too_many(one: Machine, workshop: Path) -> None:
    with (one.base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for done in (one.try_install(workshop / FIRST), one.try_rollback()):
            assert done.returncode == 1
            assert "another install or rollback is under way" in done.stderr


@pytest.fixture(params=["install", "rollback"])
def script(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield CHECKOUT / "deploy" / request.param


def test_help_says_how_it_is_used(script: Path) -> None:
    assert said(run(script, "--help")).startswith(f"Usage: deploy/{script.name} ")


def test_wrong_usage_is_exit_2(script: Path) -> None:
    for arguments in (["--unknown"], ["--root"]):
        done = run(script, *arguments)
        assert done.returncode == 2
        assert "see --help" in done.stderr


def test_what_is_no_feedd_is_refused(tmp_path: Path) -> None:
    done = run(CHECKOUT / "deploy" / "install", "--root", tmp_path / "root", tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} is no checkout, wheel or sdist of feedd" in done.stderr


def test_shell_is_clean(script: Path) -> None:
    needs("shellcheck", shutil.which("shellcheck"))
    assert said(run("shellcheck", "--external-sources", f"--source-path={CHECKOUT}", script)) == ""
    assert os.access(script, os.X_OK)


def test_sample_env_file_is_what_the_settings_say() -> None:
    """It is made by python -c 'from feedd.config.describe import sample; print(sample(), end="")'."""
    assert (CHECKOUT / "systemd" / "feedd.env").read_text() == sample()
