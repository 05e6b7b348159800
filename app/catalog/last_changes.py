"""Which commit last changed what is at a path: the one that ``git log -1 -- path`` shows.

From the head down, on to the first parent that has the same there, as long as there is one: who
took a path over as it was on one side of a merge did not change it. Source: git-log(1), "History
Simplification", default mode.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.ancestry import Ancestry, Step
from app.catalog.listing import Entry, Version, find_versions
from app.db.inserting import batches
from app.db.tables import Commit

FIRST_RUN = 16
LAST_RUN = 512
"""Commits whose directories are read at a time."""


def last_changes(session: Session, commit: Commit, entries: Iterable[Entry]) -> dict[str, Commit]:
    """Path -> the commit that last changed it, for entries of the commit's tree.

    Reads back until the last of them is found, many commits in one query per level of directories,
    and lines of history beside the first parents only where an entry came from there.
    """
    shown = {entry.path: (entry.mode, entry.oid) for entry in entries}
    ancestry = Ancestry(session, commit.repo_id)
    waiting = {commit.oid: set(shown)}
    found: dict[str, str] = {}
    length = FIRST_RUN
    while waiting:
        line = _line(ancestry, max(waiting, key=lambda oid: _generation(ancestry, oid)), length)
        length = min(2 * length, LAST_RUN)
        roots = {parent.tree_oid for step in line for parent in ancestry.parents(step)}
        there = find_versions(session, commit.repo_id, roots, shown.keys() - found.keys())
        for step in line:
            paths = waiting.pop(step.oid, ())
            for oid, kept in _origins(ancestry, step, paths, shown, there).items():
                if oid == step.oid:
                    found |= dict.fromkeys(kept, oid)
                else:
                    waiting.setdefault(oid, set()).update(kept)
    commits = _commits(session, commit.repo_id, found.values())
    return {path: commits[oid] for path, oid in found.items()}


def _line(ancestry: Ancestry, start: str, length: int) -> list[Step]:
    """A commit and its first parents."""
    line: list[Step] = []
    step = ancestry.find(start)
    while step is not None and len(line) < length:
        line.append(step)
        step = next(iter(ancestry.parents(step)), None)
    return line


def _origins(
    ancestry: Ancestry,
    step: Step,
    paths: Iterable[str],
    shown: Mapping[str, Version],
    there: Mapping[str, Mapping[str, Version]],
) -> dict[str, set[str]]:
    """The commit that each of the paths has come from: a parent, or this one that changed it."""
    parents = ancestry.parents(step)
    origins: defaultdict[str, set[str]] = defaultdict(set)
    for path in paths:
        same = (each.oid for each in parents if there[each.tree_oid].get(path) == shown[path])
        origins[next(same, step.oid)].add(path)
    return origins


def _generation(ancestry: Ancestry, oid: str) -> int:
    step = ancestry.find(oid)
    assert step is not None
    return step.generation


def _commits(session: Session, repo_id: int, oids: Iterable[str]) -> dict[str, Commit]:
    return {
        commit.oid: commit
        for some in batches(sorted(set(oids)))
        for commit in session.scalars(
            select(Commit).where(Commit.repo_id == repo_id, Commit.oid.in_(some))
        )
    }
