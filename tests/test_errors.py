"""The tree of errors that feedd.errors draws is the tree of the classes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator

import feedd
from feedd import errors
from feedd.errors import FeeddError

Drawn = tuple[tuple[str, ...], str]
"""An error's name, after those of its bases below FeeddError, and the module that it is in."""
BRANCH = re.compile(
    r"^    (?P<indent>(?:│   |    )*)[├└]── (?P<name>\w+) +\w.*?(?: \((?P<module>[\w.]+)\))?$"
)


def drawn(text: str) -> Iterator[Drawn]:
    """Read a tree such as the docstring's. Without a module it is `errors` itself."""
    path: list[str] = []
    for branch in filter(None, map(BRANCH.match, text.splitlines())):
        path[len(branch["indent"]) // 4 :] = [branch["name"]]
        yield tuple(path), branch["module"] or "errors"


def defined(base: type[FeeddError], path: tuple[str, ...] = ()) -> Iterator[Drawn]:
    """Walk the public classes of feedd that derive from `base`."""
    for error in base.__subclasses__():
        package, _, module = error.__module__.partition(".")
        if package == "feedd" and not error.__name__.startswith("_"):
            yield (*path, error.__name__), module
            yield from defined(error, (*path, error.__name__))


def test_tree_in_the_docstring_is_that_of_the_classes() -> None:
    for module in pkgutil.walk_packages(feedd.__path__, "feedd."):
        if module.name != "feedd.__main__":  # importing it runs the command line
            importlib.import_module(module.name)
    assert sorted(drawn(errors.__doc__ or "")) == sorted(defined(FeeddError))


def test_tree_is_read_with_its_levels_and_modules() -> None:
    text = """
    FeeddError
    ├── OneError     of the root
    │   └── TwoError       of the first (in.some_module)
    └── ThreeError   of (this) root again
    """
    assert list(drawn(text)) == [
        (("OneError",), "errors"),
        (("OneError", "TwoError"), "in.some_module"),
        (("ThreeError",), "errors"),
    ]
