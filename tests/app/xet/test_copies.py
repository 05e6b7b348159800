"""What still lies in xorbs is a second copy: wire and store are asked again before it is not."""

import random
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from app.contents.checked import OPINIONS
from app.db.tables import Segment, StoredObject, Xorb
from app.errors import Damaged
from app.hub import Hub
from app.settings import Settings
from app.xet.copies import XorbCopy, load_xorb_copies
from tests.app.xet.test_register import Uploader
from tests.fixtures.hub import open_test_hub
from tests.fixtures.s3_proxy import Rule, S3Proxy, wrong_byte
from tests.fixtures.services import S3Server
from tests.fixtures.xorbs import build_xorb, file_block

CHUNK = 40_000
DATA = random.Random(7).randbytes(7 * CHUNK)
BESIDE = random.Random(8).randbytes(CHUNK)
"""In no file: what is held whole by files is not kept as a xorb."""


@pytest.fixture
def hub(
    embedded_settings: Settings, s3_proxy: S3Proxy, s3_server: S3Server, s3_url: str
) -> Iterator[Hub]:
    """A hub whose store is a real server behind a proxy."""
    changes = {
        "store_url": s3_url.replace(s3_server.endpoint, s3_proxy.endpoint),
        "s3_access_key": SecretStr(s3_server.access_key),
        "s3_secret_key": SecretStr(s3_server.secret_key),
    }
    hub = open_test_hub(embedded_settings.model_copy(update=changes))
    yield hub
    hub.close()


@pytest.fixture
def copy(hub: Hub) -> XorbCopy:
    """Of the only content of a file that came in a xorb."""
    alice = Uploader(hub, "alice")
    built = build_xorb(DATA + BESIDE, chunk_nbytes=CHUNK)
    alice.send(built)
    alice.register(file_block([(built, 0, len(built.chunks) - 1)]))
    with hub.db.read() as session:
        [content] = session.scalars(select(Segment.content_id))
        [copy] = load_xorb_copies(session, hub, content)
    return copy


def key_of_the_xorb(hub: Hub) -> str:
    with hub.db.read() as session:
        return session.scalars(
            select(StoredObject.key).join(Xorb, Xorb.object_id == StoredObject.id)
        ).one()


def test_any_range_comes_back(copy: XorbCopy):
    for start, stop in [(0, len(DATA)), (0, 1), (39_999, 40_001), (123_456, 234_567)]:
        assert bytes(copy.read(start, stop)) == DATA[start:stop]


def test_wrong_byte_on_the_wire_is_read_again(hub: Hub, copy: XorbCopy, s3_proxy: S3Proxy):
    s3_proxy.rules += [Rule("GET", key_of_the_xorb(hub), wrong_byte) for _ in range(OPINIONS - 1)]

    assert bytes(copy.read(50_000, 200_000)) == DATA[50_000:200_000]

    assert s3_proxy.rules == []


def test_what_no_reading_bears_out_is_damaged(hub: Hub, copy: XorbCopy, s3_proxy: S3Proxy):
    s3_proxy.rules += [Rule("GET", key_of_the_xorb(hub), wrong_byte) for _ in range(OPINIONS)]
    with pytest.raises(Damaged):
        copy.read(0, len(DATA))
    assert bytes(copy.read(0, len(DATA))) == DATA


def test_xorb_that_lost_its_end_is_damaged(hub: Hub, copy: XorbCopy):
    key = key_of_the_xorb(hub)
    hub.store.delete(key)
    hub.store.put(key, [DATA[:250_000]])
    assert bytes(copy.read(0, 200_000)) == DATA[:200_000]
    with pytest.raises(Damaged):
        copy.read(0, len(DATA))
    hub.store.delete(key)
    with pytest.raises(Damaged):
        copy.read(0, 1)
