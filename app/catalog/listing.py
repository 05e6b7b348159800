"""Reading directories: one entry, many entries, a page of a listing."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, product
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Result,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    func,
    join,
    select,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Session

from app.catalog.git_objects import DIRECTORY_MODE
from app.catalog.mirrored import awaited_clause
from app.db.inserting import batches
from app.db.tables import AwaitedFile, File, TreeEntry

# Of the tables and not of their classes: for rows that are only read the ORM would double the time.
_TREE_ENTRY, _FILE, _AWAITED = TreeEntry.__table__, File.__table__, AwaitedFile.__table__
_entry = _TREE_ENTRY.c


def _select_entries(among: FromClause) -> Select[*tuple[Any, ...]]:
    """Rows of entries."""
    return (
        select(
            _entry.tree_oid,
            _entry.name,
            _entry.mode,
            _entry.oid,
            _entry.file_id,
            _entry.size,
            _entry.is_lfs,
            func.coalesce(_FILE.c.sha256, _AWAITED.c.sha256).label("sha256"),
        )
        .select_from(among)
        .outerjoin(_FILE, _FILE.c.id == _entry.file_id)
        .outerjoin(_AWAITED, awaited_clause())
    )


def _select_places(
    places: FromClause, tree: ColumnElement[str], name: ColumnElement[str]
) -> Select[*tuple[Any, ...]]:
    """Entries at ``places``: a JSON list of pairs, of a directory's id and a name.

    Where there is none the row is empty: an outer join, which no database begins at its other end,
    reading a whole repo to find pairs in it.
    """
    is_there = _OF_REPO & (_entry.tree_oid == tree) & (_entry.name == name)
    return _select_entries(join(places, _TREE_ENTRY, is_there, isouter=True))


MOST_JOINED = 8
"""Names of a path that one query follows; databases plan joins of more by guess."""

_OF_REPO = _entry.repo_id == bindparam("repo_id")
_PAIRS = func.json_each(bindparam("places")).table_valued("value", name="place")
_PG_PAIRS = (
    func.json_array_elements(cast(bindparam("places", type_=Text), JSON))
    .table_valued("value", name="place")
    .render_derived()
)

# Built once: for queries as small as these, building takes longer than the database.
_IN_TREE = _select_entries(_TREE_ENTRY).where(_OF_REPO, _entry.tree_oid == bindparam("tree"))
_AT_PLACE = _IN_TREE.where(_entry.name == bindparam("name"))
_AT_PLACES = {
    "sqlite": _select_places(
        _PAIRS,
        func.json_extract(_PAIRS.c.value, "$[0]"),
        func.json_extract(_PAIRS.c.value, "$[1]"),
    ),
    "postgresql": _select_places(
        _PG_PAIRS, _PG_PAIRS.c.value.op("->>")(0), _PG_PAIRS.c.value.op("->>")(1)
    ),
}


@cache
def _descent(levels: int) -> Select[*tuple[Any, ...]]:
    """The entry at a path of so many names, one look along the primary key after the other."""
    query = _select_entries(_TREE_ENTRY)
    tree: ColumnElement[str] = bindparam("tree")
    for level, entry in enumerate([*(_TREE_ENTRY.alias() for _ in range(levels - 1)), _TREE_ENTRY]):
        query = query.where(
            entry.c.repo_id == bindparam("repo_id"),
            entry.c.tree_oid == tree,
            entry.c.name == bindparam(f"name{level}"),
        )
        tree = entry.c.oid
    return query


Version = tuple[str, str]
"""What an entry holds, as git compares it: mode and id."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory at its path."""

    path: str
    mode: str
    oid: str
    """Git id of the subtree or blob; of the pointer, for an LFS file."""
    file_id: int | None
    """None for directories, and while a mirrored repo awaits the file's bytes."""
    nbytes: int
    """Logical size; 0 for directories."""
    is_lfs: bool
    sha256: bytes | None
    """Of the file's bytes; None for directories."""

    @property
    def is_directory(self) -> bool:
        """Whether other entries lie below this one."""
        return self.mode == DIRECTORY_MODE

    @property
    def is_awaited(self) -> bool:
        """Whether the bytes are on the upstream only, so far."""
        return self.file_id is None and not self.is_directory

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in path order. ``cursor`` is the path to continue after; None: that was all."""

    entries: list[Entry]
    cursor: str | None


def find_entry(session: Session, repo_id: int, tree: str, path: str) -> Entry | None:
    """The entry at ``path`` below the root tree ``tree``; None if there is none."""
    names = path.split("/")
    if len(names) > MOST_JOINED or not _may_exist(path):
        return find_entries(session, repo_id, tree, [path]).get(path)
    places = {f"name{level}": name for level, name in enumerate(names)}
    row = session.execute(
        _descent(len(names)), {"repo_id": repo_id, "tree": tree, **places}
    ).one_or_none()
    return None if row is None else _entry_at(path, row)


def find_entries(
    session: Session, repo_id: int, tree: str, paths: Iterable[str]
) -> dict[str, Entry]:
    """Those of ``paths`` that exist, by a query for each level of directories."""
    asked = {path for path in paths if _may_exist(path)}
    found: dict[str, Entry] = {}
    trees = {"": tree}
    for _, level in groupby(_names_by_directory(asked), key=lambda wanted: _depth(wanted[0])):
        places: dict[tuple[str, str], list[str]] = {}
        for directory, names in level:
            for name in names if directory in trees else ():
                place = (trees[directory], name)
                places.setdefault(place, []).append(f"{directory}/{name}" if directory else name)
        for some in batches(sorted(places)):
            for row in _entries_at(session, repo_id, some):
                for path in places.get((row.tree_oid, row.name), ()):
                    entry = _entry_at(path, row)
                    if path in asked:
                        found[path] = entry
                    if entry.is_directory:
                        trees[path] = entry.oid
    return found


def find_versions(
    session: Session, repo_id: int, roots: Iterable[str], paths: Iterable[str]
) -> dict[str, dict[str, Version]]:
    """Root tree -> path -> the entry there; a directory of many roots is read once."""
    asked = set(paths)
    found: dict[str, dict[str, Version]] = {root: {} for root in roots}
    trees: dict[str, dict[str, str]] = {"": {root: root for root in found}}
    for directory, names in _names_by_directory(asked):
        here = trees.get(directory, {})
        entries = _names_in_trees(session, repo_id, sorted(set(here.values())), names)
        for root, tree in here.items():
            for name, mode, oid in entries.get(tree, ()):
                path = f"{directory}/{name}" if directory else name
                if path in asked:
                    found[root][path] = mode, oid
                if mode == DIRECTORY_MODE:
                    trees.setdefault(path, {})[root] = oid
    return found


def list_tree(
    session: Session,
    repo_id: int,
    tree: str,
    *,
    prefix: str = "",
    recursive: bool = False,
    after: str | None = None,
    limit: int | None = None,
) -> Page:
    """Entries of a directory in path order, from just after the path ``after``.

    ``tree`` is the directory's own id and ``prefix`` its path. Recursive listings hold a directory
    before what lies in it.
    """
    skip = _relative_parts(after, prefix)
    found: list[Entry] = []
    for entry in _walk(session, repo_id, tree, prefix, skip, recursive=recursive):
        if limit is not None and len(found) == limit:
            return Page(found, cursor=found[-1].path)
        found.append(entry)
    return Page(found, cursor=None)


def list_files(session: Session, repo_id: int, tree: str) -> list[Entry]:
    """All files below a root tree, in path order."""
    page = list_tree(session, repo_id, tree, recursive=True)
    return [entry for entry in page.entries if not entry.is_directory]


def _walk(
    session: Session,
    repo_id: int,
    tree: str,
    prefix: str,
    skip: Sequence[str],
    *,
    recursive: bool,
) -> Iterator[Entry]:
    """Entries after the one at ``skip`` (parts of a path relative to ``prefix``)."""
    for entry in _entries(session, repo_id, tree, prefix):
        seen = bool(skip) and entry.name <= skip[0]
        inside = bool(skip) and entry.name == skip[0]
        if not seen:
            yield entry
        if recursive and entry.is_directory and (inside or not seen):
            deeper = skip[1:] if inside else ()
            yield from _walk(session, repo_id, entry.oid, entry.path, deeper, recursive=True)


def _entries(session: Session, repo_id: int, tree: str, prefix: str) -> list[Entry]:
    rows = session.execute(_IN_TREE, {"repo_id": repo_id, "tree": tree})
    # Sorted here, not by the database: its collation may not be that of Python's strings.
    return [
        _entry_at(f"{prefix}/{row[1]}" if prefix else row[1], row)
        for row in sorted(rows, key=itemgetter(1))
    ]


def _entries_at(
    session: Session, repo_id: int, places: Sequence[tuple[str, str]]
) -> Result[*tuple[Any, ...]]:
    """Rows of the entries at pairs of a directory's id and a name."""
    if len(places) == 1:
        tree, name = places[0]
        return session.execute(_AT_PLACE, {"repo_id": repo_id, "tree": tree, "name": name})
    pairs = {"repo_id": repo_id, "places": json.dumps(places)}
    return session.execute(_AT_PLACES[session.get_bind().dialect.name], pairs)


def _entry_at(path: str, row: Row[*tuple[Any, ...]]) -> Entry:
    """An entry's row as what is at a path: behind its place, the columns are Entry's fields."""
    return Entry(path, *row[2:])


def _names_by_directory(paths: Iterable[str]) -> list[tuple[str, list[str]]]:
    """The directories on the way to ``paths`` and what to look for in each, from the root down."""
    wanted: dict[str, set[str]] = {}
    for path in paths:
        parts = path.split("/")
        for depth, name in enumerate(parts):
            wanted.setdefault("/".join(parts[:depth]), set()).add(name)
    directories = sorted(wanted, key=_depth)
    return [(directory, sorted(wanted[directory])) for directory in directories]


def _may_exist(path: str) -> bool:
    """Whether a database could hold it."""
    try:
        return b"\0" not in path.encode()
    except UnicodeEncodeError:
        return False


def _depth(directory: str) -> int:
    return directory.count("/") + bool(directory)


def _names_in_trees(
    session: Session, repo_id: int, trees: Sequence[str], names: Sequence[str]
) -> dict[str, list[tuple[str, str, str]]]:
    """Directory id -> name, mode and id of those of the named entries that it has."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for some_trees, some_names in product(batches(trees), batches(names)):
        rows = session.execute(
            select(TreeEntry.tree_oid, TreeEntry.name, TreeEntry.mode, TreeEntry.oid).where(
                TreeEntry.repo_id == repo_id,
                TreeEntry.tree_oid.in_(some_trees),
                TreeEntry.name.in_(some_names),
            )
        )
        for tree, name, mode, oid in rows:
            found.setdefault(tree, []).append((name, mode, oid))
    return found


def _relative_parts(after: str | None, prefix: str) -> tuple[str, ...]:
    if not after:
        return ()
    return tuple(after.removeprefix(f"{prefix}/" if prefix else "").split("/"))
