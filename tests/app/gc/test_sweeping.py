"""Bucket and database are compared both ways, while others write."""

import boto3
import pytest
from sqlalchemy import select

from app.accounts.users import create_user
from app.contents import objects
from app.db.tables import StoredObject, Xorb
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.gc.periodic import sweep_store
from app.gc.sweeping import PAGE, sweep
from app.hub import Hub
from app.jobs.context import JobContext
from app.settings import Settings
from app.store.s3_location import S3Location
from app.tasks import PERIODS
from app.xet.staging import store_xorb
from tests.fixtures.hub import open_test_hub
from tests.fixtures.models import ModelHub, base_weights
from tests.fixtures.services import S3Server
from tests.fixtures.xorbs import build_xorb

WEEK_S = 7 * 24 * 3600.0


def zombie_key(hub: Hub, digit: str = "a") -> str:
    return f"o/{hub.store_epoch}/{digit * 2}/{digit * 32}"


def run_sweep(hub: Hub) -> None:
    sweep_store(JobContext(hub, 1, {}))


def test_unknown_object_goes_after_a_week_and_not_before(any_models: ModelHub):
    hub = any_models.hub
    any_models.push("alice/a", {"small.txt": b"small"})
    hub.store.put(zombie_key(hub), [b"a writer that was given up on"])
    run_sweep(hub)
    collect(hub)
    assert hub.store.stat(zombie_key(hub)) is not None
    assert fsck(hub).clean, "it is known by now"
    hub.clock.sleep(hub.settings.timers.unknown_s - 1)  # type: ignore[attr-defined]
    run_sweep(hub)
    collect(hub)
    assert hub.store.stat(zombie_key(hub)) is not None
    hub.clock.sleep(2)  # type: ignore[attr-defined]
    run_sweep(hub)
    collect(hub)
    assert hub.store.stat(zombie_key(hub)) is None
    any_models.check()
    assert PERIODS["sweep"] == WEEK_S


def test_parts_of_dead_writers_are_given_up(production_settings: Settings, s3_server: S3Server):
    hub = open_test_hub(production_settings)
    going_on = objects.begin(hub, "upload")
    location = S3Location.parse(production_settings.resolved_store_url)
    client = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
    )
    for key in (going_on.key, zombie_key(hub)):
        client.create_multipart_upload(Bucket=location.bucket, Key=location.prefix + key)
    run_sweep(hub)
    assert [each.key for each in hub.store.list_unfinished()] == [going_on.key]
    objects.abandon(hub, going_on)
    run_sweep(hub)
    assert list(hub.store.list_unfinished()) == []
    client.close()
    hub.close()


def test_objects_of_another_epoch_stay(models: ModelHub):
    hub = models.hub
    hub.store.put(f"o/0ld0ld00/aa/{'a' * 32}", [b"of before a restore"])
    assert sweep(hub, grace_s=0).unknown == 0


def test_lost_object_is_found_marked_and_healed_by_the_next_upload(any_models: ModelHub):
    hub = any_models.hub
    weights = base_weights()
    any_models.push("alice/a", weights)
    any_models.run_jobs()
    collect(hub, now=True)
    for stat in hub.store.list():
        hub.store.delete(stat.key)
    assert sweep(hub, grace_s=0).lost > 0
    kinds = {problem.kind for problem in fsck(hub).problems}
    assert "lost-object" in kinds
    any_models.push("alice/a", weights)
    any_models.push("alice/a", {"README.md": b"again"})
    assert any_models.read("alice/a", "model.safetensors")
    assert sweep(hub, grace_s=0).lost > 0, "the objects that nothing lies in any more are retired"


def test_truncated_object_is_found(models: ModelHub):
    hub = models.hub
    models.push("alice/a", base_weights())
    with hub.db.read() as session:
        key, nbytes = session.execute(
            select(StoredObject.key, StoredObject.nbytes).where(StoredObject.nbytes > 10_000)
        ).one()
    data = hub.store.read(key, 0, nbytes)
    hub.store.delete(key)
    hub.store.put(key, [data[:-1]])
    assert sweep(hub, grace_s=0).lost == 1


def test_lost_xorb_is_asked_for_again(hub: Hub):
    """It is forgotten, so that its client sends it."""
    alice = create_user(hub, "alice")
    built = build_xorb(b"chunk" * 4000)
    assert store_xorb(hub, alice.account_id, built.digest, [built.stored])
    for stat in hub.store.list():
        hub.store.delete(stat.key)
    assert sweep(hub, grace_s=0).lost == 1
    with hub.db.read() as session:
        assert session.scalars(select(Xorb)).all() == []


@pytest.mark.parametrize("moment", ["before the listing", "after the listing"])
def test_upload_under_way_is_no_unknown_object(hub: Hub, moment: str):
    pending = objects.begin(hub, "upload")
    if moment == "before the listing":
        hub.store.put(pending.key, [b"on its way"])
        assert sweep(hub, grace_s=0).unknown == 0
    else:
        listing = hub.store.list

        def late(prefix: str = ""):
            yield from list(listing(prefix))
            if not pending.key.startswith(prefix):
                return
            hub.store.put(pending.key, [b"on its way"])
            hub.db.run(lambda session: objects.publish(session, pending, 10))

        hub.store.list = late  # type: ignore[method-assign]
        report = sweep(hub, grace_s=0)
        assert (report.unknown, report.lost) == (0, 0)


def test_more_keys_than_a_page(hub: Hub):
    for number in range(PAGE + 3):
        hub.store.put(f"o/{hub.store_epoch}/{number % 256:02x}/{number:032x}", [b"."])
    assert sweep(hub, grace_s=0).unknown == PAGE + 3
    assert sweep(hub, grace_s=0).unknown == 0
