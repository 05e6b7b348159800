"""Where a content can be seen: the repos that show it, as far as a caller may know.

Asked in two steps, as a file has hundreds of contents and its repos hundreds of commits that name
it: which files consist of the contents, and which repos have these files, each once.
"""

import json
from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import BigInteger, Integer, Text, bindparam, cast, exists, func, select
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.orm import Session

from app.accounts.permissions import open_repos_clause
from app.accounts.tokens import Principal
from app.db.inserting import batches
from app.db.tables import Account, File, Repo, Segment, TreeEntry

_ROWS = func.json_each(bindparam("places")).table_valued("value", name="place")
_PG_ROWS = (
    func.json_array_elements(cast(bindparam("places", type_=Text), JSON))
    .table_valued("value", name="place")
    .render_derived()
)
_PLACES = {
    "sqlite": (
        _ROWS,
        func.json_extract(_ROWS.c.value, "$[0]", type_=Integer),
        func.json_extract(_ROWS.c.value, "$[1]", type_=Integer),
    ),
    "postgresql": (
        _PG_ROWS,
        cast(_PG_ROWS.c.value.op("->>")(0), BigInteger),
        cast(_PG_ROWS.c.value.op("->>")(1), BigInteger),
    ),
}
"""A JSON list of pairs as a table: a file's id, and a repo's after which to look."""


class Home(NamedTuple):
    """A repo that holds a content."""

    repo_type: str
    repo_id: str
    """``namespace/name``."""


def find_homes(
    session: Session, principal: Principal | None, content_ids: Iterable[int]
) -> dict[int, Home]:
    """One repo per content, the oldest of :func:`first_holders`."""
    found = first_holders(session, principal, content_ids, most=1)
    return {content_id: homes[0] for content_id, homes in found.items()}


def first_holders(
    session: Session,
    principal: Principal | None,
    content_ids: Iterable[int],
    *,
    most: int,
    besides: int | None = None,
) -> dict[int, list[Home]]:
    """The oldest ``most`` repos by content whose files the principal may read, oldest first.

    However many there are: from each file to the next repo that shows it, along an index.
    ``besides``: id of a repo that is not wanted. A content that is absent from the answer must not
    be named or handed out to this principal: it lies in private repos, or only in deltas.
    """
    files = _files_of(session, content_ids)
    shown: dict[int, set[int]] = {}
    last = dict.fromkeys(files, 0)
    for _ in range(most):
        last = _next_holders(session, principal, last, besides)
        for file_id, repo_id in last.items():
            for content_id in files[file_id]:
                shown.setdefault(content_id, set()).add(repo_id)
    homes = _load_homes(session, set().union(*shown.values()))
    return {
        content_id: [homes[repo_id] for repo_id in sorted(repo_ids)[:most]]
        for content_id, repo_ids in shown.items()
    }


def shown_contents(
    session: Session,
    principal: Principal | None,
    content_ids: Iterable[int],
    *,
    besides: int | None = None,
) -> set[int]:
    """Those of the contents that :func:`first_holders` finds any repo for."""
    files = _files_of(session, content_ids)
    shown = _next_holders(session, principal, dict.fromkeys(files, 0), besides)
    return {content_id for file_id in shown for content_id in files[file_id]}


def hidden_contents(
    session: Session, content_ids: Collection[int], homes: Container[int]
) -> set[int]:
    """Contents that repos hold, none of which the caller of :func:`find_homes` may read.

    What is stored against one of these must not show: how near it is tells of what it is.
    """
    files = _files_of(session, {each for each in content_ids if each not in homes})
    named = exists().where(TreeEntry.file_id == File.id)
    return {
        content_id
        for some in batches(sorted(files))
        for file_id in session.scalars(select(File.id).where(File.id.in_(some), named))
        for content_id in files[file_id]
    }


def _next_holders(
    session: Session, principal: Principal | None, last: Mapping[int, int], besides: int | None
) -> dict[int, int]:
    """The next repo after the last one that shows a file, by file; those without are left out."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    place, file_id, after = _PLACES["sqlite" if is_sqlite else "postgresql"]
    following = (
        select(TreeEntry.repo_id)
        .join(Repo, Repo.id == TreeEntry.repo_id)
        .where(TreeEntry.file_id == file_id, TreeEntry.repo_id > after)
        .where(TreeEntry.repo_id != (besides or 0), open_repos_clause(principal))
        .order_by(TreeEntry.repo_id)
        .limit(1)
        .correlate(place)
        .scalar_subquery()
    )
    query = select(file_id, following).select_from(place)
    return {
        each: repo_id
        for some in batches(sorted(last.items()))
        for each, repo_id in session.execute(query, {"places": json.dumps(some)})
        if repo_id is not None
    }


def _load_homes(session: Session, repo_ids: Collection[int]) -> dict[int, Home]:
    query = select(Repo.id, Repo.type, Account.name, Repo.name).join(
        Account, Account.id == Repo.namespace_id
    )
    return {
        repo_id: Home(repo_type, f"{namespace}/{name}")
        for some in batches(sorted(repo_ids))
        for repo_id, repo_type, namespace, name in session.execute(query.where(Repo.id.in_(some)))
    }


def _files_of(session: Session, content_ids: Iterable[int]) -> dict[int, set[int]]:
    """File id -> those of the contents that it consists of."""
    files: dict[int, set[int]] = {}
    for some in batches(sorted(set(content_ids))):
        rows = session.execute(
            select(Segment.file_id, Segment.content_id)
            .where(Segment.content_id.in_(some))
            .distinct()
        )
        for file_id, content_id in rows:
            files.setdefault(file_id, set()).add(content_id)
    return files
