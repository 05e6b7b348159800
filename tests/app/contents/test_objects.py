import pytest
from sqlalchemy import select

from app.contents import objects
from app.db.tables import StoredObject
from app.hub import Hub


def states(hub: Hub) -> dict[str, str]:
    with hub.db.read() as session:
        return {row.key: row.state for row in session.scalars(select(StoredObject))}


def test_intent_is_recorded_before_the_first_byte(hub: Hub) -> None:
    pending = objects.begin(hub, "upload")

    assert states(hub) == {pending.key: "pending"}
    assert hub.store.stat(pending.key) is None


def test_keys_are_never_the_same(hub: Hub) -> None:
    keys = {objects.begin(hub, "pack").key for _ in range(20)}

    assert len(keys) == 20


def test_given_up_object_cannot_be_published(hub: Hub) -> None:
    pending = objects.begin(hub, "upload")
    objects.abandon(hub, pending)

    with pytest.raises(objects.ObjectLost):
        hub.db.run(lambda session: objects.publish(session, pending, 1))
    assert states(hub) == {pending.key: "retired"}


def test_object_without_references_retires_and_stays_readable_for_the_grace_period(
    hub: Hub,
) -> None:
    pending = objects.begin(hub, "pack")
    hub.db.run(lambda session: objects.publish(session, pending, 1))

    hub.db.run(lambda session: objects.retire_unreferenced(session, hub, [pending.id]))

    with hub.db.read() as session:
        row = session.get_one(StoredObject, pending.id)
    assert row.state == "retired"
    assert row.not_before is not None
    age = (row.not_before - hub.clock.now()).total_seconds()
    assert age == hub.settings.timers.replaced_s
