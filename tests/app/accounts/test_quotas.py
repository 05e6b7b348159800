"""Quotas: named when they are reached, at once and at the end, with nothing half-visible."""

import hashlib
import threading

import pytest
from sqlalchemy import func, select

from app.accounts.quotas import Amounts, read_quota, set_quota
from app.catalog.commits import apply_commit
from app.catalog.copies import grant_copies
from app.catalog.operations import AddLfsFile
from app.catalog.repos import find_readable_repo
from app.db.tables import File, FileGrant, Repo
from app.errors import InvalidRequest, NotFound, QuotaExceeded
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.stream import ingest_stream
from app.lfs.batch import WantedObject, plan_uploads
from tests.fixtures.proposals import Forum


def blob(number: int, nbytes: int = 1_000) -> bytes:
    return number.to_bytes(4, "big") * (nbytes // 4)


def send(forum: Forum, data: bytes, proposer: int | None = None) -> AddLfsFile:
    digest = hashlib.sha256(data).digest()
    ingest_stream(
        forum.hub,
        [data],
        nbytes=len(data),
        sha256=digest,
        repo_id=forum.repo.id,
        proposer=proposer,
    )
    return AddLfsFile("big.bin", digest, len(data))


def count(hub: Hub, table: type) -> int:
    with hub.db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def used(forum: Forum, target: str) -> Amounts:
    with forum.hub.db.read() as session:
        return read_quota(session, forum.hub, target)[1]


def ask(forum: Forum, *blobs: bytes, who=None) -> None:
    wanted = [WantedObject(hashlib.sha256(each).hexdigest(), len(each)) for each in blobs]
    plan_uploads(forum.hub, who or forum.ada, forum.repo, wanted, can_multipart=False)


def test_a_quota_is_asked_before_and_after_the_bytes(forum: Forum):
    start = used(forum, "ada").nbytes or 0
    set_quota(forum.hub, "ada", Amounts(nbytes=start + 2_500))
    ask(forum, blob(1), blob(2))
    with pytest.raises(QuotaExceeded, match="ada, bytes"):
        ask(forum, blob(1), blob(2), blob(3))
    operations = [send(forum, blob(n)) for n in (1, 2)]
    before = count(forum.hub, File), count(forum.hub, FileGrant)
    with pytest.raises(QuotaExceeded, match="ada, bytes"):
        send(forum, blob(3))
    assert (count(forum.hub, File), count(forum.hub, FileGrant)) == before
    send(forum, blob(1))  # once more the same bytes
    apply_commit(forum.hub, forum.ada, forum.repo, "refs/heads/main", operations[:1], title="in")
    assert used(forum, "ada").nbytes == start + 2_000


def test_uploads_side_by_side_do_not_pass_together(forum: Forum):
    start = used(forum, "ada").nbytes or 0
    set_quota(forum.hub, "ada", Amounts(nbytes=start + 3_500))
    outcomes: list[str] = []
    gate = threading.Barrier(6)

    def upload(number: int) -> None:
        gate.wait()
        try:
            send(forum, blob(number))
            outcomes.append("in")
        except QuotaExceeded:
            outcomes.append("out")

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] * 3 + ["out"] * 3
    assert (used(forum, "ada").nbytes or 0) <= start + 3_500


def test_proposals_count_for_who_makes_them(forum: Forum):
    before = used(forum, "ada")
    set_quota(forum.hub, "bob", Amounts(proposed_nbytes=1_500))
    bob = forum.bob.account_id
    send(forum, blob(1), proposer=bob)
    assert used(forum, "ada") == before
    assert used(forum, "bob").proposed_nbytes == 1_000
    with pytest.raises(QuotaExceeded, match="bob, bytes in pull requests"):
        send(forum, blob(2), proposer=bob)
    with pytest.raises(QuotaExceeded, match="pull requests"):
        ask(forum, blob(3), who=forum.bob)


def test_repositories_are_counted(forum: Forum):
    set_quota(forum.hub, "ada", Amounts(repos=2))
    create_repo(forum.hub, forum.ada, "model", None, "two")
    with pytest.raises(QuotaExceeded, match="ada, repositories"):
        create_repo(forum.hub, forum.ada, "dataset", None, "three")
    assert count(forum.hub, Repo) == 2


def test_a_repo_has_bounds_of_its_own(forum: Forum):
    set_quota(forum.hub, "ada/m", Amounts(files=2))
    send(forum, blob(1))
    with pytest.raises(QuotaExceeded, match="model/ada/m, files"):
        send(forum, blob(2))
    other = create_repo(forum.hub, forum.ada, "model", None, "other")
    with forum.hub.db.read() as session:
        assert find_readable_repo(session, forum.ada, "model", "ada", "other").id == other.id
    set_quota(forum.hub, "ada/m", Amounts(files=0))
    send(forum, blob(2))
    set_quota(forum.hub, "ada/other", Amounts(nbytes=10))
    operation = send(forum, blob(3))
    apply_commit(forum.hub, forum.ada, forum.repo, "refs/heads/main", [operation], title="c")
    with pytest.raises(QuotaExceeded, match="other, bytes"):
        grant_copies(forum.hub, forum.repo, other, [operation.sha256])


def test_targets_and_amounts_are_checked(forum: Forum):
    with pytest.raises(NotFound):
        set_quota(forum.hub, "nobody/none", Amounts(files=1))
    with pytest.raises(InvalidRequest):
        set_quota(forum.hub, "ada", Amounts(files=-1))


@pytest.mark.parametrize(
    ("name", "quota"),
    [
        ("account_nbytes", "ada, bytes"),
        ("account_files", "ada, files"),
        ("account_repos", "ada, repositories"),
        ("repo_nbytes", "model/ada/m, bytes"),
        ("repo_files", "model/ada/m, files"),
        ("proposed_nbytes", "bob, bytes in pull requests"),
    ],
)
def test_the_defaults_bound_who_has_no_quota(forum: Forum, name: str, quota: str):
    start, hub = used(forum, "ada/m"), forum.hub
    room = {"nbytes": (start.nbytes or 0) + 1_500, "files": (start.files or 0) + 1, "repos": 1}
    most = 1_500 if name == "proposed_nbytes" else room[name.partition("_")[2]]
    quotas = hub.settings.quotas.model_copy(update={name: most})
    hub.settings = hub.settings.model_copy(update={"quotas": quotas})
    proposer = forum.bob.account_id if name == "proposed_nbytes" else None
    send(forum, blob(1), proposer)
    acts = {"account_repos": lambda: create_repo(hub, forum.ada, "model", None, "two")}
    act = acts.get(name, lambda: send(forum, blob(2), proposer))
    with pytest.raises(QuotaExceeded, match=quota):
        act()
