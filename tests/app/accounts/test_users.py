"""Who may be created, and what repeating it does."""

import pytest

from app.accounts.tokens import authenticate
from app.accounts.users import create_org, create_user, find_account, has_users
from app.db import Database
from app.errors import Conflict, InvalidRequest, NotFound
from app.hub import Hub


@pytest.mark.parametrize("name", ["__DUMMY_USER__", "a", "A.b-c_d", "x" * 96])
def test_names_the_clients_allow_are_allowed(hub: Hub, name: str):
    create_user(hub, name)
    with hub.db.read() as session:
        account = find_account(session, name.upper())
    assert account is not None
    assert account.name == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", ".a", "a.", "a--b", "a..b", "a/b", "a b", "é", "x" * 97, "a.git", "api",
     "Datasets"],
)  # fmt: skip
def test_other_names_are_refused(hub: Hub, name: str):
    with pytest.raises(InvalidRequest):
        create_user(hub, name)


def test_names_are_unique_in_any_case(hub: Hub):
    create_user(hub, "ada")
    with pytest.raises(Conflict):
        create_user(hub, "ADA")
    with pytest.raises(Conflict):
        create_org(hub, "Ada")


def test_seeding_may_be_repeated(hub: Hub):
    first = create_user(hub, "ada", token="hf_t", orgs=["acme"])
    again = create_user(hub, "ada", token="hf_t", orgs=["acme", "more"])
    assert again.account_id == first.account_id
    with hub.db.read() as session:
        assert list(authenticate(session, "hf_t").orgs.values()) == ["admin", "admin"]
    with pytest.raises(Conflict):
        create_user(hub, "ada", token="hf_other")
    with pytest.raises(Conflict):
        create_user(hub, "eve", token="hf_t")


def test_joining_an_organisation_gives_the_write_role(hub: Hub):
    org = create_org(hub, "acme")
    user = create_user(hub, "ada", orgs=["ACME"])
    with hub.db.read() as session:
        assert authenticate(session, user.token).orgs == {org: "write"}


def test_an_organisation_needs_known_admins(hub: Hub):
    with pytest.raises(NotFound):
        create_org(hub, "acme", admins=["nobody"])
    with hub.db.read() as session:
        assert find_account(session, "acme") is None


def test_a_new_hub_has_no_users(hub: Hub):
    assert not has_users(hub)
    create_org(hub, "acme")
    assert not has_users(hub)
    create_user(hub, "ada")
    assert has_users(hub)


def test_no_account_is_found_by_an_encoded_slash(any_database: Database):
    with any_database.read() as session:
        assert find_account(session, "alice\x00") is None
