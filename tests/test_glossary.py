"""The code speaks the words of docs/glossary.md, and none of those that it has given up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure import PROJECT, House, Module

TEXT = (PROJECT / "docs" / "glossary.md").read_text("utf-8")
USED, _, GIVEN_UP = TEXT.partition("## Words that are not used")
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `(\w+)` ([\w/.]+) \|$", USED, flags=re.M)
OLD_ROWS = re.findall(r"^\| (.+) \| .+ \|$", GIVEN_UP, flags=re.M)
OLD = {word.strip() for words in OLD_ROWS[1:] for word in words.split(",")}
OLD_VERBS = {word.removesuffix("()") for word in OLD if word.endswith("()")}
OLD_WORDS = {word for word in OLD if word.islower() and not word.endswith("()")}
OLD_CLASSES = OLD - OLD_WORDS - {f"{verb}()" for verb in OLD_VERBS}

HOUSE = House.at(PROJECT)


def old_names(module: Module) -> list[str]:
    """Return the identifiers of a file that are given up, each with its place."""
    found = [
        f"{module.path} {part}" for part in Path(module.path).with_suffix("").parts if has_old_word(part)
    ]
    for name, node in identifiers(module.tree):
        bare = name.strip("_")
        is_old = (
            has_old_word(name)
            or (isinstance(node, ast.ClassDef) and bare in OLD_CLASSES)
            or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and bare in OLD_VERBS)
        )
        if is_old:
            found.append(f"{module.path}:{getattr(node, 'lineno', 0)} {name}")
    return found


def identifiers(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield every name that the file gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node
            case ast.arg(arg=name) | ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name, node
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node
            case ast.alias(asname=str(name)):
                yield name, node
            case _:
                pass


def has_old_word(name: str) -> bool:
    words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)
    return any({word.lower(), word.lower().removesuffix("s")} & OLD_WORDS for word in words)


@pytest.mark.parametrize("module", HOUSE.modules.values(), ids=lambda module: module.path)
def test_no_word_is_used_that_was_given_up(module: Module) -> None:
    assert old_names(module) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("class Desk: pass", ["Desk"]),
        ("class _Session: pass", ["_Session"]),
        ("class DeskState: pass", ["DeskState"]),
        ("lanes = {}", ["lanes"]),
        ("self._open_door = 1", ["_open_door"]),
        ("def f(intake): pass", ["intake"]),
        ("def read_rhythm(): pass", ["read_rhythm"]),
        ("async def look(): pass", ["look"]),
        ("import x as hub", ["hub"]),
        ("MANNERS = 1", ["MANNERS"]),
        ("for door, x in y: pass", ["door"]),
        ("'a desk'  # of lanes\nx = {'standing': aiohttp.ClientSession()}", []),
        ("def take_changes(): pass\ndef second_look(): pass\ntake = 1", []),
        ("class SessionLimits: pass\nsession = 1\nclass Board2: pass", []),
        ("outdoors = github = planet = 1", []),
    ],
)
def test_old_word_is_found_in_identifiers_only(text: str, names: list[str]) -> None:
    module = House({"feedd/core/x.py": text}).modules["feedd.core.x"]
    assert [found.rpartition(" ")[2] for found in old_names(module)] == names


def test_old_word_is_found_in_a_files_name() -> None:
    modules = House({"feedd/core/desk.py": "", "feedd/lanes/x.py": ""}).modules.values()
    assert [old_names(module) for module in modules] == [["core/desk.py desk"], ["lanes/x.py lanes"]]


def test_table_of_old_words_is_read() -> None:
    assert {"Desk", "Session", "Visitor"} <= OLD_CLASSES
    assert {"desk", "lane", "hub"} <= OLD_WORDS
    assert {"look", "tell", "take", "follow", "heed"} == OLD_VERBS


def public_classes(room: str) -> Iterator[str]:
    for module in HOUSE.modules.values():
        if module.room == room:
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield f"{node.name} {module.path}"


def test_every_public_class_of_the_core_is_explained() -> None:
    explained = {f"{name} {path}" for _, _, name, path in ROWS}
    assert [found for found in public_classes("core") if found not in explained] == []


@pytest.mark.parametrize(("word", "name", "path"), [(row[0], row[2], row[3]) for row in ROWS])
def test_every_word_is_where_it_is_said_to_be(word: str, name: str, path: str) -> None:
    tree = ast.parse((PROJECT / "feedd" / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}, word


def test_every_row_is_read_and_no_word_is_explained_twice() -> None:
    words = [row[0] for row in ROWS]
    tables = USED.count("\n|---|")
    assert len(words) == USED.count("\n| ") - tables
    assert len(set(words)) == len(words)
