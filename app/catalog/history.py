"""Walking back from a commit: its ancestors, and which of them last touched a path."""

from collections.abc import Container, Iterable, Iterator, Mapping

from sqlalchemy import literal, select
from sqlalchemy.orm import Session, aliased

from app.catalog.ancestry import Step, read_step, select_steps
from app.catalog.listing import Entry, find_versions
from app.db.tables import Commit

FIRST_RUN = 16
LAST_RUN = 512
"""Commits read at a time."""


def whole_history(session: Session, repo_id: int) -> dict[str, Step]:
    """Every commit of a repo by id, whether a ref reaches it or not.

    For work on all of it; what only walks back uses :mod:`app.catalog.ancestry`.
    """
    return {row.oid: read_step(row) for row in session.execute(select_steps(repo_id))}


def reached_from(
    steps: Mapping[str, Step], heads: Iterable[str], *, without: Container[str] = ()
) -> list[str]:
    """Ids of the commits that heads reach, each once, every one after all of its parents.

    The walk does not enter those ``without`` which the answer is wanted.
    """
    order: list[str] = []
    entered: set[str] = set()
    stack = [(head, False) for head in heads]
    while stack:
        oid, parents_done = stack.pop()
        if parents_done:
            order.append(oid)
        elif oid in steps and oid not in entered and oid not in without:
            entered.add(oid)
            stack.append((oid, True))
            stack += [(parent, False) for parent in steps[oid].parents]
    return order


def ancestors(session: Session, commit: Commit, *, limit: int) -> list[Commit]:
    """The commit and its first parents, newest first, at most ``limit`` of them."""
    line = (
        select(Commit.oid, Commit.parent_oid, literal(0).label("depth"))
        .where(Commit.repo_id == commit.repo_id, Commit.oid == commit.oid)
        .cte("line", recursive=True)
    )
    parent = aliased(Commit)
    line = line.union_all(
        select(parent.oid, parent.parent_oid, line.c.depth + 1)
        .join(line, parent.oid == line.c.parent_oid)
        .where(parent.repo_id == commit.repo_id, line.c.depth < limit - 1)
    )
    return list(
        session.scalars(
            select(Commit)
            .join(line, line.c.oid == Commit.oid)
            .where(Commit.repo_id == commit.repo_id)
            .order_by(line.c.depth)
        )
    )


def last_changes(session: Session, commit: Commit, entries: Iterable[Entry]) -> dict[str, Commit]:
    """Path -> the latest commit that gave the entry at this path its present content.

    Reads back until the last of them is found, many commits in one query per level of directories.
    """
    remaining = {entry.path: entry.oid for entry in entries}
    found: dict[str, Commit] = {}
    newer = commit
    for line in _older(session, commit):
        if not remaining:
            break
        roots = {older.tree_oid for older in line}
        there = find_versions(session, commit.repo_id, roots, remaining)
        for older in line:
            if older.tree_oid != newer.tree_oid:
                versions = there[older.tree_oid]
                changed = [path for path, oid in remaining.items() if versions.get(path) != oid]
                for path in changed:
                    found[path] = newer
                    del remaining[path]
            newer = older
    return {**found, **dict.fromkeys(remaining, newer)}


def _older(session: Session, commit: Commit) -> Iterator[list[Commit]]:
    """First parents, newest first, in longer and longer runs."""
    length = FIRST_RUN
    line = ancestors(session, commit, limit=length + 1)
    while len(line) > 1:
        yield line[1:]
        length = min(2 * length, LAST_RUN)
        line = ancestors(session, line[-1], limit=length + 1)
