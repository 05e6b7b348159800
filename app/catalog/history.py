"""Walking back from a commit: its ancestors, and which of them last touched a path."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import literal, select
from sqlalchemy.orm import Session, aliased

from app.catalog.git_objects import commit_parents
from app.catalog.listing import Entry, find_entries
from app.db.tables import Commit

CHUNK = 64
"""Commits read at a time."""


@dataclass(frozen=True, slots=True)
class Step:
    """A commit as part of a history: where it comes from and what it holds."""

    oid: str
    parents: tuple[str, ...]
    tree_oid: str
    created_at: datetime


def whole_history(session: Session, repo_id: int) -> dict[str, Step]:
    """Every commit of a repo by id, whether a ref reaches it or not."""
    rows = session.execute(
        select(Commit.oid, Commit.body, Commit.tree_oid, Commit.created_at).where(
            Commit.repo_id == repo_id
        )
    )
    return {
        row.oid: Step(row.oid, commit_parents(row.body), row.tree_oid, row.created_at)
        for row in rows
    }


def reached_from(steps: Mapping[str, Step], heads: Iterable[str]) -> list[str]:
    """Ids of the commits that heads reach, each once, every one after all of its parents."""
    order: list[str] = []
    entered: set[str] = set()
    stack = [(head, False) for head in heads]
    while stack:
        oid, parents_done = stack.pop()
        if parents_done:
            order.append(oid)
        elif oid in steps and oid not in entered:
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
    """Path -> the latest commit that gave the entry at this path its present content."""
    remaining = {entry.path: entry.oid for entry in entries}
    found: dict[str, Commit] = {}
    newer = commit
    for older in _older(session, commit):
        if not remaining:
            break
        if older.tree_oid != newer.tree_oid:
            there = find_entries(session, commit.repo_id, older.tree_oid, remaining)
            for path, oid in list(remaining.items()):
                if path not in there or there[path].oid != oid:
                    found[path] = newer
                    del remaining[path]
        newer = older
    return {**found, **dict.fromkeys(remaining, newer)}


def _older(session: Session, commit: Commit) -> Iterator[Commit]:
    line = ancestors(session, commit, limit=CHUNK)
    while len(line) > 1:
        yield from line[1:]
        line = ancestors(session, line[-1], limit=CHUNK)
