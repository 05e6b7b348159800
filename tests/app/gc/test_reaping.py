"""What takes two collectors, or a collector and an encoder, to go wrong."""

import pytest
from sqlalchemy import select

from app.contents.reading import load_refs
from app.db.tables import Content, Encoding, FormerEncoding, StoredObject
from app.errors import Damaged
from app.gc import reaping
from app.gc.collect import collect
from app.gc.fsck import fsck
from app.gc.putback import put_back
from app.hub import Hub
from app.store.wrapper import StoreWrapper
from tests.fixtures.contents import ContentFactory
from tests.fixtures.models import ModelHub, base_weights


def later(hub: Hub):
    return hub.clock.now().replace(year=hub.clock.now().year + 1)


def former_of(hub: Hub, content: int) -> FormerEncoding:
    with hub.db.read() as session:
        return session.scalars(
            select(FormerEncoding)
            .where(FormerEncoding.content_id == content)
            .order_by(FormerEncoding.id)
        ).first()  # type: ignore[return-value]


def current_of(hub: Hub, content: int):
    with hub.db.read() as session:
        return load_refs(session, [content])[content]


def base_of(hub: Hub, content: int) -> int | None:
    with hub.db.read() as session:
        return session.scalars(select(Encoding.base_id).where(Encoding.content_id == content)).one()


def test_what_one_collector_deletes_another_does_not_put_back(models: ModelHub, monkeypatch):
    """The first has passed the gate; the store lies to the second, which sees damage."""
    models.push("alice/base", base_weights())
    models.run_jobs()
    hub, seen = models.hub, []

    class WhileDeleting(StoreWrapper):
        def delete(self, key: str) -> None:
            if not seen:
                seen.append(key)
                with monkeypatch.context() as patch:
                    patch.setattr(reaping, "verify_content", lie)
                    reaping.reap(hub, before=later(hub))
            self.inner.delete(key)

    def lie(_hub, ref):
        raise Damaged(f"content {ref.content_id} seems damaged")

    hub.store = WhileDeleting(hub.store)
    reaping.reap(hub, before=later(hub))
    assert seen
    with hub.db.read() as session:
        dead = session.scalars(
            select(Encoding.id)
            .join(StoredObject, StoredObject.id == Encoding.object_id)
            .where(StoredObject.state != "live")
        ).all()
    assert dead == []
    assert all(hub.store.stat(current_of(hub, each).key) for each in all_contents(hub))
    models.check()


def all_contents(hub: Hub) -> list[int]:
    with hub.db.read() as session:
        return list(session.scalars(select(Content.id)))


def damage(contents: ContentFactory, content: int) -> None:
    key = contents.key_of(content)
    contents.overwrite(key, bytes(len(contents.object_bytes(key))))


@pytest.mark.parametrize("turn", ["base became a delta of it", "base became a delta", "has deltas"])
def test_delta_is_put_back_only_where_depth_stays_one(
    hub: Hub, contents: ContentFactory, turn: str
):
    """A former delta names a base that moved on meanwhile; put back, it could close a circle."""
    x, base, other = (contents.content(bytes([n]) * 5000) for n in range(3))
    contents.reencode(x, "BITX", base)
    contents.reencode(x, "ZSTD")
    match turn:
        case "base became a delta of it":
            contents.reencode(base, "BITX", x)
        case "base became a delta":
            contents.reencode(base, "BITX", other)
        case _:
            contents.reencode(other, "BITX", x)
    with hub.db.read() as session:
        delta = session.scalars(
            select(FormerEncoding).where(
                FormerEncoding.content_id == x, FormerEncoding.base_id == base
            )
        ).one()
    damaged = current_of(hub, x)
    damage(contents, x)
    assert not put_back(hub, delta.id, damaged)
    assert base_of(hub, x) is None
    assert contents.health_of(x) == "damaged"
    assert "base" not in {problem.kind for problem in fsck(hub).problems}


def test_content_that_was_encoded_anew_meanwhile_is_left_alone(hub: Hub, contents: ContentFactory):
    x = contents.content(b"x" * 5000)
    contents.reencode(x, "ZSTD")
    damaged = current_of(hub, x)
    damage(contents, x)
    contents.reencode(x, "ZSTD")
    assert not put_back(hub, former_of(hub, x).id, damaged)
    assert current_of(hub, x).codec == "ZSTD"
    assert contents.health_of(x) == "ok"


def test_object_that_is_in_use_is_never_deleted(models: ModelHub):
    """Not even where a bug, here the test, has retired it."""
    models.push("alice/base", base_weights())
    models.run_jobs()
    collect(models.hub, now=True)

    def retire(session) -> None:
        for row in session.scalars(select(StoredObject)):
            row.state, row.not_before = "retired", models.hub.clock.now()

    before = models.bucket_nbytes()
    models.hub.db.run(retire)
    collect(models.hub, now=True)
    assert models.bucket_nbytes() == before
    assert {problem.kind for problem in fsck(models.hub).problems} == {"dead-object"}


def test_doomed_object_is_deleted_by_the_next_collector(models: ModelHub):
    """The one that doomed it died before, or after, it deleted the bytes."""
    models.push("alice/base", base_weights())
    models.run_jobs()

    class Dead(BaseException):
        pass

    class Dying(StoreWrapper):
        def delete(self, key: str) -> None:
            self.inner.delete(key)
            raise Dead

    store = models.hub.store
    models.hub.store = Dying(store)
    with pytest.raises(Dead):
        collect(models.hub, now=True)
    models.hub.store = store
    with models.hub.db.read() as session:
        assert session.scalars(select(StoredObject.doomed_at)).all().count(None) > 0
    collect(models.hub, now=True)
    models.check()
    assert models.bucket_nbytes() <= models.stored_nbytes() / 0.8
