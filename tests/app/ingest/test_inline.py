"""The small files of one commit: one object, one transaction, true blob ids."""

import hashlib
import random

import pytest

from app.contents.readback import OPINIONS
from app.db.tables import Content, File, FileGrant, StoredObject
from app.errors import RepoNotFound, Unavailable
from app.hub import Hub
from app.ingest.inline import ingest_inline
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.files import safetensors_of
from tests.fixtures.ingested import (
    assert_file_whole,
    assert_nothing_visible,
    count,
    make_repo,
    rows,
)

RNG = random.Random(2)
BLOBS = [
    b"# README\n",
    b'{"model_type": "llama"}',
    b"",
    RNG.randbytes(700_000),
    safetensors_of({"a": ("F32", [100, 100], RNG.randbytes(40_000))}),
    b"# README\n",
]


def test_all_files_lie_in_one_object(any_hub: Hub):
    repo_id = make_repo(any_hub)
    files = ingest_inline(any_hub, BLOBS, repo_id=repo_id)
    assert [file.sha256 for file in files] == [hashlib.sha256(blob).digest() for blob in BLOBS]
    assert files[0] == files[-1]
    for file, blob in zip(files, BLOBS, strict=True):
        assert_file_whole(any_hub, file.file_id, blob)
    (stored,) = rows(any_hub, StoredObject)
    assert (stored.purpose, stored.state) == ("pack", "live")
    assert stored.nbytes == sum(map(len, BLOBS[:-1]))
    assert count(any_hub, File) == count(any_hub, FileGrant) == len(BLOBS) - 1


def test_format_and_git_blob_id_are_known(hub: Hub, repo_id: int):
    ingest_inline(hub, [BLOBS[4], b"hello\n"], repo_id=repo_id)
    assert {row.format for row in rows(hub, File)} == {"safetensors", "opaque"}
    assert "ce013625030ba8dba906f756967f9e9ca394464a" in {row.git_oid for row in rows(hub, File)}


def test_files_that_exist_are_linked(hub: Hub, repo_id: int):
    first = ingest_inline(hub, BLOBS[:2], repo_id=repo_id)
    second = ingest_inline(hub, [b"new", *BLOBS[:2]], repo_id=repo_id)
    assert second[1:] == first
    third = ingest_inline(hub, BLOBS[:2], repo_id=repo_id)
    assert third == first
    assert count(hub, Content) == 3
    assert [row.state for row in rows(hub, StoredObject)] == ["live", "live", "retired"]


def test_no_files_are_no_work(hub: Hub, repo_id: int):
    assert ingest_inline(hub, [], repo_id=repo_id) == []
    assert count(hub, StoredObject) == 0


def test_failure_leaves_nothing_of_any_file(hub: Hub, repo_id: int):
    with pytest.raises(RepoNotFound):
        ingest_inline(hub, BLOBS, repo_id=repo_id + 1)
    assert_nothing_visible(hub)
    sound, hub.store = hub.store, FaultyStore(hub.store)
    hub.store.fail("read", *[Fault.WRONG_BYTES] * OPINIONS)
    with pytest.raises(Unavailable):
        ingest_inline(hub, BLOBS, repo_id=repo_id)
    assert_nothing_visible(hub)
    hub.store = sound
    for file, blob in zip(ingest_inline(hub, BLOBS, repo_id=repo_id), BLOBS, strict=True):
        assert_file_whole(hub, file.file_id, blob)
