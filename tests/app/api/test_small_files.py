"""Results are kept while they are asked for, and no more of them than the bound says."""

import pytest

from app.api import small_files
from app.api.small_files import ENTRY_NBYTES, SmallFiles
from app.hub import Hub

NBYTES = 1_000


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ids of the files that were read, each of ``NBYTES``; at most three results are kept."""
    read: list[int] = []

    def read_file(_hub: Hub, file_id: int, nbytes: int) -> bytes:
        read.append(file_id)
        return bytes(nbytes)

    monkeypatch.setattr(small_files, "read_file", read_file)
    monkeypatch.setattr(small_files, "KEPT_NBYTES", 3 * (NBYTES + ENTRY_NBYTES))
    return read


def test_what_was_not_asked_for_longest_makes_room(hub: Hub, reads: list[int]):
    files = SmallFiles(hub)
    for file_id in (1, 2, 3, 1, 4, 1, 2):
        assert files.parse(file_id, NBYTES, len) == NBYTES
        assert files.kept_nbytes <= small_files.KEPT_NBYTES
    assert reads == [1, 2, 3, 4, 2]


def test_files_that_are_not_read_are_counted_too(hub: Hub, reads: list[int]):
    files = SmallFiles(hub)
    for file_id in range(100):
        assert files.parse(file_id, small_files.MAX_NBYTES + 1, len) == 0
        assert files.kept_nbytes <= small_files.KEPT_NBYTES
    assert reads == []
