"""The house's bars, and that what measures them sees what it should."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.structure import (
    PICTURE,
    PICTURE_BEGINS,
    PICTURE_ENDS,
    PROJECT,
    House,
    drawn_into,
    picture,
    report,
)

HOUSE = House.at(PROJECT)

ALLOWED_WRITES = {
    "outputs/http/server.py self._runner.server.request_factory": (
        "aiohttp's runner makes its server itself, and a server takes what makes its requests in no other way"
    ),
}
"""The writes across an owner's border that stay, each with its reason."""


def test_files_import_each_other_in_no_circle() -> None:
    assert HOUSE.circles == []


def test_few_files_lie_at_the_top() -> None:
    assert len(HOUSE.top_files) <= 9, HOUSE.top_files


def test_state_is_changed_by_its_owner() -> None:
    assert [str(write) for write in HOUSE.writes if write.key not in ALLOWED_WRITES] == []
    assert len(HOUSE.writes) <= 5


def test_every_write_that_is_allowed_exists_and_is_reasoned() -> None:
    assert ALLOWED_WRITES.keys() == {write.key for write in HOUSE.writes if write.key in ALLOWED_WRITES}
    assert all(ALLOWED_WRITES.values())


def test_functions_are_short() -> None:
    assert len(HOUSE.long_functions) <= 1, HOUSE.long_functions


def test_what_is_public_is_documented() -> None:
    assert HOUSE.docstring_share >= 0.95, [place for place, has_one in HOUSE.public.items() if not has_one]


def test_no_two_files_of_one_floor_share_a_name() -> None:
    assert HOUSE.twin_modules == []


def test_no_two_classes_of_the_daemon_share_a_name() -> None:
    assert HOUSE.twin_classes == []


def test_every_module_of_some_size_has_its_own_tests() -> None:
    assert HOUSE.unmirrored == []


def test_architecture_shows_the_house_as_it_is() -> None:
    """It is drawn by `python -m tests.structure --picture`."""
    text = (PROJECT / PICTURE).read_text("utf-8")
    assert text == drawn_into(text, HOUSE)


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (PROJECT / page).read_text("utf-8").replace("feedd/a/b.py", "").replace("tests/a/test_b.py", "")
    folders = [PROJECT / name for name in ("feedd", "tests", "deploy")]
    paths = [str(path) for folder in folders for path in folder.rglob("*.py")] + [str(PROJECT / "setup.py")]
    for name in set(re.findall(r"(?<![\w/…])[\w/]+\.py\b", text)):
        assert any(path.endswith(f"/{name}") for path in paths), name


def house(**sources: str) -> House:
    """Build a house of small sources: `core__gate` is feedd/core/gate.py."""
    return House({f"feedd/{name.replace('__', '/', 1)}.py": text for name, text in sources.items()})


@pytest.mark.parametrize(
    "back",
    [
        "import feedd.core.a",
        "from feedd.core import a",
        "from feedd.core.a import f",
        "from . import a",
        "from .a import f",
        "def late():\n    from feedd.core.a import f",
        "if TYPE_CHECKING:\n    from feedd.core.a import f",
    ],
)
def test_circle_is_found_however_it_is_closed(back: str) -> None:
    made = house(core__a="from feedd.core.b import g", core__b="import feedd.core.c", core__c=back, model="")
    assert made.circles == [["core/a.py", "core/b.py", "core/c.py"]]


def test_circle_through_a_folders_own_file_is_found() -> None:
    sources = {"feedd/__init__.py": "from feedd.core import gate", "feedd/core/gate.py": "import feedd"}
    assert House(sources).circles == [["__init__.py", "core/gate.py"]]


@pytest.mark.parametrize("text", ["from feedd.core.b import a", "import other.core.b", "import feedd.core.b"])
def test_one_way_is_no_circle(text: str) -> None:
    assert house(core__a=text, core__b="a = 1").circles == []


def test_rooms_stand_as_high_as_what_they_import() -> None:
    made = house(
        model="",
        errors="from feedd.model import X",
        core__gate="from feedd import model\nfrom feedd.core.other import y",
        core__other="",
        outputs__relay="from feedd.core.gate import Gate\nimport feedd.errors",
        sources__live="from feedd.core import gate",
        daemon="import feedd.outputs.relay, feedd.sources.live",
    )
    assert made.floors == [["model"], ["core", "errors"], ["outputs", "sources"], ["daemon"]]
    assert sum(map(len, made.arrows.values())) == 7
    assert picture(made).splitlines() == [
        " 3  daemon   → sources outputs",
        "",
        " 2  outputs  → errors core",
        "    sources  → core",
        "",
        " 1  core     → model",
        "    errors   → model",
        "",
        " 0  model",
    ]


def test_rooms_in_a_circle_stand_on_one_floor() -> None:
    made = house(a="import feedd.b", b="import feedd.a", c="import feedd.b", d="")
    assert made.floors == [["a", "b", "d"], ["c"]]


@pytest.mark.parametrize(
    ("statement", "targets"),
    [
        ("self.a.b = 1", ["self.a.b"]),
        ("x.a.b[key] += 1", ["x.a.b[key]"]),
        ("x.a[key].b = 1", ["x.a[key].b"]),
        ("x.a().b = 1", ["x.a().b"]),
        ("del x.a.b", ["x.a.b"]),
        ("x.a.b: int = 1", ["x.a.b"]),
        ("taken, x.a.b = x.a.b, []", ["x.a.b"]),
        ("[*x.a.b, (y.a, y.a.c)] = it", ["x.a.b", "y.a.c"]),
        ("for x.a.b in it: pass", ["x.a.b"]),
        ("with it as x.a.b: pass", ["x.a.b"]),
        ("x.a.b = x.c.d = 1", ["x.a.b", "x.c.d"]),
        ("self.a = 1", []),
        ("self.a[key] = 1", []),
        ("x.a = y.b.c", []),
        ("a[key] = x.a.b", []),
        ("x.a.setdefault(key, {})[other] = 1", []),
        ("x.a.b.append(1)", []),
    ],
)
def test_write_through_two_dots_is_found(statement: str, targets: list[str]) -> None:
    assert [write.target for write in house(core__a=statement).writes] == targets


@pytest.mark.parametrize(
    ("owner", "count"),
    [
        ("def __init__(self):\n        self.part = Part()", 0),
        ("def __init__(self):\n        self.part: Part = Part()", 0),
        ("part: Part = field(default_factory=Part)", 0),
        ("def __init__(self, part):\n        self.part = part", 1),
        ("def __init__(self):\n        self.part = Imported()", 1),
        ("part: Imported = field(default_factory=Imported)", 1),
    ],
)
def test_part_that_the_owner_made_is_its_own(owner: str, count: int) -> None:
    text = f"class Part: pass\nclass Owner:\n    {owner}\n    def f(self):\n        self.part.x += 1\n"
    assert len(house(core__a=text).writes) == count


def test_part_of_a_neighbour_is_not_the_owners() -> None:
    made = "class Part: pass\nclass A:\n    def __init__(self):\n        self.part = Part()\n"
    assert len(house(a=f"{made}class B:\n    def f(self):\n        self.part.x = 1\n").writes) == 1
    assert len(house(a=f"{made}    def f(self, other):\n        other.part.x = 1\n").writes) == 1
    assert len(house(a=f"{made}    def f(self):\n        self.part.more.x = 1\n").writes) == 1


def test_write_is_named_by_its_place() -> None:
    (write,) = house(core__a="\nx.a.b = 1").writes
    assert (str(write), write.key) == ("core/a.py:2 x.a.b", "core/a.py x.a.b")


def function(lines: int, docstring: str = "") -> str:
    return f"async def long():\n{docstring}" + "    pass\n" * lines


def test_function_is_long_by_its_body() -> None:
    docstring = '    """One.\n\n    Two.\n    """\n'
    assert house(a=function(40)).long_functions == []
    assert house(a=function(40, docstring)).long_functions == []
    assert house(a="\n" + function(41, docstring)).long_functions == ["a.py:2 long (41 lines)"]
    assert house(a="class A:\n    def f(self):" + "\n        pass" * 41).long_functions == [
        "a.py:2 f (41 lines)"
    ]


def test_docstrings_of_what_is_public_are_counted() -> None:
    made = house(
        a='''"""Module."""
class A:
    """Class."""
    def f(self): ...
    def _private(self): ...
    def __init__(self): ...
    @property
    def p(self):
        """Docstring."""
    @p.setter
    def p(self, value): ...
class _Private:
    def f(self): ...
@overload
def g(): ...
def g():
    """Docstring."""
    def inner(): ...
'''
    )
    assert [place for place, has_one in made.public.items() if not has_one] == ["a.py:4 A.f"]
    assert made.docstring_share == 4 / 5


def test_mirror_is_demanded_of_more_than_fifty_lines() -> None:
    long, short = "x = 1\n" * 51, "x = 1\n" * 50
    sources = {
        "feedd/core/gate.py": long,
        "feedd/core/clock.py": long,
        "feedd/core/small.py": short,
        "feedd/core/__init__.py": long,
        "feedd/daemon.py": long,
        "tests/core/test_gate.py": "",
        "tests/test_clock.py": "",
    }
    assert House(sources).unmirrored == ["core/clock.py", "daemon.py"]


def test_twins_are_found_on_a_floor() -> None:
    sources = {
        "feedd/core/gate.py": "",
        "feedd/sources/live/feed.py": "",
        "feedd/sources/__init__.py": "",
        "feedd/outputs/__init__.py": "",
        "feedd/outputs/ws/feed.py": "",
        "feedd/client/gate.py": "",
        "feedd/client/feed.py": "",
        "tests/test_floors.py": 'FLOORS = (({"core"},), ({"sources"}, {"outputs"}))',
    }
    assert House(sources).twin_modules == ["outputs/ws/feed.py sources/live/feed.py"]


def test_classes_of_one_name_are_found_in_the_daemon() -> None:
    made = house(
        core__a="class Gate: pass",
        outputs__b="\nclass Gate: pass",
        client__c="class Gate: pass\nclass Feed: pass",
        sources__d="class Feed: pass",
    )
    assert made.twin_classes == ["Gate: core/a.py:1 outputs/b.py:2"]


def test_report_lists_what_has_a_bar() -> None:
    lines = report(house(core__a="x.a.b = 1\nimport feedd.model", model="")).splitlines()
    assert lines[:4] == [
        "rooms                          2",
        "floors                         2",
        "arrows                         1",
        "circles                        0",
    ]
    assert "cross-border writes            1\n    core/a.py:1 x.a.b" in "\n".join(lines)


def test_script_measures_another_checkout(tmp_path: object) -> None:
    command = [sys.executable, "-m", "tests.structure", "--root", str(tmp_path)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True, text=True)
    assert run.stdout.startswith("rooms                          0\n")


def test_picture_is_drawn_between_its_marks() -> None:
    made = house(model="")
    text = f"before\n{PICTURE_BEGINS}\nold\n{PICTURE_ENDS}\nafter\n"
    assert drawn_into(text, made) == (
        f"before\n{PICTURE_BEGINS}\n```text\n 0  model\n```\n{PICTURE_ENDS}\nafter\n"
    )
    with pytest.raises(ValueError, match="no marks"):
        drawn_into("before", made)
