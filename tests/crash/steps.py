"""Every step after which a process may die, by name: what the crash tests must have died at.

A step is one transaction, or one change to the store. Its name is where the code makes it, with the
caller where that is a helper of several: ``gc.marking.kill_files>_within_room:transaction``.
"""

import ast
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "app"

EFFECTS = {
    "db.run": "transaction",
    "db.write": "transaction",
    "store.put": "put",
    "store.put_file": "put",
    "store.delete": "delete",
}
"""Calls that change something, by the end of their text, and what a step of theirs is called."""

ELSEWHERE = {
    "accounts": "single transactions on accounts",
    "catalog.discussions": "single transactions on threads",
    "catalog.gating": "single transactions on access requests",
    "catalog.likes": "single transactions on likes",
    "catalog.merging": "one transaction, as a commit",
    "catalog.proposals": "one transaction, as a commit",
    "catalog.possession": "one transaction beside an upload's own",
    "catalog.duplicating": "one transaction, as a commit",
    "catalog.copies": "one transaction, as a batch's answer",
    "cli": "an operator's single transactions",
    "console": "an operator's single transactions",
    "gc.fsck": "checks, which change nothing but marks, see tests/app/gc/fsck",
    "gc.repair": "repair on request, see tests/app/gc",
    "gc.salvage": "repair on request, see tests/app/gc",
    "gc.soundness": "marks of health, each a transaction of its own",
    "backup": "reads the hub and writes elsewhere; cut short in tests/app/backup",
    "hub": "instance facts, see tests/app/db/test_schema.py",
    "restore.downloads": "counts of downloads, flushed now and then",
    "store": "what the steps are made of, see tests/app/store",
}
"""Modules whose steps belong to no protocol of docs/durability.md, and why."""


def sites() -> set[str]:
    """Every place in the hub's code that makes a step, without its kind."""
    found: set[str] = set()
    for path in sorted(APP.rglob("*.py")):
        module = ".".join(path.relative_to(APP).with_suffix("").parts)
        if not any(module == name or module.startswith(f"{name}.") for name in ELSEWHERE):
            _visit(ast.parse(path.read_text()), module, "", found)
    return found


def _visit(node: ast.AST, module: str, inside: str, found: set[str]) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        inside = f"{inside}.{node.name}" if inside else node.name
    if isinstance(node, ast.Call):
        text = ast.unparse(node.func)
        if any(text == effect or text.endswith(f".{effect}") for effect in EFFECTS):
            found.add(f"{module}.{inside}")
    for child in ast.iter_child_nodes(node):
        _visit(child, module, inside, found)
