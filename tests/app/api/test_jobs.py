"""GET /api/clade/jobs: those that concern who asks."""

from app.accounts.users import create_user
from tests.fixtures.api import LiveHub
from tests.fixtures.models import ModelHub, base_weights


def test_jobs_are_listed_with_progress_for_those_concerned(live_hub: LiveHub):
    models = ModelHub(live_hub.hub)
    create_user(live_hub.hub, "root", token="hf_root", admin=True)
    models.push("alice/base", base_weights())
    models.push("bob/secret", base_weights(1), private=True)
    models.run_jobs()

    everybody = live_hub.http(None).get("/api/clade/jobs").json()
    assert everybody["jobs"] == []
    assert everybody["done"] == everybody["queued"] == everybody["running"] == 0
    assert everybody["oldest_queued_at"] is None
    counted = [live_hub.http(token).get("/api/clade/jobs").json()["done"] for token in (
        "hf_root", live_hub.bob, live_hub.alice)]  # fmt: skip
    assert counted[0] >= counted[1] > counted[2] >= 2

    every_job = live_hub.http("hf_root").get("/api/clade/jobs").json()["jobs"]
    mine = live_hub.http().get("/api/clade/jobs").json()["jobs"]
    bobs = live_hub.http(live_hub.bob).get("/api/clade/jobs").json()["jobs"]
    ids = [{(job["kind"], job["key"]) for job in jobs} for jobs in (every_job, mine, bobs)]
    assert ids[1] < ids[2] <= ids[0]
    assert {type(job["id"]) for job in every_job} == {int}
    assert {type(job["id"]) for job in bobs} == {str}
    encodes = [job for job in mine if job["kind"] == "encode"]
    assert {job["state"] for job in encodes} == {"done"}
    encode = max(encodes, key=lambda job: job["progress"]["total"])
    assert encode["progress"]["done"] == encode["progress"]["total"] > 0
    assert encode["created_at"].endswith("Z")


def test_jobs_are_filtered_by_state(live_hub: LiveHub):
    create_user(live_hub.hub, "root", token="hf_root", admin=True)
    http = live_hub.http("hf_root")
    ModelHub(live_hub.hub).push("alice/base", base_weights())
    ModelHub(live_hub.hub).run_jobs()
    assert http.get("/api/clade/jobs", params={"state": "failed"}).json()["jobs"] == []
    done = http.get("/api/clade/jobs", params={"state": "done", "limit": 1}).json()["jobs"]
    assert [job["state"] for job in done] == ["done"]
    assert http.get("/api/clade/jobs", params={"state": "lost"}).status_code == 422
