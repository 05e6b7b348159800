"""What listings look repos up by follows what the repos hold, whatever happens on the way."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog import indexing
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid
from app.catalog.indexing import JOB, LONGEST_REST_S, index_repo, load_cards
from app.catalog.listing import Entry
from app.catalog.operations import AddFile
from app.catalog.repos import delete_repo
from app.db.tables import Commit, Job, Repo, RepoCard, RepoTag
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.inline import ingest_inline
from app.jobs.lease import claim_next, give_back
from app.jobs.runner import drain
from app.tasks import HANDLERS


@pytest.fixture
def ada(any_hub: Hub) -> Principal:
    token = create_user(any_hub, "Ada").token
    with any_hub.db.read() as session:
        return authenticate(session, token)


@pytest.fixture
def repo(any_hub: Hub, ada: Principal) -> Repo:
    return create_repo(any_hub, ada, "model", None, "m")


def write_card(hub: Hub, who: Principal, repo: Repo, licence: str) -> Commit:
    data = f"---\nlicense: {licence}\n---\n".encode()
    [file] = ingest_inline(hub, [data], repo_id=repo.id)
    added = AddFile("README.md", file.file_id, blob_oid(data))
    return apply_commit(hub, who, repo, "refs/heads/main", [added], title=licence)


def tags(hub: Hub) -> list[str]:
    with hub.db.read() as session:
        return list(session.scalars(select(RepoTag.tag)))


def test_every_commit_is_indexed_by_its_job(any_hub: Hub, ada: Principal, repo: Repo):
    drain(any_hub, HANDLERS)
    assert tags(any_hub) == []
    head = write_card(any_hub, ada, repo, "mit")
    assert tags(any_hub) == []
    drain(any_hub, HANDLERS)
    with any_hub.db.read() as session:
        card = load_cards(session, [repo.id])[repo.id]
    assert card.commit_oid == head.oid
    assert card.facts.tags == ("license:mit",)
    assert card.facts.card_data == {"license": "mit"}
    index_repo(any_hub, repo.id)
    assert tags(any_hub) == ["license:mit"]


def test_what_was_overtaken_is_not_written(
    any_hub: Hub, ada: Principal, repo: Repo, monkeypatch: pytest.MonkeyPatch
):
    write_card(any_hub, ada, repo, "mit")
    read = indexing._read_small

    def overtaken(hub, files):
        small = read(hub, files)
        monkeypatch.setattr(indexing, "_read_small", read)
        write_card(hub, ada, repo, "apache-2.0")
        index_repo(hub, repo.id)
        return small

    monkeypatch.setattr(indexing, "_read_small", overtaken)
    index_repo(any_hub, repo.id)
    assert tags(any_hub) == ["license:apache-2.0"]


def test_what_nobody_overtook_is_written_though_the_head_moved(
    any_hub: Hub, ada: Principal, repo: Repo, monkeypatch: pytest.MonkeyPatch
):
    """While commits follow each other faster than a run, listings learn something nevertheless."""
    write_card(any_hub, ada, repo, "mit")
    read = indexing._read_small

    def followed(hub, files):
        small = read(hub, files)
        write_card(hub, ada, repo, "apache-2.0")
        return small

    monkeypatch.setattr(indexing, "_read_small", followed)
    index_repo(any_hub, repo.id)
    assert tags(any_hub) == ["license:mit"]
    monkeypatch.undo()
    drain(any_hub, HANDLERS)
    assert tags(any_hub) == ["license:apache-2.0"]


def test_runs_rest_so_that_commits_share_one_and_encoding_has_its_turn(
    any_hub: Hub, ada: Principal, repo: Repo, monkeypatch: pytest.MonkeyPatch
):
    read_small = indexing._read_small

    def slowly(hub: Hub, files: list[Entry]) -> dict[str, bytes]:
        hub.clock.sleep(LONGEST_REST_S)
        return read_small(hub, files)

    drain(any_hub, HANDLERS)
    monkeypatch.setattr(indexing, "_read_small", slowly)
    index_repo(any_hub, repo.id)
    monkeypatch.undo()
    began = any_hub.clock.now()
    for number in range(5):
        write_card(any_hub, ada, repo, f"l{number}")
    with any_hub.db.read() as session:
        [due] = session.scalars(select(Job.run_after).where(Job.kind == JOB, Job.state == "queued"))
    assert due == began + timedelta(seconds=LONGEST_REST_S)
    claim = claim_next(any_hub, "a runner")
    assert claim is not None
    assert claim.kind == "encode"
    give_back(any_hub, claim)
    drain(any_hub, HANDLERS)
    assert tags(any_hub) == ["license:l4"]


def test_a_deleted_repo_leaves_nothing_behind(any_hub: Hub, ada: Principal, repo: Repo):
    write_card(any_hub, ada, repo, "mit")
    index_repo(any_hub, repo.id)
    delete_repo(any_hub, repo)
    index_repo(any_hub, repo.id)
    drain(any_hub, HANDLERS)
    assert tags(any_hub) == []
    with any_hub.db.read() as session:
        assert session.scalar(select(func.count()).select_from(RepoCard)) == 0
