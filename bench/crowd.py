"""Many repositories written straight into the tables: a big hub within seconds, without its bytes.

Every table that grows with a hub gets its rows: per repository a commit, a tree of three entries, a
card, tags, names to be found by, a file with a content and its encoding, a like, a finished job;
per ten of them an owner, a discussion and a family.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha1, sha256
from typing import Any

from sqlalchemy import Connection, insert, select, text, true

from app.catalog.git_objects import blob_oid, commit_body, object_oid
from app.catalog.naming import suffixes
from app.db import Database
from app.db.tables import (
    AccessToken,
    Account,
    Commit,
    Content,
    Discussion,
    DiscussionEvent,
    Encoding,
    Family,
    FamilyMember,
    File,
    Job,
    NameSuffix,
    Ref,
    Repo,
    RepoCard,
    RepoLike,
    RepoTag,
    RepoUsage,
    Segment,
    StoredObject,
    Table,
    Tree,
    TreeEntry,
)

FIRST_ID = 1_000_000
"""Rows of the crowd begin here, beyond those that a hub made itself."""

PER_OWNER = 10
BATCH = 5_000
START = datetime(2026, 1, 1, tzinfo=UTC)
PLACES = ("README.md", "config.json", "model.safetensors")

Rows = dict[type[Table], list[Mapping[str, Any]]]


def repo_name(number: int) -> str:
    """``namespace/name`` of a repository of the crowd."""
    return f"crowd{number // PER_OWNER}/net{number}"


def fill(database: Database, repos: int, *, first: int = 0) -> None:
    """Add repositories ``first`` to ``repos``; statistics are gathered where hubs have some."""
    with database.engine.begin() as connection:
        for start in range(first, repos, BATCH):
            rows: Rows = {}
            for number in range(start, min(repos, start + BATCH)):
                for table, row in _rows(number):
                    rows.setdefault(table, []).append(row)
            for table in Table.metadata.sorted_tables:
                for mapped, some in rows.items():
                    if mapped.__table__ is table:
                        _insert(connection, mapped, some)
        _share(connection, FIRST_ID + first)
    if database.engine.dialect.name == "sqlite":
        return
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _rows(number: int) -> Iterator[tuple[type[Table], dict[str, Any]]]:
    key, owner = FIRST_ID + number, FIRST_ID + number // PER_OWNER
    when = START + timedelta(seconds=number)
    is_first = number % PER_OWNER == 0
    if is_first:
        name = repo_name(number).partition("/")[0]
        person = {"kind": "user", "name": name, "key": name, "fullname": "", "is_admin": False}
        yield Account, {"id": owner, **person, "private_by_default": False, "created_at": when}
        yield (
            AccessToken,
            {
                "id": owner,
                "account_id": owner,
                "digest": sha256(name.encode()).digest(),
                "name": "default",
                "role": "write",
                "created_at": when,
            },
        )
        yield Family, {"id": owner, "root_repo_id": None, "created_at": when}
    yield from _repo(number, key, owner, when)
    yield from _content(number, key, when)
    yield from _history(number, key, owner, when)
    if is_first:
        yield from _talk(key, owner, when)


def _repo(
    number: int, key: int, owner: int, when: datetime
) -> Iterator[tuple[type[Table], dict[str, Any]]]:
    full = f"model/{repo_name(number)}"
    is_private = number % 7 == 3
    yield (
        Repo,
        {
            "id": key,
            "type": "model",
            "namespace_id": owner,
            "name": full.rpartition("/")[2],
            "key": full,
            "private": is_private,
            "creator_id": owner,
            "downloads": number % 1_000,
            "likes": 1,
            "created_at": when,
            "updated_at": when,
        },
    )
    figures = {"nbytes": 2_048, "files": 1, "history_nbytes": 2_048, "stale": False}
    yield RepoUsage, {"repo_id": key, **figures}
    for suffix in suffixes(full):
        yield NameSuffix, {"type": "model", "text": suffix, "repo_id": key}
    base = f"base_model:{repo_name(number // PER_OWNER)}"
    tags = {"license:mit": "license", "safetensors": "library", base: "base_model"}
    if is_private:
        tags[f"of-{number}"] = "other"
    for tag, kind in tags.items():
        seen_by = owner if is_private else 0
        row = {"type": "model", "tag": tag, "repo_id": key, "kind": kind, "seen_by": seen_by}
        yield RepoTag, row
    facts = {
        "tags": list(tags),
        "pipeline_tag": None,
        "library_name": "transformers",
        "card_data": {"license": "mit"},
        "config": None,
        "parameters": {"BF16": 1_000},
    }
    yield (
        RepoCard,
        {
            "repo_id": key,
            "commit_oid": _commit(number)[0],
            "facts": json.dumps(facts),
            "parameter_count": 1_000 + number,
        },
    )
    yield (
        FamilyMember,
        {
            "repo_id": key,
            "family_id": owner,
            "signature": f"signature{number // PER_OWNER}",
            "measured_parent_id": None,
            "measured_at": when,
        },
    )
    yield RepoLike, {"repo_id": key, "account_id": owner, "created_at": when}
    yield (
        Job,
        {
            "id": key,
            "kind": "index",
            "key": f"repo:{key}",
            "payload": "{}",
            "state": "done",
            "priority": 0,
            "attempts": 1,
            "run_after": when,
            "progress_done": 0,
            "progress_total": 0,
            "created_at": when,
            "finished_at": when,
        },
    )


def _content(number: int, key: int, when: datetime) -> Iterator[tuple[type[Table], dict[str, Any]]]:
    digest = sha256(f"file {number}".encode()).digest()
    yield (
        File,
        {
            "id": key,
            "sha256": digest,
            "size": 2_048,
            "git_oid": None,
            "format": "safetensors",
            "state": "live",
            "health": "ok",
            "created_at": when,
        },
    )
    yield (
        Content,
        {
            "id": key,
            "digest": b"\1" + digest,
            "nbytes": 2_048,
            "state": "live",
            "health": "ok",
            "created_at": when,
        },
    )
    yield (
        Segment,
        {
            "file_id": key,
            "start": 0,
            "nbytes": 2_048,
            "content_id": key,
            "role": "tensor",
            "name": "w",
            "dtype": "BF16",
            "shape": "[1024]",
        },
    )
    yield (
        StoredObject,
        {
            "id": key,
            "key": f"o/crowd/{number}",
            "purpose": "pack",
            "state": "live",
            "nbytes": 1_500,
            "created_at": when,
            "attempts": 0,
        },
    )
    yield (
        Encoding,
        {
            "id": key,
            "content_id": key,
            "codec": "plane",
            "object_id": key,
            "start": 0,
            "nbytes": 1_500,
            "checks": b"",
            "final": True,
            "encoder": 1,
            "created_at": when,
        },
    )


def _history(
    number: int, key: int, owner: int, when: datetime
) -> Iterator[tuple[type[Table], dict[str, Any]]]:
    oid, tree, body = _commit(number)
    yield Tree, {"repo_id": key, "oid": tree}
    for place in PLACES:
        yield (
            TreeEntry,
            {
                "repo_id": key,
                "tree_oid": tree,
                "name": place,
                "mode": "100644",
                "oid": blob_oid(f"{place} {number}".encode()),
                "file_id": key,
                "size": 2_048,
                "is_lfs": place.endswith(".safetensors"),
            },
        )
    yield (
        Commit,
        {
            "repo_id": key,
            "oid": oid,
            "tree_oid": tree,
            "body": body,
            "title": "a commit",
            "message": "",
            "author_id": owner,
            "author_name": "crowd",
            "created_at": when,
            "dated_at": when,
            "generation": 1,
        },
    )
    yield Ref, {"repo_id": key, "name": "refs/heads/main", "commit_oid": oid}


def _share(connection: Connection, first: int) -> None:
    """Let each repository from an id on have the file that every new repository has."""
    own = (
        select(TreeEntry)
        .where(TreeEntry.repo_id < FIRST_ID, TreeEntry.name == ".gitattributes")
        .limit(1)
        .subquery()
    )
    columns = [column.name for column in TreeEntry.__table__.columns]
    place = {"repo_id": Tree.repo_id, "tree_oid": Tree.oid}
    values = [place.get(name, own.c[name]) for name in columns]
    rows = select(*values).join_from(Tree, own, true()).where(Tree.repo_id >= first)
    connection.execute(insert(TreeEntry).from_select(columns, rows))


def _talk(key: int, owner: int, when: datetime) -> Iterator[tuple[type[Table], dict[str, Any]]]:
    yield (
        Discussion,
        {
            "repo_id": key,
            "number": 1,
            "title": "a question",
            "status": "open",
            "author_id": owner,
            "created_at": when,
        },
    )
    yield (
        DiscussionEvent,
        {
            "id": key,
            "repo_id": key,
            "number": 1,
            "type": "comment",
            "author_id": owner,
            "text": "why?",
            "edits": 0,
            "hidden": False,
            "created_at": when,
            "updated_at": when,
        },
    )


def _commit(number: int) -> tuple[str, str, bytes]:
    """Ids of the commit and its tree, and the commit's body."""
    tree = sha1(f"tree {number}".encode(), usedforsecurity=False).hexdigest()
    body = commit_body(
        tree=tree, parents=[], author="crowd", email="crowd@bench", when=START, message=f"{number}"
    )
    return object_oid("commit", body), tree, body


def _insert(connection: Connection, table: type[Table], rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
        return
    columns = list(rows[0])
    names = ", ".join(f'"{name}"' for name in columns)
    cursor = connection.connection.cursor()
    with cursor.copy(f'COPY "{table.__tablename__}" ({names}) FROM STDIN') as copy:
        for row in rows:
            copy.write_row([row[name] for name in columns])
