"""Parts of a file on its way here: never two of the same bytes, and rot is told from a lie."""

import pytest
from sqlalchemy.orm import Session

from app.contents.checked import OPINIONS
from app.db.tables import AwaitedFile
from app.errors import ContentNotFound, Damaged
from app.hub import Hub
from app.mirror.parts import PartTaken, drop_rotten, find_part, load_parts, store_part
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.models import ModelHub

OID = "0" * 40


@pytest.fixture
def repo_id(any_hub: Hub) -> int:
    """A repo that awaits a file of 100 bytes."""
    repo = ModelHub(any_hub).repo("alice/mirrored")

    def await_file(session: Session) -> None:
        facts = {"repo_id": repo.id, "oid": OID, "sha256": bytes(32), "nbytes": 100}
        session.add(AwaitedFile(**facts, touched_at=any_hub.clock.now()))

    any_hub.db.run(await_file)
    return repo.id


def spans(hub: Hub, repo_id: int) -> list[tuple[int, int]]:
    with hub.db.read() as session:
        return [(part.start, part.stop) for part in load_parts(session, repo_id, OID)]


def test_parts_never_overlap(any_hub: Hub, repo_id: int):
    for start, data in ((0, b"a" * 10), (40, b"b" * 10), (10, b"c" * 5)):
        assert store_part(any_hub, repo_id, OID, start, [data[:3], data[3:]]) is not None
    for start, nbytes in ((0, 1), (9, 2), (35, 6), (15, 100), (45, 1), (49, 1)):
        with pytest.raises(PartTaken):
            store_part(any_hub, repo_id, OID, start, [bytes(nbytes)])

    assert spans(any_hub, repo_id) == [(0, 10), (10, 15), (40, 50)]
    with any_hub.db.read() as session:
        found = [find_part(session, repo_id, OID, at) for at in (9, 14, 15, 39, 40, 50)]
    assert [part and part.start for part in found] == [0, 10, None, None, 40, None]


def test_nothing_is_no_part_and_no_object(any_hub: Hub, repo_id: int):
    assert store_part(any_hub, repo_id, OID, 0, []) is None
    with pytest.raises(ContentNotFound):
        store_part(any_hub, repo_id, "1" * 40, 0, [b"x"])

    assert spans(any_hub, repo_id) == []


def test_parts_that_rot_or_are_lost_are_forgotten_alone(any_hub: Hub, repo_id: int):
    first, _second, third = (
        store_part(any_hub, repo_id, OID, start, [bytes([start]) * 10]) for start in (0, 10, 20)
    )
    assert first is not None
    assert third is not None
    assert drop_rotten(any_hub, repo_id, OID) == 0
    for part, data in ((first, [b"x" * 10]), (third, None)):
        any_hub.store.delete(part.stored.key)
        if data is not None:
            any_hub.store.put(part.stored.key, data)

    assert drop_rotten(any_hub, repo_id, OID) == 2
    assert spans(any_hub, repo_id) == [(10, 20)]


def test_bytes_of_a_part_are_read_again_before_it_is_called_rotten(any_hub: Hub, repo_id: int):
    part = store_part(any_hub, repo_id, OID, 20, [bytes(range(50))])
    assert part is not None
    sound, any_hub.store = any_hub.store, FaultyStore(any_hub.store)
    any_hub.store.fail("read", *[Fault.WRONG_BYTES] * (OPINIONS - 1))
    assert part.read(any_hub, 25, 30) == bytes(range(5, 10))
    any_hub.store.fail("read", *[Fault.WRONG_BYTES] * OPINIONS)
    with pytest.raises(Damaged):
        part.read(any_hub, 25, 30)
    any_hub.store = sound
