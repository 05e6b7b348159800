"""Repos are found in any case, listed page by page, and counted once."""

import itertools

import pytest

from app.accounts.tokens import Principal, authenticate
from app.accounts.usage import read_histories
from app.accounts.users import create_user
from app.catalog.repos import find_readable_repo, repo_id, set_private
from app.catalog.search import RepoQuery, list_repos
from app.errors import Conflict, Forbidden, InvalidRequest, RepoNotFound
from app.hub import Hub
from app.ingest.creation import create_repo


@pytest.fixture
def ada(any_hub: Hub) -> Principal:
    token = create_user(any_hub, "Ada").token
    with any_hub.db.read() as session:
        return authenticate(session, token)


def test_names_resolve_in_any_case_and_keep_their_spelling(any_hub: Hub, ada: Principal):
    create_repo(any_hub, ada, "model", "ADA", "My-Model")
    with any_hub.db.read() as session:
        repo = find_readable_repo(session, None, "model", "ada", "my-model")
        assert repo_id(session, repo) == "Ada/My-Model"
        with pytest.raises(RepoNotFound):
            find_readable_repo(session, None, "dataset", "ada", "my-model")
    with pytest.raises(Conflict):
        create_repo(any_hub, ada, "model", None, "MY-MODEL")


def test_names_and_namespaces_are_checked(any_hub: Hub, ada: Principal):
    for name in ("", "a/b", "a..b", "x.git", "-a", "a" * 97, "é"):
        with pytest.raises(InvalidRequest):
            create_repo(any_hub, ada, "model", None, name)
    create_user(any_hub, "bob")
    for namespace in ("bob", "nobody"):
        with pytest.raises(Forbidden):
            create_repo(any_hub, ada, "model", namespace, "x")


@pytest.mark.parametrize("sort", ["createdAt", "lastModified", "downloads"])
@pytest.mark.parametrize("ascending", [True, False])
def test_pages_cover_all_repos_once_in_order(any_hub: Hub, ada: Principal, sort, ascending: bool):
    for number in range(5):
        create_repo(any_hub, ada, "model", None, f"m{number}")
        if number % 2:
            any_hub.clock.sleep(1)
    query = RepoQuery("model", sort=sort, ascending=ascending)
    found, after = [], None
    with any_hub.db.read() as session:
        while True:
            page, after = list_repos(session, ada, query, after=after, limit=2)
            found += [each.repo for each in page]
            if after is None:
                break
        whole = [each.repo.id for each in list_repos(session, ada, query)[0]]
    assert [repo.id for repo in found] == whole
    assert len(set(whole)) == 5
    columns = {"createdAt": "created_at", "lastModified": "updated_at", "downloads": "downloads"}
    values = [getattr(repo, columns[sort]) for repo in found]
    assert all((a <= b) if ascending else (a >= b) for a, b in itertools.pairwise(values))


def test_search_takes_text_literally(any_hub: Hub, ada: Principal):
    for name in ("a_b", "axb", "model-x"):
        create_repo(any_hub, ada, "model", None, name)

    def names(**query: str) -> set[str]:
        with any_hub.db.read() as session:
            page, _ = list_repos(session, None, RepoQuery("model", **query))
        return {each.repo.name for each in page}

    assert names(search="a_b") == {"a_b"}
    assert names(search="A%") == set()
    assert names(search="ada/m") == {"model-x"}
    assert names(search="model/") == set()
    assert names(author="ADA") == {"a_b", "axb", "model-x"}
    assert names(author="bob") == set()


def test_hidden_repos_are_not_listed(any_hub: Hub, ada: Principal):
    repo = create_repo(any_hub, ada, "model", None, "m")
    set_private(any_hub, repo, True)
    with any_hub.db.read() as session:
        assert list_repos(session, None, RepoQuery("model"))[0] == []
        assert len(list_repos(session, ada, RepoQuery("model"))[0]) == 1
        assert read_histories(session, [repo.id])[repo.id] > 1000
