"""Who reads and writes what: every kind of caller against public and private repos."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.permissions import (
    can_read,
    can_read_file,
    can_write,
    possessed_file_clause,
    readable_repos_clause,
)
from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_org, create_user, find_account, set_membership
from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid
from app.catalog.operations import AddFile
from app.catalog.repos import set_private
from app.db.tables import File, Repo
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.inline import ingest_inline

ORG_ROLES = {
    "org_reader": "read",
    "org_contributor": "contributor",
    "org_writer": "write",
    "org_admin": "admin",
    "org_writer_with_read_token": "write",
}
CALLERS = {
    # caller: (reads private, writes)
    "anonymous": (False, False),
    "stranger": (False, False),
    "org_reader": (True, False),
    "org_contributor": (True, False),  # the repos are not his
    "org_writer": (True, True),
    "org_admin": (True, True),
    "org_writer_with_read_token": (True, False),
    "site_admin": (True, True),
    "site_admin_with_read_token": (True, False),
}


@pytest.fixture
def callers(hub: Hub) -> dict[str, Principal | None]:
    create_org(hub, "acme")
    found: dict[str, Principal | None] = {"anonymous": None}
    for name in CALLERS.keys() - {"anonymous"}:
        role = "read" if name.endswith("read_token") else "write"
        user = create_user(hub, name, admin=name.startswith("site_admin"), role=role)

        def join(session: Session, name: str = name, user_id: int = user.account_id) -> None:
            org = find_account(session, "acme")
            assert org is not None
            if name in ORG_ROLES:
                set_membership(session, org, user_id, ORG_ROLES[name])

        hub.db.run(join)
        with hub.db.read() as session:
            found[name] = authenticate(session, user.token)
    return found


@pytest.fixture
def repos(hub: Hub, callers: dict[str, Principal | None]) -> dict[str, Repo]:
    maker = callers["org_admin"]
    assert maker is not None
    return {
        name: create_repo(hub, maker, "model", "acme", name, private=name == "private")
        for name in ("public", "private")
    }


@pytest.mark.parametrize("caller", CALLERS)
def test_rights(hub: Hub, callers, repos, caller: str):
    principal = callers[caller]
    reads_private, writes = CALLERS[caller]
    with hub.db.read() as session:
        assert can_read(session, principal, repos["public"])
        assert can_read(session, principal, repos["private"]) is reads_private
        assert can_write(session, principal, repos["public"]) is writes
        assert can_write(session, principal, repos["private"]) is writes
        listed = set(session.scalars(select(Repo.name).where(readable_repos_clause(principal))))
    assert listed == {"public", *(["private"] if reads_private else [])}


def test_bytes_are_readable_where_a_readable_tree_names_them(hub: Hub, callers, repos):
    maker, stranger, member = (callers[who] for who in ("org_admin", "stranger", "org_reader"))
    [file] = ingest_inline(hub, [b"bytes"], repo_id=repos["private"].id)

    def facts(who: Principal | None, repo: Repo) -> tuple[bool, bool]:
        with hub.db.read() as session:
            possessed = session.scalar(
                select(File.id).where(
                    File.id == file.file_id, possessed_file_clause(session, who, repo)
                )
            )
            return can_read_file(session, who, file.file_id), possessed is not None

    assert facts(stranger, repos["public"]) == (False, False)
    assert facts(maker, repos["private"]) == (False, True)  # sent, in no tree yet
    apply_commit(
        hub,
        maker,
        repos["private"],
        "refs/heads/main",
        [AddFile("a", file.file_id, blob_oid(b"bytes"))],
        title="t",
    )
    assert facts(member, repos["public"]) == (True, True)
    assert facts(stranger, repos["public"]) == (False, False)
    assert facts(None, repos["public"]) == (False, False)
    set_private(hub, repos["private"], False)
    assert facts(None, repos["public"]) == (True, True)
