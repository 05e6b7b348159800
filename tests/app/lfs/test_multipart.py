"""Multipart uploads in the domain: retired when done, collected when left behind."""

import hashlib
import random

import pytest
from sqlalchemy import select

from app.accounts.tokens import authenticate
from app.accounts.users import create_user
from app.catalog.repos import reserve_repo
from app.db.tables import LfsPart, LfsUpload, StoredObject
from app.errors import ContentNotFound, IntegrityError
from app.gc.collect import collect
from app.lfs import capability
from app.lfs.batch import WantedObject, plan_uploads
from app.lfs.multipart import CompletedPart, complete_upload, store_part
from tests.fixtures.hub import open_test_hub

PART_NBYTES = 100_000


@pytest.fixture
def small_parts_hub(embedded_settings):
    limits = embedded_settings.limits.model_copy(
        update={"lfs_multipart_nbytes": 0, "lfs_part_nbytes": PART_NBYTES}
    )
    hub = open_test_hub(embedded_settings.model_copy(update={"limits": limits}))
    yield hub
    hub.close()


@pytest.fixture
def data():
    return random.Random(1).randbytes(250_000)


@pytest.fixture
def plan(small_parts_hub):
    hub = small_parts_hub
    user = create_user(hub, "alice")
    with hub.db.read() as session:
        principal = authenticate(session, user.token)
    repo = reserve_repo(hub, principal, "model", None, "model")

    def plan(data):
        wanted = WantedObject(hashlib.sha256(data).hexdigest(), len(data))
        return plan_uploads(hub, principal, repo, [wanted], can_multipart=True)

    return plan


@pytest.fixture
def leave(small_parts_hub, plan, data):
    hub = small_parts_hub
    batch = plan(data)
    (answer,) = batch.answers
    assert (batch.multipart, answer.parts) == (True, 3)
    return capability.read(hub, answer.link, "PARTS")


def send(hub, leave, data):
    etags = []
    for number in (1, 2, 3):
        part = data[(number - 1) * PART_NBYTES : number * PART_NBYTES]
        etags.append(CompletedPart(number, store_part(hub, leave, number, [part])))
    return etags


def states(hub):
    with hub.db.read() as session:
        query = select(StoredObject.state).where(StoredObject.purpose == "part")
        return list(session.scalars(query))


def test_the_size_decides_on_parts(small_parts_hub, plan):
    hub = small_parts_hub
    few = {"lfs_multipart_nbytes": 1_000, "lfs_part_nbytes": 400}
    limits = hub.settings.limits.model_copy(update=few)
    hub.settings = hub.settings.model_copy(update={"limits": limits})
    small, large = plan(bytes(1_000)), plan(bytes(1_001))
    assert not small.multipart
    assert large.multipart
    assert [each.parts for each in large.answers] == [3]


def test_parts_are_retired_once_the_file_is_stored(small_parts_hub, leave, data):
    complete_upload(small_parts_hub, leave, send(small_parts_hub, leave, data))
    assert states(small_parts_hub) == ["retired"] * 3


def test_replaced_part_is_retired(small_parts_hub, leave, data):
    send(small_parts_hub, leave, bytes(len(data)))
    complete_upload(small_parts_hub, leave, send(small_parts_hub, leave, data))
    assert states(small_parts_hub) == ["retired"] * 6


def test_abandoned_upload_expires_with_its_parts(small_parts_hub, leave, data):
    hub = small_parts_hub
    etags = send(hub, leave, data)
    hub.clock.advance(hub.settings.timers.lease_s)
    with pytest.raises(ContentNotFound):
        store_part(hub, leave, 1, [data[:PART_NBYTES]])
    with pytest.raises(ContentNotFound):
        complete_upload(hub, leave, etags)
    collect(hub)
    with hub.db.read() as session:
        assert session.scalars(select(LfsUpload.id)).all() == []
        assert session.scalars(select(LfsPart.number)).all() == []
    assert set(states(hub)) <= {"retired"}


def test_part_that_breaks_off_leaves_no_row(small_parts_hub, leave, data):
    def breaking():
        yield data[:1000]
        raise IntegrityError("gone")

    with pytest.raises(IntegrityError, match="gone"):
        store_part(small_parts_hub, leave, 1, breaking())
    with small_parts_hub.db.read() as session:
        assert session.scalars(select(LfsPart.number)).all() == []
    assert states(small_parts_hub) == ["retired"]
