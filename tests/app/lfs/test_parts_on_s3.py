"""Parts on a real S3 server: what wire and store do to them is never told as the sender's doing."""

import hashlib
import random
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.accounts.tokens import authenticate
from app.accounts.users import create_user
from app.catalog.repos import reserve_repo
from app.contents.checked import OPINIONS
from app.db.tables import File, LfsPart, StoredObject
from app.errors import IntegrityError, InvalidRequest
from app.hub import Hub
from app.lfs import capability
from app.lfs.batch import WantedObject, plan_uploads
from app.lfs.capability import Capability
from app.lfs.multipart import CompletedPart, complete_upload, store_part
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.settings import Settings
from tests.fixtures.hub import open_test_hub
from tests.fixtures.s3_proxy import Rule, S3Proxy, wrong_byte
from tests.fixtures.services import S3Server

PART_NBYTES = 1_500_000
DATA = random.Random(1).randbytes(2 * PART_NBYTES + 1000)
PARTS = [DATA[at : at + PART_NBYTES] for at in range(0, len(DATA), PART_NBYTES)]


@pytest.fixture
def hub(
    embedded_settings: Settings, s3_proxy: S3Proxy, s3_server: S3Server, s3_url: str
) -> Iterator[Hub]:
    """A hub whose store is a real server behind a proxy."""
    limits = embedded_settings.limits.model_copy(
        update={"lfs_multipart_nbytes": 0, "lfs_part_nbytes": PART_NBYTES}
    )
    changes = {
        "limits": limits,
        "store_url": s3_url.replace(s3_server.endpoint, s3_proxy.endpoint),
        "s3_access_key": SecretStr(s3_server.access_key),
        "s3_secret_key": SecretStr(s3_server.secret_key),
    }
    hub = open_test_hub(embedded_settings.model_copy(update=changes))
    yield hub
    hub.close()


@pytest.fixture
def leave(hub: Hub) -> Capability:
    """To send DATA in three parts."""
    user = create_user(hub, "alice")
    with hub.db.read() as session:
        principal = authenticate(session, user.token)
    repo = reserve_repo(hub, principal, "model", None, "model")
    wanted = WantedObject(hashlib.sha256(DATA).hexdigest(), len(DATA))
    (answer,) = plan_uploads(hub, principal, repo, [wanted], can_multipart=True).answers
    return capability.read(hub, answer.link, "PARTS")


def send(hub: Hub, leave: Capability, parts: list[bytes]) -> list[CompletedPart]:
    return [
        CompletedPart(number, store_part(hub, leave, number, [part]))
        for number, part in enumerate(parts, start=1)
    ]


def stored(hub: Hub) -> list[bytes]:
    with hub.db.read() as session:
        ids = session.scalars(select(File.id)).all()
    plans = [load_plan(hub, each) for each in ids]
    return [b"".join(FileReader(hub, plan).stream(0, plan.nbytes)) for plan in plans]


def test_wrong_byte_on_the_wire_is_read_again(hub: Hub, leave: Capability, s3_proxy: S3Proxy):
    claimed = send(hub, leave, PARTS)
    s3_proxy.rules += [Rule("GET", "/o/", wrong_byte) for _ in range(OPINIONS - 1)]

    complete_upload(hub, leave, claimed)

    assert s3_proxy.rules == []
    assert stored(hub) == [DATA]


@pytest.mark.parametrize("is_lost", [False, True])
def test_part_damaged_in_the_store_is_named_and_can_be_sent_again(
    hub: Hub, leave: Capability, *, is_lost: bool
):
    claimed = send(hub, leave, PARTS)
    with hub.db.read() as session:
        key = session.scalars(
            select(StoredObject.key)
            .join(LfsPart, LfsPart.object_id == StoredObject.id)
            .where(LfsPart.number == 2)
        ).one()
    hub.store.delete(key)
    if not is_lost:
        hub.store.put(key, [PARTS[1][:-1] + bytes([PARTS[1][-1] ^ 1])])

    with pytest.raises(InvalidRequest, match="part 2 was damaged in the store; send it again"):
        complete_upload(hub, leave, claimed)
    assert stored(hub) == []

    store_part(hub, leave, 2, [PARTS[1]])
    complete_upload(hub, leave, claimed)
    assert stored(hub) == [DATA]


def test_other_bytes_than_announced_are_the_senders(hub: Hub, leave: Capability):
    claimed = send(hub, leave, [PARTS[0], bytes(PART_NBYTES), PARTS[2]])
    with pytest.raises(IntegrityError, match="announced was"):
        complete_upload(hub, leave, claimed)
    assert stored(hub) == []
