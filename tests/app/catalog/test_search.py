"""Listings find what a look at every repo would find, in order, by index."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_org, create_user
from app.catalog import search
from app.catalog.naming import SUFFIX_NBYTES, suffixes, take_name
from app.catalog.search import SORT_COLUMNS, RepoQuery, list_repos
from app.catalog.tag_lists import seen_by
from app.db.tables import Repo, RepoCard, RepoTag
from app.errors import InvalidRequest
from app.hub import Hub

OWNERS = ("ada", "bob", "acme")
TAGS = ("mit", "gguf", "base_model:ada/x")


@dataclass
class Shelf:
    """A hub full of repos, and who may ask for them."""

    hub: Hub
    callers: dict[str, Principal | None]

    def listed(self, caller: str, query: RepoQuery, page: int) -> list[str]:
        """Keys of the repos listed, page by page."""
        found: list[str] = []
        after = None
        with self.hub.db.read() as session:
            while True:
                rows, after = list_repos(
                    session, self.callers[caller], query, after=after, limit=page
                )
                found += [each.repo.key for each in rows]
                if after is None:
                    return found

    def expected(self, caller: str, query: RepoQuery) -> list[str]:
        """The same by looking at every repo."""
        who = self.callers[caller]
        with self.hub.db.read() as session:
            tags: dict[int, set[str]] = {}
            for row in session.query(RepoTag):
                tags.setdefault(row.repo_id, set()).add(row.tag)
            sizes = {row.repo_id: row.parameter_count for row in session.query(RepoCard)}
            rows = [
                repo
                for repo in session.query(Repo)
                if repo.type == query.repo_type
                and (not repo.private or (who and repo.namespace_id in who.namespaces))
                and all(word in repo.key.partition("/")[2] for word in query.words)
                and set(query.tags) <= tags.get(repo.id, set())
                and (query.gated is None or query.gated == (repo.gated is not None))
                and (not query.author or repo.key.split("/")[1] == query.author.lower())
                and _fits(sizes.get(repo.id), query.parameters)
            ]
        column = SORT_COLUMNS[query.sort].key
        rows.sort(key=lambda repo: (getattr(repo, column), repo.id), reverse=not query.ascending)
        return [repo.key for repo in rows]


def _fits(size: int | None, bounds: tuple[int | None, int | None] | None) -> bool:
    if bounds is None:
        return True
    least, most = bounds
    return size is not None and size >= (least or 0) and (most is None or size <= most)


@pytest.fixture
def shelf(any_hub: Hub) -> Shelf:
    """Filled, in each mode."""
    return filled(any_hub)


@pytest.fixture
def embedded_shelf(hub: Hub) -> Shelf:
    """Filled, on SQLite: its plans do not depend on statistics, which so few rows do not have."""
    return filled(hub)


def filled(hub: Hub) -> Shelf:
    """Sixty repos of three owners, private, gated and tagged by turns."""
    tokens = {name: create_user(hub, name).token for name in ("ada", "bob")}
    create_org(hub, "acme", admins=["ada"])
    callers: dict[str, Principal | None] = {"nobody": None}
    with hub.db.read() as session:
        for name, token in tokens.items():
            callers[name] = authenticate(session, token)
    ada, bob = callers["ada"], callers["bob"]
    assert ada is not None
    assert bob is not None
    ids = {"ada": ada.account_id, "bob": bob.account_id, "acme": next(iter(ada.orgs))}
    now = hub.clock.now()

    def fill(session: Session) -> None:
        for number, owner in zip(range(60), itertools.cycle(OWNERS), strict=False):
            kind = "dataset" if number % 7 == 0 else "model"
            name = f"{'banana' if number % 2 else 'tree'}-{number}"
            repo = Repo(
                type=kind,
                namespace_id=ids[owner],
                name=name,
                key=f"{kind}/{owner}/{name}",
                private=number % 5 == 0,
                gated=(None, None, "auto", "manual")[number % 4],
                downloads=number % 4,
                likes=number % 3,
                created_at=now + timedelta(seconds=number),
                updated_at=now + timedelta(seconds=number * 7 % 10),
            )
            session.add(repo)
            session.flush()
            take_name(session, repo)
            for place, tag in enumerate(TAGS):
                if number % (place + 2) == 0:
                    row = {"type": kind, "tag": tag, "repo_id": repo.id, "kind": "other"}
                    session.execute(insert(RepoTag), [row | {"seen_by": seen_by(repo)}])
            session.add(
                RepoCard(
                    repo_id=repo.id,
                    commit_oid="0" * 40,
                    facts="{}",
                    parameter_count=number if number % 3 and kind == "model" else None,
                )
            )

    hub.db.run(fill)
    return Shelf(hub, callers)


QUERIES = st.builds(
    RepoQuery,
    repo_type=st.sampled_from(["model", "dataset"]),
    search=st.sampled_from(["", "", "an", "BANANA-1", "a/t", "tree 4", "acme/banana-3", "%", "_"]),
    author=st.sampled_from(["", "", "Ada", "acme", "nobody"]),
    tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True).map(tuple),
    gated=st.sampled_from([None, None, True, False]),
    parameters=st.sampled_from([None, None, (10, None), (None, 20), (5, 30)]),
    sort=st.sampled_from(["createdAt", "lastModified", "downloads", "likes"]),
    ascending=st.booleans(),
)


@pytest.mark.parametrize("few", [0, 8, 2_000])
def test_every_query_finds_what_is_there_in_order(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, few: int
):
    """``few``: from always walking the order to always picking candidates."""
    monkeypatch.setattr(search, "FEW", few)

    @given(QUERIES, st.sampled_from(["nobody", "ada", "bob"]), st.integers(1, 30))
    @settings(max_examples=60)
    def check(query: RepoQuery, caller: str, page: int) -> None:
        assert shelf.listed(caller, query, page) == shelf.expected(caller, query)

    check()


@pytest.fixture
def statements(embedded_shelf: Shelf) -> Iterator[list[tuple[str, object]]]:
    """What is sent to the database."""
    sent: list[tuple[str, object]] = []

    def note(_connection, _cursor, statement, parameters, _context, _many) -> None:
        if statement.startswith("SELECT") and "FROM repo" in statement:
            sent.append((statement, parameters))

    event.listen(embedded_shelf.hub.db.engine, "before_cursor_execute", note)
    yield sent
    event.remove(embedded_shelf.hub.db.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("sort", ["createdAt", "lastModified", "downloads", "likes"])
def test_pages_are_ranges_of_an_index_and_never_sorted(
    embedded_shelf: Shelf, statements: list[tuple[str, object]], sort: search.SortKey
):
    query = RepoQuery("model", sort=sort)
    for caller in ("nobody", "ada"):
        assert len(embedded_shelf.listed(caller, query, page=5)) > 20
    author = replace(query, author="acme", sort="lastModified")
    assert embedded_shelf.listed("nobody", author, page=5)
    taken = statements[:]
    with embedded_shelf.hub.db.engine.connect() as connection:
        for statement, parameters in taken:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            steps = [row[3] for row in plan]
            assert not any("TEMP B-TREE" in step for step in steps), (statement, steps)
            assert not any(step == "SCAN repo" for step in steps), (statement, steps)


def test_rare_words_and_tags_are_looked_up_not_walked(
    embedded_shelf: Shelf, statements: list[tuple[str, object]]
):
    rare = [
        RepoQuery("model", search="banana-41"),
        RepoQuery("model", tags=("base_model:ada/x",)),
        RepoQuery("model", tags=("gguf",), author="ada"),
    ]
    for query in rare:
        assert embedded_shelf.listed("ada", query, page=5)
    taken = statements[:]
    with embedded_shelf.hub.db.engine.connect() as connection:
        for statement, parameters in taken:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            steps = [row[3] for row in plan if " repo " in row[3] or row[3].endswith(" repo")]
            by_key = ("INTEGER PRIMARY KEY", "namespace_id=?")
            assert all(any(key in step for key in by_key) for step in steps), (statement, steps)


def test_too_many_conditions_are_refused(embedded_shelf: Shelf):
    many = RepoQuery("model", search=" ".join(f"w{n}" for n in range(40)))
    with pytest.raises(InvalidRequest, match="at most 32"):
        embedded_shelf.listed("nobody", many, page=5)


def test_suffixes_are_those_of_the_name_without_its_type():
    found = suffixes("model/ada/aa-aa-aa-aa-aa-aa")
    assert b"ada/aa-aa-aa" in found
    assert b"a" in found
    assert all(len(text) <= SUFFIX_NBYTES for text in found)
    assert len(found) == len(set(found))
    assert not any(b"model" in text for text in found)
