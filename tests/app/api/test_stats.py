"""GET /api/clade/stats: numbers from the bucket, by cause."""

from app.accounts.users import create_user
from tests.fixtures.api import LiveHub
from tests.fixtures.models import ModelHub, base_weights, tuned


def test_stats_add_up_to_what_the_bucket_holds(live_hub: LiveHub):
    models = ModelHub(live_hub.hub)
    base = base_weights()
    models.push("alice/base", base)
    models.push("alice/tune", tuned(base, 1))
    models.run_jobs()
    create_user(live_hub.hub, "root", token="hf_root", admin=True)
    assert live_hub.http(None).get("/api/clade/stats").status_code == 401
    assert live_hub.http(live_hub.bob).get("/api/clade/stats").status_code == 403
    stats = live_hub.http("hf_root").get("/api/clade/stats").json()
    assert stats["stored_bytes"] == models.bucket_nbytes()
    assert stats["stored_bytes"] == (
        stats["logical_bytes"] - sum(stats["saved"].values()) + sum(stats["overhead"].values())
    )
    assert set(stats["saved"]) == {"file_dedup", "tensor_dedup", "delta", "coding"}
    assert stats["saved"]["delta"] > 0
    assert stats["deltas"] > 0
