"""Listing repos: found by index, walked in order, a page at a time.

Two ways, whichever is short. Where a condition is met by few repos (a rare tag, part of a name),
those are fetched by its index and sorted. Otherwise the index of the wanted order is walked until
the page is full, which is soon when many repos meet all conditions. Neither way costs more on a
bigger hub that has the same answer, but for conditions that are each common and together rare.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, false, func, literal, select, true, tuple_
from sqlalchemy.orm import Session

from app.accounts.names import name_key
from app.accounts.permissions import is_member, readable_repos_clause, single_repos_clause
from app.accounts.tokens import Principal
from app.accounts.users import find_account
from app.catalog.naming import SUFFIX_NBYTES, RepoType
from app.catalog.repos import ListedRepo
from app.db.inserting import batches
from app.db.tables import Account, NameSuffix, Repo, RepoCard, RepoTag
from app.errors import InvalidRequest

SortKey = Literal["createdAt", "lastModified", "downloads", "likes"]

SORT_COLUMNS = {
    "createdAt": Repo.created_at,
    "lastModified": Repo.updated_at,
    "downloads": Repo.downloads,
    "likes": Repo.likes,
}

FEW = 2_000
"""Repos that are sorted rather than found in order."""

MOST_CONDITIONS = 32
"""Words and tags in one query."""

Cursor = tuple[datetime | int, int]
"""Sort value and row id of the last repo seen."""


@dataclass(frozen=True, slots=True)
class RepoQuery:
    """Which repos to list, and in what order."""

    repo_type: RepoType
    search: str = ""
    """Words that ``namespace/name`` contains, in any case of letters."""
    author: str = ""
    tags: tuple[str, ...] = ()
    """Tags that the repo has, all of them."""
    gated: bool | None = None
    parameters: tuple[int | None, int | None] | None = None
    """Least and most parameters; both ends count."""
    sort: SortKey = "lastModified"
    ascending: bool = False

    @property
    def words(self) -> list[str]:
        """What to look for in names."""
        return sorted({name_key(word) for word in self.search.split()})


def list_repos(
    session: Session,
    principal: Principal | None,
    query: RepoQuery,
    *,
    after: Cursor | None = None,
    limit: int = 100,
) -> tuple[list[ListedRepo], Cursor | None]:
    """A page of the repos that exist for this principal, and where the next one starts."""
    if len(query.words) + len(query.tags) > MOST_CONDITIONS:
        raise InvalidRequest(f"at most {MOST_CONDITIONS} words and tags in one query")
    namespace_id: int | None = None
    if query.author:
        owner = find_account(session, query.author)
        if owner is None:
            return [], None
        namespace_id = owner.id
    few = _few_candidates(session, query, namespace_id)
    if few is not None:
        rows = _pick(session, principal, query, namespace_id, few, after, limit + 1)
    else:
        slices = _slices(query.repo_type, principal, namespace_id)
        rows = _walk(session, query, slices, after, limit + 1)
    page = _with_owners(session, rows[:limit])
    if len(rows) <= limit:
        return page, None
    last = page[-1].repo
    return page, (getattr(last, SORT_COLUMNS[query.sort].key), last.id)


def _few_candidates(
    session: Session, query: RepoQuery, namespace_id: int | None
) -> list[int] | None:
    """Repos among which all of the answer is; None if every condition is met by many.

    Once a condition is met by few, another is worth reading only as far as it is met by fewer.
    """
    best: set[int] | None = None
    for rows in _postings(query, namespace_id):
        most = FEW if best is None else len(best)
        found = session.scalars(rows.limit(most + 1)).all()
        if len(found) > most:
            continue
        best = set(found) if best is None else best & set(found)
        if not best:
            return []
    return None if best is None else sorted(best)


def _postings(query: RepoQuery, namespace_id: int | None) -> Iterator[Select[int]]:
    """Per condition, the ids of the repos that may meet it, read off an index."""
    if namespace_id is not None:
        yield select(Repo.id).where(Repo.namespace_id == namespace_id, Repo.type == query.repo_type)
    for word in query.words:
        start = word.encode()[:SUFFIX_NBYTES]
        yield select(NameSuffix.repo_id).where(
            NameSuffix.type == query.repo_type,
            NameSuffix.text >= start,
            NameSuffix.text <= start + b"\xff",
        )
    for tag in query.tags:
        yield select(RepoTag.repo_id).where(RepoTag.type == query.repo_type, RepoTag.tag == tag)
    if query.gated:
        yield select(Repo.id).where(
            Repo.gated.in_(("auto", "manual")), Repo.type == query.repo_type
        )
    if query.parameters is not None:
        yield select(RepoCard.repo_id).where(*_parameter_bounds(query.parameters))


def _slices(
    repo_type: RepoType, principal: Principal | None, namespace_id: int | None
) -> Iterator[list[ColumnElement[bool]]]:
    """Disjoint sets of the repos that exist for the principal, each one range of an index."""
    here = [Repo.type == repo_type]
    if namespace_id is not None:
        here.append(Repo.namespace_id == namespace_id)
    yield [*here, Repo.private == false()]
    if principal is None:
        return
    if principal.single_repos:
        single = single_repos_clause(principal) & Repo.namespace_id.not_in(principal.namespaces)
        yield [*here, Repo.private == true(), single]
    if principal.is_admin or namespace_id is not None:
        if is_member(principal, namespace_id or 0):
            yield [*here, Repo.private == true()]
        return
    for own in sorted(set(principal.namespaces)):
        yield [*here, Repo.namespace_id == own, Repo.private == true()]


def _conditions(query: RepoQuery) -> list[ColumnElement[bool]]:
    """Everything asked for, as conditions on ``Repo``; who sees it is not among them."""
    found: list[ColumnElement[bool]] = []
    name = func.substr(Repo.key, len(query.repo_type) + 2)
    found += [name.contains(word, autoescape=True) for word in query.words]
    for tag in query.tags:
        has_tag = select(RepoTag.repo_id).where(
            RepoTag.type == query.repo_type, RepoTag.tag == tag, RepoTag.repo_id == Repo.id
        )
        found.append(has_tag.exists())
    if query.gated is not None:
        found.append(Repo.gated.is_not(None) if query.gated else Repo.gated.is_(None))
    if query.parameters is not None:
        sized = select(RepoCard.repo_id).where(
            RepoCard.repo_id == Repo.id, *_parameter_bounds(query.parameters)
        )
        found.append(sized.exists())
    return found


def _parameter_bounds(bounds: tuple[int | None, int | None]) -> list[ColumnElement[bool]]:
    least, most = bounds
    found: list[ColumnElement[bool]] = [RepoCard.parameter_count >= (least or 0)]
    if most is not None:
        found.append(RepoCard.parameter_count <= most)
    return found


def _pick(
    session: Session,
    principal: Principal | None,
    query: RepoQuery,
    namespace_id: int | None,
    few: Sequence[int],
    after: Cursor | None,
    limit: int,
) -> list[Repo]:
    """The first of few candidates beyond ``after``, sorted here.

    Neither order nor owner nor type is left to the database, which might walk their indexes
    instead.
    """
    column: Any = SORT_COLUMNS[query.sort]
    found: list[Cursor] = []
    for batch in batches(few):
        statement = select(column, Repo.id, Repo.namespace_id, Repo.type).where(
            Repo.id.in_(batch), readable_repos_clause(principal), *_conditions(query)
        )
        for value, repo_id, owner, repo_type in session.execute(statement):
            place = (value, repo_id)
            beyond = after is None or (place > after if query.ascending else place < after)
            if beyond and namespace_id in {None, owner} and repo_type == query.repo_type:
                found.append(place)
    found.sort(reverse=not query.ascending)
    wanted = [repo_id for _, repo_id in found[:limit]]
    rows = {row.id: row for row in session.scalars(select(Repo).where(Repo.id.in_(wanted)))}
    return [rows[repo_id] for repo_id in wanted if repo_id in rows]


def _walk(
    session: Session,
    query: RepoQuery,
    slices: Iterable[Collection[ColumnElement[bool]]],
    after: Cursor | None,
    limit: int,
) -> list[Repo]:
    """The first rows beyond ``after`` of all slices together, each read in the order wanted."""
    column: Any = SORT_COLUMNS[query.sort]
    statement = select(Repo).where(*_conditions(query)).limit(limit)
    if after is not None:
        place = tuple_(column, Repo.id)
        seen = tuple_(literal(after[0], column.type), literal(after[1], Repo.id.type))
        statement = statement.where(place > seen if query.ascending else place < seen)
    ways = (column.asc(), Repo.id.asc()) if query.ascending else (column.desc(), Repo.id.desc())
    rows = [
        row for each in slices for row in session.scalars(statement.where(*each).order_by(*ways))
    ]
    rows.sort(key=lambda row: (getattr(row, column.key), row.id), reverse=not query.ascending)
    return rows[:limit]


def _with_owners(session: Session, rows: Sequence[Repo]) -> list[ListedRepo]:
    owners = {row.namespace_id for row in rows}
    named = session.execute(select(Account.id, Account.name).where(Account.id.in_(owners)))
    names = {row.id: row.name for row in named}
    return [ListedRepo(row, names[row.namespace_id]) for row in rows]
