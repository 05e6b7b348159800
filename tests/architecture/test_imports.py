"""What modules take from each other is there: a removed name is noticed before any test runs."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = frozenset(path.parent.name for path in ROOT.glob("*/__init__.py"))
ELSEWHERE = ROOT / "tests/hf_suite/suite_conftest.py"
"""Runs among the upstream client's tests."""


def modules() -> Iterator[Path]:
    """Every module of ours and of the tests."""
    for package in sorted(PACKAGES):
        yield from (path for path in (ROOT / package).rglob("*.py") if path != ELSEWHERE)


def place(module: str) -> Path | None:
    """The file of a module; None if there is none."""
    path = ROOT.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((found for found in candidates if found.is_file()), None)


@cache
def names_in(path: Path) -> frozenset[str]:
    """All that a module binds anywhere; a ``*`` if it takes everything from somewhere."""
    bound: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                bound.update(each.asname or each.name.partition(".")[0] for each in names)
            case ast.Name(id=name, ctx=ast.Store()):
                bound.add(name)
            case _:
                pass
    return frozenset(bound)


def test_every_imported_name_is_there():
    missing = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.module}.{each.name}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        if node.module.partition(".")[0] in PACKAGES
        for each in node.names
        if not is_there(node.module, each.name)
    ]
    assert missing == []


def is_there(module: str, name: str) -> bool:
    path = place(module)
    if place(f"{module}.{name}") is not None:
        return True
    return path is not None and bool({name, "*", "__getattr__"} & names_in(path))
