"""The audit log: what was done and only that, by whom, for as long as it is kept."""

import pytest
from huggingface_hub import HfApi

from app.accounts.audit import list_events, prune_audit
from app.accounts.users import create_user
from app.clock import ManualClock
from app.errors import Conflict
from app.hub import Hub
from app.jobs.context import JobContext
from tests.fixtures.api import LiveHub, add


def actions(hub: Hub, actor: str | None = None) -> list[str]:
    with hub.db.read() as session:
        return [each.action for each in list_events(session, actor=actor, limit=1_000)][::-1]


def drive(api: HfApi, http) -> None:
    """Everything that changes something."""
    api.create_repo("alice/a")
    api.create_commit("alice/a", [add("x.bin", b"x" * 99)], commit_message="add")
    api.update_repo_settings("alice/a", gated="manual")
    api.create_branch("alice/a", branch="b")
    api.create_tag("alice/a", tag="v1")
    api.delete_branch("alice/a", branch="b")
    api.super_squash_history("alice/a", branch="main")
    api.grant_access("alice/a", user="bob")
    api.move_repo("alice/a", "alice/b")
    http.post("/api/models/alice/b/duplicate", json={"repository": "alice/c"}).raise_for_status()
    http.post("/api/organizations", json={"name": "labs"}).raise_for_status()
    member = {"user": "bob", "role": "read"}
    http.post("/api/organizations/labs/members", json=member).raise_for_status()
    http.delete("/api/organizations/labs/members/bob").raise_for_status()
    made = http.post("/api/clade/tokens", json={"name": "ci"}).raise_for_status().json()
    http.delete(f"/api/clade/tokens/{made['id']}").raise_for_status()
    api.delete_repo("alice/c")


def test_every_change_is_recorded_with_its_actor(live_hub: LiveHub):
    drive(live_hub.api(), live_hub.http())
    assert actions(live_hub.hub, "alice") == [
        *("repo.create", "repo.commit", "repo.settings", "ref.create", "ref.create"),
        *("ref.delete", "ref.squash", "access.grant", "repo.move", "repo.duplicate"),
        *("org.create", "org.role", "org.remove", "token.create", "token.revoke", "repo.delete"),
    ]
    with live_hub.hub.db.read() as session:
        [last] = list_events(session, action="repo.delete", limit=1)
        [made] = list_events(session, action="user.create", actor="(operator)", limit=1)
    assert last.target == "model/alice/c"
    assert last.address == "127.0.0.1"
    assert last.request_id
    assert last.token_id
    assert (made.target, made.request_id) == ("bob", None)


def test_what_is_refused_leaves_no_trace(live_hub: LiveHub):
    live_hub.api().create_repo("alice/a")
    before = actions(live_hub.hub)
    again = live_hub.http().post("/api/repos/create", json={"name": "a"})
    assert again.status_code == 409
    refused = live_hub.http(live_hub.bob).request(
        "DELETE", "/api/repos/delete", json={"name": "a", "organization": "alice"}
    )
    assert refused.status_code == 403
    with pytest.raises(Conflict):
        create_user(live_hub.hub, "alice")
    assert actions(live_hub.hub) == before


def test_administrators_read_it_and_nobody_else(live_hub: LiveHub):
    create_user(live_hub.hub, "root", token="hf_root", admin=True)
    live_hub.api().create_repo("alice/a", private=True)
    for token, status in ((None, 401), (live_hub.alice, 403), (live_hub.bob, 403)):
        assert live_hub.http(token).get("/api/clade/audit").status_code == status
    http = live_hub.http("hf_root")
    [event] = http.get("/api/clade/audit", params={"action": "repo.create"}).json()
    assert (event["actor"], event["target"]) == ("alice", "model/alice/a")
    page = http.get("/api/clade/audit", params={"limit": 1})
    following = http.get(page.links["next"]["url"]).json()
    assert following[0]["id"] < page.json()[0]["id"]


def test_it_forgets_what_is_old(hub: Hub):
    clock = hub.clock
    assert isinstance(clock, ManualClock)
    create_user(hub, "early")
    clock.advance(hub.settings.audit_kept_s + 1)
    create_user(hub, "late")
    prune_audit(JobContext(hub, 1, {}))
    with hub.db.read() as session:
        assert [each.target for each in list_events(session)] == ["late"]
