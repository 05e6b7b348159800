"""Writing begins early and step by step, and a file is the same with or without it."""

import pytest

from app.store import writeback
from app.store.local import LocalStore
from app.store.writeback import STEP_NBYTES, Writeback


def test_each_step_is_begun_once_and_the_rest_is_left_to_fsync(monkeypatch):
    begun: list[tuple[int, int, int, int]] = []
    monkeypatch.setattr(writeback, "_sync_file_range", lambda *call: begun.append(call))
    following = Writeback(7)
    for nbytes in (STEP_NBYTES - 1, 1, STEP_NBYTES + 5, 10):
        following.wrote(nbytes)
    assert [(file, start, nbytes) for file, start, nbytes, _ in begun] == [
        (7, 0, STEP_NBYTES),
        (7, STEP_NBYTES, STEP_NBYTES + 5),
    ]


@pytest.mark.parametrize("hinted", [True, False])
def test_store_returns_what_it_was_given(tmp_path, monkeypatch, hinted):
    if not hinted:
        monkeypatch.setattr(writeback, "_sync_file_range", None)
    store = LocalStore(tmp_path)
    chunk = bytes(range(256)) * (STEP_NBYTES // 512)
    assert store.put("o/big", [chunk] * 5) == 5 * len(chunk)
    assert store.read("o/big", 0, 5 * len(chunk)) == chunk * 5
