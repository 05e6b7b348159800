"""Reading back finds every byte that is not what it should be."""

import itertools
import random

import pytest

from app.contents.readback import RANGE_NBYTES, Placement, read_back
from app.digest import piece_checks
from app.errors import Unavailable
from app.hub import Hub
from app.store.contract import ObjectMissing
from tests.fixtures.faulty import Fault, FaultyStore

DATA = random.Random(8).randbytes(2 * RANGE_NBYTES + 12_345)
CUTS = [0, 5, 5 + (1 << 20), 3 << 20, RANGE_NBYTES - 1, RANGE_NBYTES + 7, len(DATA)]


def placements(data: bytes) -> list[Placement]:
    return [
        Placement(start, stop - start, piece_checks(data[start:stop]))
        for start, stop in itertools.pairwise(CUTS)
    ]


def test_sound_bytes_pass_in_requests_of_bounded_size(hub: Hub):
    hub.store.put("o/e/00/x", [DATA])
    hub.store = faulty = FaultyStore(hub.store)
    read_back(hub, "o/e/00/x", placements(DATA))
    assert len(faulty.calls) == 3
    read_back(hub, "o/e/00/x", [])


@pytest.mark.parametrize("at", [0, 4, 5, 1 << 20, RANGE_NBYTES, RANGE_NBYTES + 8, len(DATA) - 1])
def test_any_changed_byte_is_found(hub: Hub, at: int):
    changed = bytearray(DATA)
    changed[at] ^= 1
    hub.store.put("o/e/00/x", [bytes(changed)])
    with pytest.raises(Unavailable, match="send them again"):
        read_back(hub, "o/e/00/x", placements(DATA))


def test_missing_and_silent_stores_are_errors(hub: Hub):
    with pytest.raises(ObjectMissing):
        read_back(hub, "o/e/00/y", placements(DATA))
    hub.store.put("o/e/00/x", [DATA])
    hub.store = faulty = FaultyStore(hub.store)
    faulty.fail("read", Fault.NONE, Fault.NONE, Fault.BEFORE)
    with pytest.raises(Unavailable):
        read_back(hub, "o/e/00/x", placements(DATA))


def test_setting_turns_it_off(hub: Hub):
    hub.settings = hub.settings.model_copy(update={"verify_upload": "off"})
    read_back(hub, "o/e/00/nothing", placements(DATA))
