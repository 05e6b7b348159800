"""Ingest the small files of one commit together, as one object and one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.contents import objects
from app.contents.readback import read_back
from app.hub import Hub
from app.ingest.dissect import Dissector
from app.ingest.files import IngestedFile, ReceivedFile
from app.ingest.publish import publish_files
from app.ingest.receive import FileDigests
from app.ingest.stream import give_up, placements
from app.settings import Limits


def ingest_inline(
    hub: Hub, blobs: Sequence[bytes], *, repo_id: int, proposer: int | None = None
) -> list[IngestedFile]:
    """Store every blob as a file; the answers are in the order of ``blobs``.

    All or nothing, durable, read back and visible when this returns. Raises as
    :func:`~app.ingest.stream.ingest_stream` does.
    """
    if not blobs:
        return []
    packed = _pack(blobs, hub.settings.limits)
    pending = objects.begin(hub, "pack")
    try:
        nbytes = hub.store.put(pending.key, packed.chunks)
        read_back(hub, pending.key, (each for file in packed.files for each in placements(file)))
        published = publish_files(
            hub, packed.files, pending, nbytes, repo_id=repo_id, proposer=proposer
        )
    except BaseException:
        give_up(hub, pending)
        raise
    by_sha256 = {file.sha256: file for file in published}
    return [by_sha256[sha256] for sha256 in packed.order]


@dataclass(frozen=True, slots=True)
class _Packed:
    """Distinct files, their bytes one after the other, and the SHA-256 of every blob in order."""

    files: list[ReceivedFile]
    chunks: list[bytes]
    order: list[bytes]


def _pack(blobs: Sequence[bytes], limits: Limits) -> _Packed:
    files: dict[bytes, ReceivedFile] = {}
    chunks: list[bytes] = []
    order: list[bytes] = []
    start = 0
    for blob in blobs:
        file = _receive(blob, start, limits)
        order.append(file.sha256)
        if file.sha256 not in files:
            files[file.sha256] = file
            chunks.append(blob)
            start += file.nbytes
    return _Packed(list(files.values()), chunks, order)


def _receive(blob: bytes, object_start: int, limits: Limits) -> ReceivedFile:
    view = memoryview(blob)
    digests = FileDigests(len(blob), limits)
    dissector = Dissector(len(blob), limits)
    digests.feed(view)
    if len(blob):
        dissector.feed(view)
    return ReceivedFile(
        sha256=digests.sha256,
        nbytes=len(blob),
        git_oid=digests.git_oid,
        dissection=dissector.finish(),
        object_start=object_start,
    )
