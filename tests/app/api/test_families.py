"""GET /api/clade/families: over HTTP, as different callers see it."""

import pytest

from tests.fixtures.api import LiveHub
from tests.fixtures.models import ModelHub, base_weights, card, tuned, weight_file


def test_families_show_declared_and_measured_parents_to_those_who_may_read(live_hub: LiveHub):
    models = ModelHub(live_hub.hub)
    base = base_weights()
    models.push("alice/base", base)
    models.push("bob/secret", {"README.md": card("alice/base")}, private=True)
    models.push("bob/secret", tuned(base, 1))
    models.run_jobs()

    listed = live_hub.http().get("/api/clade/families").json()
    assert listed["next"] is None
    [family] = listed["families"]
    assert (family["root"], family["size"]) == ("alice/base", 1)

    mine = live_hub.http(live_hub.bob).get(f"/api/clade/families/{family['id']}").json()
    root, secret = mine["members"]
    assert (root["id"], root["root"], root["measured_parent"]) == ("alice/base", True, None)
    assert secret["measured_parent"] == secret["declared_base"] == "alice/base"
    assert secret["agrees"] is True
    assert secret["declared_relation"] == "finetune"
    assert 0 < secret["bit_distance"] < 5
    assert secret["stored_bytes"] < secret["logical_bytes"]
    assert mine["logical_bytes"] == root["logical_bytes"] + secret["logical_bytes"]
    assert mine["logical_bytes"] > 2 * len(weight_file(base))

    theirs = live_hub.http(None).get(f"/api/clade/families/{family['id']}").json()
    assert [member["id"] for member in theirs["members"]] == ["alice/base"]


def test_family_of_private_repositories_does_not_exist_for_others(live_hub: LiveHub):
    models = ModelHub(live_hub.hub)
    models.push("bob/secret", base_weights(), private=True)
    models.run_jobs()
    [family] = live_hub.http(live_hub.bob).get("/api/clade/families").json()["families"]
    assert live_hub.http().get("/api/clade/families").json()["families"] == []
    answer = live_hub.http().get(f"/api/clade/families/{family['id']}")
    assert answer.status_code == 404
    assert answer.headers["x-error-code"] == "NotFound"
    assert (
        live_hub.http().get("/api/clade/families/999").text.replace("999", str(family["id"]))
        == answer.text
    )


def test_listing_goes_on_where_it_ended(live_hub: LiveHub):
    models = ModelHub(live_hub.hub)
    for seed in range(3):
        models.push(f"alice/m{seed}", base_weights(seed))
    models.run_jobs()
    http = live_hub.http()
    first = http.get("/api/clade/families", params={"limit": 2}).json()
    rest = http.get("/api/clade/families", params={"limit": 2, "after": first["next"]}).json()
    roots = [family["root"] for page in (first, rest) for family in page["families"]]
    assert sorted(roots) == ["alice/m0", "alice/m1", "alice/m2"]
    assert rest["next"] is None


def test_who_may_read_few_gets_short_pages(live_hub: LiveHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.families.listing.SIFTED", 1)
    models = ModelHub(live_hub.hub)
    for seed in range(4):
        models.push(f"{'bob' if seed == 3 else 'alice'}/m{seed}", base_weights(seed))
    models.run_jobs()
    for seed in range(3):
        live_hub.api().update_repo_settings(f"alice/m{seed}", private=True)
    roots, after, pages = [], 0, 0
    while after is not None:
        query = {"limit": 1, "after": after}
        page = live_hub.http(live_hub.bob).get("/api/clade/families", params=query).json()
        roots += [family["root"] for family in page["families"]]
        after, pages = page["next"], pages + 1
    assert (roots, pages) == (["bob/m3"], 5)


def test_ids_that_no_database_holds_are_refused(live_hub: LiveHub):
    client = live_hub.http()
    for path in (f"/{1 << 63}", f"?after={1 << 63}", "/-1"):
        assert client.get(f"/api/clade/families{path}").status_code == 422
