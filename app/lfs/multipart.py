"""Uploads in parts: each part a stored object, joined through the ingest when all are there.

Parts may come in any order, again, and in parallel; the last one under a number counts. Completing
takes them over and retires them; an upload that is never completed expires.
"""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import ceil

from blake3 import blake3
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.ahead import in_order
from app.contents.checked import CheckedRange, read_checked
from app.db.tables import LfsPart, LfsUpload, StoredObject
from app.digest import PieceHasher
from app.errors import ContentNotFound, Damaged, IntegrityError, InvalidRequest
from app.hub import Hub
from app.ingest.stream import ingest_stream
from app.lfs.capability import Capability
from app.lfs.objects import check_sender, is_granted
from app.store.contract import ObjectMissing

READ_NBYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """A part as the client believes it was stored."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart(CheckedRange):
    """Where a part lies."""

    number: int
    etag: str


def store_part(hub: Hub, leave: Capability, number: int, buffers: Iterable[bytes]) -> str:
    """Store part ``number`` (from 1) and return its ETag.

    Raises ContentNotFound for an upload that is over, InvalidRequest for a number it does not have,
    IntegrityError for a part of another size than it must have.
    """
    with hub.db.read() as session:
        check_sender(session, hub, leave)
        upload = _find_upload(session, hub, leave.upload_id)
        parts = ceil(upload.size / upload.part_nbytes)
        if not 1 <= number <= parts:
            raise InvalidRequest(f"part {number} of an upload in {parts} parts")
        nbytes = min(upload.part_nbytes, upload.size - (number - 1) * upload.part_nbytes)
    pending = objects.begin(hub, "part")
    whole, pieces = blake3(), PieceHasher()
    try:
        hub.store.put(pending.key, _exactly(buffers, nbytes, whole, pieces))
        etag = whole.hexdigest(length=16)
        arrived = StoredPart(
            key=pending.key,
            start=0,
            stored_nbytes=nbytes,
            checks=pieces.digest(),
            number=number,
            etag=etag,
        )
        hub.db.run(lambda session: _enter_part(session, hub, leave.upload_id, pending, arrived))
    except BaseException:
        objects.abandon(hub, pending)
        raise
    return etag


def complete_upload(hub: Hub, leave: Capability, claimed: Sequence[CompletedPart]) -> None:
    """Join the parts into the announced file and retire them. Done already: no error.

    Raises ContentNotFound for an upload that is over without a file, InvalidRequest where parts are
    missing, other than claimed or damaged since, IntegrityError where the file is not the announced
    one.
    """
    with hub.db.read() as session:
        check_sender(session, hub, leave)
        if session.get(LfsUpload, leave.upload_id) is None and is_granted(session, leave):
            return
        upload = _find_upload(session, hub, leave.upload_id)
        parts = _stored_parts(session, upload)
    _check_claims(parts, claimed)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="lfs-parts") as executor,
        closing(in_order(executor, _reads(hub, parts), ahead=1)) as buffers,
    ):
        ingest_stream(
            hub,
            buffers,
            nbytes=upload.size,
            sha256=upload.sha256,
            repo_id=upload.repo_id,
            proposer=leave.proposer,
        )
    hub.db.run(lambda session: _retire(session, hub, leave.upload_id))


def _find_upload(session: Session, hub: Hub, upload_id: str, *, lock: bool = False) -> LfsUpload:
    upload = session.get(LfsUpload, upload_id, with_for_update=lock)
    if upload is None or upload.expires_at <= hub.clock.now():
        raise ContentNotFound("this upload is over; ask the batch endpoint for another one")
    return upload


def _stored_parts(session: Session, upload: LfsUpload) -> list[StoredPart]:
    """All parts in order. Raises InvalidRequest if one is missing."""
    rows = session.execute(
        select(LfsPart.number, LfsPart.etag, LfsPart.checks, LfsPart.nbytes, StoredObject.key)
        .join(StoredObject, StoredObject.id == LfsPart.object_id)
        .where(LfsPart.upload_id == upload.id)
        .order_by(LfsPart.number)
    )
    parts = [
        StoredPart(
            key=row.key,
            start=0,
            stored_nbytes=row.nbytes,
            checks=row.checks,
            number=row.number,
            etag=row.etag,
        )
        for row in rows
    ]
    count = ceil(upload.size / upload.part_nbytes)
    if len(parts) != count:
        raise InvalidRequest(f"{len(parts)} of {count} parts have arrived; send the others first")
    return parts


def _check_claims(parts: list[StoredPart], claimed: Sequence[CompletedPart]) -> None:
    etags = {part.number: part.etag.strip('"') for part in claimed}
    for part in parts:
        if not hmac.compare_digest(etags.get(part.number, "").encode(), part.etag.encode()):
            raise InvalidRequest(
                f"part {part.number} is not the one that was stored; send it again"
            )


def _reads(hub: Hub, parts: list[StoredPart]) -> Iterator[partial[memoryview]]:
    for part in parts:
        for start in range(0, part.stored_nbytes, READ_NBYTES):
            stop = min(start + READ_NBYTES, part.stored_nbytes)
            yield partial(_read, hub, part, start, stop)


def _read(hub: Hub, part: StoredPart, start: int, stop: int) -> memoryview:
    try:
        return read_checked(hub, part, start, stop)
    except (Damaged, ObjectMissing) as error:
        raise InvalidRequest(
            f"part {part.number} was damaged in the store; send it again"
        ) from error


def _exactly(
    buffers: Iterable[bytes], nbytes: int, whole: blake3, pieces: PieceHasher
) -> Iterator[bytes]:
    room = nbytes
    for buffer in buffers:
        room -= len(buffer)
        if room < 0:
            raise IntegrityError(f"a part of {nbytes} bytes was announced, more arrived")
        whole.update(buffer)
        pieces.update(buffer)
        yield buffer
    if room:
        raise IntegrityError(f"a part of {nbytes} bytes was announced, {nbytes - room} arrived")


def _enter_part(
    session: Session, hub: Hub, upload_id: str, pending: objects.PendingObject, arrived: StoredPart
) -> None:
    _find_upload(session, hub, upload_id, lock=True)
    objects.publish(session, pending, arrived.stored_nbytes)
    part = session.get(LfsPart, (upload_id, arrived.number))
    if part is None:
        part = LfsPart(upload_id=upload_id, number=arrived.number)
        session.add(part)
    replaced = part.object_id
    part.object_id, part.nbytes = pending.id, arrived.stored_nbytes
    part.etag, part.checks = arrived.etag, arrived.checks
    session.flush()
    objects.retire_unreferenced(session, hub, [replaced] if replaced is not None else [])


def _retire(session: Session, hub: Hub, upload_id: str) -> None:
    upload = session.get(LfsUpload, upload_id, with_for_update=True)
    if upload is None:
        return
    held = session.scalars(select(LfsPart.object_id).where(LfsPart.upload_id == upload_id)).all()
    session.execute(delete(LfsUpload).where(LfsUpload.id == upload_id))
    objects.retire_unreferenced(session, hub, held)
