"""Measures how the house is built, from its sources alone: `python -m tests.structure [--root DIR]`.

    room      a folder of feedd/, or a file at its top
    floor     rooms of one height: the longest way down from a room through imports says how high it stands
    arrow     one room imports another, wherever in its files and also for types only
    circle    files that import each other, directly or not
    write     an assignment through two dots or more, so into another object's attribute, unless the writer's
              class made that object, of a class in the same file
    long      a function whose body, without its docstring, has more than 40 lines
    mirror    tests/<room>/test_<module>.py of feedd/<room>/<module>.py

`--picture` draws the rooms into docs/architecture.md.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PICTURE = "docs/architecture.md"
PICTURE_BEGINS, PICTURE_ENDS = "<!-- picture: python -m tests.structure --picture -->", "<!-- /picture -->"

LONG_LINES = 40
MIRRORED_LINES = 50
APART = {"exchange", "drill", "client"}
"""What stands beside the daemon: programs and a library of their own, with names of their own."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    name: str
    """As it is imported, such as `feedd.core.gate`; a folder's own file has the folder's name."""
    path: str
    """Below `feedd/`."""
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        """The folder, or the file at the top, that it belongs to."""
        return self.path.partition("/")[0].removesuffix(".py")

    @property
    def is_folders_own(self) -> bool:
        return self.path.endswith("__init__.py")


class House:
    """The package and the tests of a checkout, or of sources by their paths below the checkout."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """`sources` has every Python file of feedd/ and tests/."""
        self._files = set(sources)
        self._tests_of_floors = sources.get("tests/test_floors.py", "")
        inside = {
            path.removeprefix("feedd/"): text for path, text in sources.items() if path.startswith("feedd/")
        }
        self.modules = {module.name: module for module in map(_module, inside, inside.values())}

    @classmethod
    def at(cls, root: Path) -> House:
        """Read a checkout."""
        paths = [path for folder in ("feedd", "tests") for path in sorted((root / folder).rglob("*.py"))]
        return cls({path.relative_to(root).as_posix(): path.read_text("utf-8") for path in paths})

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """The modules that each module imports."""
        return {name: set(_imported(module, self.modules)) - {name} for name, module in self.modules.items()}

    @cached_property
    def arrows(self) -> dict[str, set[str]]:
        """The rooms that each room imports."""
        arrows: dict[str, set[str]] = {module.room: set() for module in self.modules.values()}
        for name, others in self.imports.items():
            room = self.modules[name].room
            arrows[room] |= {self.modules[other].room for other in others} - {room}
        return arrows

    @cached_property
    def floors(self) -> list[list[str]]:
        """The rooms from the ground up; rooms in a circle stand on one floor."""
        reach = _reach(self.arrows)
        heights: dict[str, int] = {}

        def height(room: str) -> int:
            if room not in heights:
                below = [other for other in reach[room] if room not in reach[other]]
                heights[room] = 1 + max(map(height, below), default=-1)
            return heights[room]

        floors = defaultdict(list)
        for room in sorted(self.arrows):
            floors[height(room)].append(room)
        return [floors[level] for level in sorted(floors)]

    @cached_property
    def circles(self) -> list[list[str]]:
        """Groups of files that import each other."""
        reach = _reach(self.imports)
        groups = {
            tuple(sorted(self.modules[other].path for other in reach[name] if name in reach[other]))
            for name in reach
            if name in reach[name]
        }
        return [list(group) for group in sorted(groups)]

    @cached_property
    def top_files(self) -> list[str]:
        """The files that lie in feedd/ itself."""
        return sorted(module.path for module in self.modules.values() if "/" not in module.path)

    @cached_property
    def writes(self) -> list[Write]:
        """Every write across an owner's border."""
        return [write for module in self._in_order for write in _writes(module)]

    @cached_property
    def functions(self) -> list[tuple[str, int]]:
        """Every function's place and the lines of its body."""
        return [
            (f"{module.path}:{node.lineno} {node.name}", _body_lines(node))
            for module in self._in_order
            for node in ast.walk(module.tree)
            if isinstance(node, Function)
        ]

    @cached_property
    def long_functions(self) -> list[str]:
        return [f"{place} ({lines} lines)" for place, lines in self.functions if lines > LONG_LINES]

    @cached_property
    def public(self) -> dict[str, bool]:
        """Whether each public module, class, function and method has a docstring, by its place."""
        return {
            place: bool(ast.get_docstring(node))
            for module in self._in_order
            for place, node in _public(module)
        }

    @property
    def docstring_share(self) -> float:
        """The documented share of what is public, from 0 to 1."""
        return sum(self.public.values()) / max(1, len(self.public))

    @cached_property
    def unmirrored(self) -> list[str]:
        """Modules of more than 50 lines without a test file of their own."""
        return [
            module.path
            for module in self._in_order
            if module.lines > MIRRORED_LINES
            and not module.is_folders_own
            and _mirror_of(module) not in self._files
        ]

    @cached_property
    def twin_modules(self) -> list[str]:
        """Names that two files of one floor have, as tests/test_floors.py knows the floors."""
        floor_of = {}
        for node in ast.parse(self._tests_of_floors).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS":
                floors = ast.literal_eval(node.value)
                floor_of = {
                    name: level for level, rooms in enumerate(floors) for room in rooms for name in room
                }
        places = defaultdict(list)
        for module in self._in_order:
            if not module.is_folders_own:
                floor = floor_of.get(module.room, module.room)
                places[floor, Path(module.path).stem].append(module.path)
        return [" ".join(paths) for paths in places.values() if len(paths) > 1]

    @cached_property
    def twin_classes(self) -> list[str]:
        """Names that two classes of the daemon have."""
        places = defaultdict(list)
        for module in self._in_order:
            if module.room not in APART:
                for node in ast.walk(module.tree):
                    if isinstance(node, ast.ClassDef):
                        places[node.name].append(f"{module.path}:{node.lineno}")
        return [f"{name}: {' '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]

    @property
    def _in_order(self) -> list[Module]:
        return sorted(self.modules.values(), key=lambda module: module.path)


@dataclass(frozen=True)
class Write:
    """An assignment that changes another object's attribute."""

    path: str
    line: int
    target: str

    @property
    def key(self) -> str:
        """What names it for good: lines move."""
        return f"{self.path} {self.target}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.target}"


def _module(path: str, text: str) -> Module:
    parts = ["feedd", *Path(path).with_suffix("").parts]
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, path, ast.parse(text), len(text.splitlines()))


def _mirror_of(module: Module) -> str:
    path = Path("tests", module.path)
    return path.with_name(f"test_{path.name}").as_posix()


def _imported(module: Module, known: Iterable[str]) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(module, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
            # What is no module is something that the base itself says.
            names = [name if name in known else base for name in names]
        else:
            continue
        yield from (name for name in names if name in known)


def _base_of(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".")
    up = node.level - 1 if module.is_folders_own else node.level
    return ".".join([*package[: len(package) - up], *([node.module] if node.module else [])])


def _reach(arrows: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return what can be come to from each node, itself only by a circle."""
    reach = {}
    for start in arrows:
        seen: set[str] = set()
        ahead = [*arrows[start]]
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                ahead += arrows[node]
        reach[start] = seen
    return reach


def _writes(module: Module) -> Iterator[Write]:
    local_classes = {node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)}

    def visit(node: ast.AST, parts: set[str]) -> Iterator[Write]:
        if isinstance(node, ast.ClassDef):
            parts = set(_parts_made(node, local_classes))
        for target in _targets(node):
            chain = _chain(_without_subscripts(target))
            is_own_part = len(chain) == 3 and chain[0] == "self" and chain[1] in parts
            if len(chain) > 2 and not is_own_part:
                yield Write(module.path, target.lineno, ast.unparse(target))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, parts)

    yield from visit(module.tree, set())


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a statement assigns to or deletes, one by one."""
    targets: list[ast.expr] = []
    match node:
        case ast.Assign() | ast.Delete():
            targets = list(node.targets)
        case ast.AugAssign() | ast.AnnAssign() | ast.For() | ast.AsyncFor() | ast.comprehension():
            targets = [node.target]
        case ast.withitem(optional_vars=ast.expr() as target):
            targets = [target]
        case _:
            pass
    while targets:
        target = targets.pop(0)
        match target:
            case ast.Tuple() | ast.List():
                targets = [*target.elts, *targets]
            case ast.Starred():
                targets = [target.value, *targets]
            case _:
                yield target


def _without_subscripts(target: ast.expr) -> ast.expr | None:
    """Return the attribute that a target changes, or changes an item of; None if it is no attribute."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target if isinstance(target, ast.Attribute) else None


def _chain(target: ast.expr | None) -> list[str]:
    """Return the names that lead to a target: `self.a[0].b().c` is self, a, b, c."""
    match target:
        case ast.Attribute(value=value, attr=name):
            return [*_chain(value), name]
        case ast.Subscript(value=value) | ast.Call(func=value) | ast.Await(value=value):
            return _chain(value)
        case ast.Name(id=name):
            return [name]
        case None:
            return []
        case _:
            return ["?"]


def _parts_made(owner: ast.ClassDef, local_classes: set[str]) -> Iterator[str]:
    """Yield the attributes of a class that it fills itself, with instances of classes in the same file."""
    for node in ast.walk(owner):
        match node:
            case (
                ast.Assign(
                    targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)],
                    value=ast.Call(func=ast.Name(id=made)),
                )
                | ast.AnnAssign(
                    target=ast.Attribute(value=ast.Name(id="self"), attr=name),
                    value=ast.Call(func=ast.Name(id=made)),
                )
            ) if made in local_classes:
                yield name
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(keywords=keywords)):
                for keyword in keywords:
                    match keyword:
                        case ast.keyword(arg="default_factory", value=ast.Name(id=made)) if (
                            made in local_classes
                        ):
                            yield name
                        case _:
                            pass
            case _:
                pass


def _body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _public(module: Module) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    yield module.path, module.tree
    ahead: list[tuple[str, ast.stmt]] = [("", node) for node in module.tree.body]
    while ahead:
        prefix, node = ahead.pop(0)
        if isinstance(node, ast.ClassDef | Function) and not _is_private(node):
            yield f"{module.path}:{node.lineno} {prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                ahead += [(f"{prefix}{node.name}.", child) for child in node.body]


def _is_private(node: ast.ClassDef | Function) -> bool:
    # What is overloaded, or set, has its docstring where it is done, or got.
    said_elsewhere = ("overload", "typing.overload", f"{node.name}.setter")
    return node.name.startswith("_") or any(
        ast.unparse(decorator) in said_elsewhere for decorator in node.decorator_list
    )


def report(house: House) -> str:
    """Return the figures, and what stands behind those that have a bar."""
    lines = [
        f"rooms                          {len(house.arrows)}",
        f"floors                         {len(house.floors)}",
        f"arrows                         {sum(map(len, house.arrows.values()))}",
    ]
    lengths = Counter(lines > LONG_LINES for _, lines in house.functions)
    for title, found in (
        ("circles", [" ".join(circle) for circle in house.circles]),
        ("files at the top of feedd/", house.top_files),
        ("cross-border writes", [*map(str, house.writes)]),
        (f"functions over {LONG_LINES} lines", house.long_functions),
        ("names twice on one floor", house.twin_modules),
        ("classes of one name", house.twin_classes),
        ("modules without a mirror test", house.unmirrored),
        ("public without a docstring", [place for place, has_one in house.public.items() if not has_one]),
    ):
        lines += [f"{title:30} {len(found)}", *(f"    {one}" for one in found)]
    lines += [
        f"public docstring share         {house.docstring_share:.1%} of {len(house.public)}",
        f"functions                      {lengths.total()}",
    ]
    return "\n".join(lines)


def picture(house: House) -> str:
    """Draw the rooms, the highest floor first, each with what it imports."""
    width = max(map(len, house.arrows))
    order = [room for floor in house.floors for room in floor]
    lines = []
    for level, rooms in reversed([*enumerate(house.floors)]):
        for room in rooms:
            below = sorted(house.arrows[room], key=order.index, reverse=True)
            mark = f"{level:2}" if room == rooms[0] else "  "
            lines.append(f"{mark}  {room:{width}}  {'→ ' if below else ''}{' '.join(below)}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def drawn_into(text: str, house: House) -> str:
    """Return the document with the picture of that house between its marks."""
    head, begins, rest = text.partition(PICTURE_BEGINS)
    _, ends, tail = rest.partition(PICTURE_ENDS)
    if not (begins and ends):
        raise ValueError(f"{PICTURE} has no marks for the picture")
    return f"{head}{begins}\n```text\n{picture(house)}\n```\n{ends}{tail}"


def main() -> None:
    """Print the figures of a checkout, or draw its picture into its docs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, default=PROJECT, help="the checkout (default: this one)")
    parser.add_argument("--picture", action="store_true", help=f"draw the rooms into {PICTURE}")
    arguments = parser.parse_args()
    house = House.at(arguments.root)
    if arguments.picture:
        path = arguments.root / PICTURE
        path.write_text(drawn_into(path.read_text("utf-8"), house), "utf-8")
    else:
        print(report(house))


if __name__ == "__main__":
    main()
