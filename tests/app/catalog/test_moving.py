"""Names that lead on, copies without bytes, gates and likes: on both databases."""

import threading
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from app.accounts.orgs import set_role
from app.accounts.permissions import can_open, can_read_file
from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_org, create_user, find_account
from app.catalog import likes
from app.catalog.duplicating import duplicate_repo
from app.catalog.gating import ask_access, grant_access, handle_request, list_requests
from app.catalog.moving import move_repo
from app.catalog.repos import change_settings, delete_repo, find_readable_repo, repo_id
from app.db.tables import (
    Account,
    Commit,
    FormerName,
    Membership,
    NameSuffix,
    Ref,
    Repo,
    RepoLike,
    TreeEntry,
)
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound, RepoMoved, RepoNotFound
from app.gc.fsck import fsck
from app.hub import Hub
from app.ingest.creation import create_repo


def principal(hub: Hub, token: str) -> Principal:
    with hub.db.read() as session:
        return authenticate(session, token)


@pytest.fixture
def ada(any_hub: Hub) -> Principal:
    token = create_user(any_hub, "Ada", orgs=["acme"]).token
    return principal(any_hub, token)


@pytest.fixture
def bob(any_hub: Hub) -> Principal:
    return principal(any_hub, create_user(any_hub, "bob").token)


@pytest.fixture
def repo(any_hub: Hub, ada: Principal) -> Repo:
    return create_repo(any_hub, ada, "model", None, "One")


def led_to(hub: Hub, who: Principal | None, name: str) -> str:
    """The repo that ``Ada/name`` is, or leads to."""
    with hub.db.read() as session:
        try:
            return repo_id(session, find_readable_repo(session, who, "model", "ada", name))
        except RepoMoved as moved:
            return moved.repo_id


def test_names_lead_on_until_they_are_taken(any_hub: Hub, ada: Principal, repo: Repo):
    move_repo(any_hub, ada, repo, "Ada", "Two")
    move_repo(any_hub, ada, repo, "acme", "Three")
    assert [led_to(any_hub, ada, name) for name in ("one", "TWO")] == ["acme/Three"] * 2
    create_repo(any_hub, ada, "model", None, "Two")
    assert led_to(any_hub, ada, "two") == "Ada/Two"
    move_repo(any_hub, ada, repo, "Ada", "One")
    assert led_to(any_hub, ada, "one") == "Ada/One"
    delete_repo(any_hub, repo)
    with any_hub.db.read() as session:
        for table in (FormerName, NameSuffix):
            query = select(func.count()).select_from(table).where(table.repo_id == repo.id)
            assert session.scalar(query) == 0
    with pytest.raises(RepoNotFound):
        led_to(any_hub, ada, "one")


def test_of_racing_movers_one_gets_the_name(any_hub: Hub, ada: Principal):
    repos = [create_repo(any_hub, ada, "model", None, f"m{number}") for number in range(4)]
    outcomes: list[str] = []

    def move(repo: Repo) -> None:
        try:
            move_repo(any_hub, ada, repo, "Ada", "prize")
            outcomes.append("moved")
        except Conflict:
            outcomes.append("taken")

    threads = [threading.Thread(target=move, args=(repo,)) for repo in repos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["moved", "taken", "taken", "taken"]


def test_moves_are_refused_where_creation_would_be(
    any_hub: Hub, ada: Principal, bob: Principal, repo: Repo
):
    for namespace in ("bob", "nobody"):
        with pytest.raises(Forbidden):
            move_repo(any_hub, ada, repo, namespace, "x")
    with pytest.raises(InvalidRequest):
        move_repo(any_hub, ada, repo, "Ada", "a..b")
    assert led_to(any_hub, bob, "one") == "Ada/One"


def test_a_copy_has_every_commit_and_file_and_shares_the_bytes(
    any_hub: Hub, ada: Principal, bob: Principal, repo: Repo
):
    change_settings(any_hub, repo, private=True)
    copy = duplicate_repo(any_hub, ada, repo, "acme", "Copy")
    assert (copy.private, copy.creator_id) == (True, ada.account_id)
    with any_hub.db.read() as session:
        for table in (Ref, Commit, TreeEntry):
            oids = {
                owner: session.scalars(
                    select(table.oid if table is not Ref else Ref.commit_oid).where(
                        table.repo_id == owner
                    )
                ).all()
                for owner in (repo.id, copy.id)
            }
            assert oids[repo.id] == oids[copy.id] != []
        file_id = session.scalar(select(TreeEntry.file_id).where(TreeEntry.repo_id == copy.id))
        assert file_id is not None
        assert can_read_file(session, ada, file_id)
        assert not can_read_file(session, bob, file_id)
    with pytest.raises(Conflict):
        duplicate_repo(any_hub, ada, repo, "acme", "COPY")
    delete_repo(any_hub, repo)
    with pytest.raises(RepoNotFound):
        duplicate_repo(any_hub, ada, repo, "acme", "other")
    assert fsck(any_hub, deep=True).clean


def test_gates_let_in_who_was_accepted(any_hub: Hub, bob: Principal, repo: Repo):
    gated = change_settings(any_hub, repo, gated="manual")

    def opens() -> bool:
        with any_hub.db.read() as session:
            file_id = session.scalar(select(TreeEntry.file_id).where(TreeEntry.repo_id == repo.id))
            assert file_id is not None
            allowed = can_open(session, bob, gated)
            assert can_read_file(session, bob, file_id) is allowed
            return allowed

    assert not opens()
    assert ask_access(any_hub, bob, gated) == "pending"
    assert not opens()
    grant_access(any_hub, gated, "bob")
    assert opens()
    with any_hub.db.read() as session:
        [listed] = list_requests(session, gated, "accepted")
    handle_request(any_hub, gated, "rejected", request_id=listed.request.id, reason="no")
    assert not opens()
    with pytest.raises(NotFound):
        handle_request(any_hub, gated, "rejected", user="bob")
    opened = change_settings(any_hub, repo, gated=False)
    with pytest.raises(InvalidRequest):
        ask_access(any_hub, bob, opened)


def test_likes_are_counted_once_each(any_hub: Hub, ada: Principal, bob: Principal, repo: Repo):
    threads = [
        threading.Thread(target=likes.like, args=(any_hub, who, repo))
        for who in (ada, bob, ada, bob)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    likes.unlike(any_hub, ada, repo)
    likes.unlike(any_hub, ada, repo)
    with any_hub.db.read() as session:
        assert session.get_one(Repo, repo.id).likes == 1
        assert session.scalars(select(RepoLike.account_id)).all() == [bob.account_id]


def test_an_organisation_always_has_an_admin(any_hub: Hub, ada: Principal, bob: Principal):
    create_org(any_hub, "lab", admins=["Ada", "bob"])
    both = [principal_of(any_hub, who) for who in (ada, bob)]
    outcomes: list[str] = []

    def dethrone(caller: Principal, other: str) -> None:
        try:
            set_role(any_hub, caller, "lab", other, "read")
            outcomes.append("done")
        except (Conflict, Forbidden):
            outcomes.append("refused")

    threads = [
        threading.Thread(target=dethrone, args=(caller, other.name))
        for caller, other in (both, both[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "refused"]
    with any_hub.db.read() as session:
        roles = session.scalars(
            select(Membership.role)
            .join(Account, Account.id == Membership.org_id)
            .where(Account.key == "lab")
        ).all()
    assert sorted(roles) == ["admin", "read"]


def principal_of(hub: Hub, who: Principal) -> Principal:
    """The same user with the organisations of today."""
    with hub.db.read() as session:
        lab = find_account(session, "lab")
    assert lab is not None
    return replace(who, orgs={**who.orgs, lab.id: "admin"})
