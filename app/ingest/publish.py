"""One transaction makes received files visible: files, contents, segments, grants and leases.

Either everything is there afterwards or nothing (reliability: upload protocol, step U4). Rows are
locked by the inserts themselves, which also resurrect what was condemned; what was linked is looked
at in the statement after the lock. Two uploads of the same bytes meet at the unique digests: the
second waits, then finds and links what the first has stored.
"""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.objects import PendingObject
from app.db.tables import Content, Encoding, File, FileGrant, Lease, Repo, Segment
from app.errors import RepoNotFound
from app.hub import Hub
from app.ingest.files import IngestedFile, ReceivedFile
from app.ingest.link import ContentLinker
from app.ingest.upsert import upsert

BATCH = 1_000
"""Rows in one statement."""


def publish_files(
    hub: Hub,
    files: Sequence[ReceivedFile],
    pending: PendingObject,
    object_nbytes: int,
    *,
    repo_id: int,
) -> list[IngestedFile]:
    """Make ``files``, whose bytes lie in ``pending``, visible; in the order of their SHA-256.

    The object is published only if a content needs it, and abandoned otherwise. A file or content
    that was damaged is stored by the new bytes from now on. Raises RepoNotFound and
    :class:`~app.contents.objects.ObjectLost`.
    """
    ordered = sorted(files, key=lambda file: file.sha256)

    def work(session: Session) -> tuple[list[IngestedFile], bool]:
        now = hub.clock.now()
        _lock_repo(session, repo_id)
        file_ids = [_link_file(session, file, now) for file in ordered]
        incomplete = [
            (file_id, file)
            for file_id, file in zip(file_ids, ordered, strict=True)
            if not _is_readable(session, file_id, file)
        ]
        linker = ContentLinker(hub, session, pending, object_nbytes)
        content_ids = linker.link([file for _, file in incomplete])
        for file_id, file in incomplete:
            _write_segments(session, file_id, file, content_ids)
        linker.mark_healed_files()
        _grant(session, repo_id, file_ids, now)
        _lease(session, file_ids, now + timedelta(seconds=hub.settings.timers.lease_s))
        ingested = [
            IngestedFile(file_id, file.sha256, file.nbytes)
            for file_id, file in zip(file_ids, ordered, strict=True)
        ]
        return ingested, linker.used_object

    ingested, used_object = hub.db.run(work)
    if not used_object:
        objects.abandon(hub, pending)
    return ingested


def _lock_repo(session: Session, repo_id: int) -> None:
    found = session.scalar(
        select(Repo.id).where(Repo.id == repo_id).with_for_update(read=True, key_share=True)
    )
    if found is None:
        raise RepoNotFound("the repository was deleted during the upload")


def _link_file(session: Session, file: ReceivedFile, now: datetime) -> int:
    """Row id of the file, inserted or resurrected, locked."""
    statement = upsert(session, File).values(
        sha256=file.sha256,
        size=file.nbytes,
        git_oid=file.git_oid,
        format=file.dissection.format,
        warning=file.dissection.warning,
        state="live",
        health="ok",
        created_at=now,
    )
    statement = statement.on_conflict_do_update(
        index_elements=[File.sha256], set_={"state": "live", "condemned_at": None}
    ).returning(File.id)
    return session.execute(statement).scalar_one()


def _is_readable(session: Session, file_id: int, file: ReceivedFile) -> bool:
    """Whether the file has all its contents, sound; they are kept from now on if so.

    Otherwise its health is reset, as the caller is about to store it anew.
    """
    of_file = select(Segment.content_id).where(Segment.file_id == file_id)
    session.execute(
        update(Content)
        .where(Content.id.in_(of_file), Content.state == "condemned")
        .values(state="live", condemned_at=None)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(
        select(File.health, select(Segment.start).where(Segment.file_id == file_id).exists()).where(
            File.id == file_id
        )
    ).one()
    unsound = session.scalar(
        select(Segment.start)
        .join(Content, Content.id == Segment.content_id)
        .outerjoin(Encoding, Encoding.content_id == Content.id)
        .where(Segment.file_id == file_id)
        .where(or_(Content.health != "ok", Encoding.id.is_(None)))
        .limit(1)
    )
    health, has_segments = row
    if health == "ok" and unsound is None and (has_segments or file.nbytes == 0):
        return True
    session.execute(delete(Segment).where(Segment.file_id == file_id))
    session.execute(
        update(File)
        .where(File.id == file_id)
        .values(
            health="ok",
            format=file.dissection.format,
            warning=file.dissection.warning,
        )
    )
    return False


def _write_segments(
    session: Session, file_id: int, file: ReceivedFile, content_ids: dict[bytes, int]
) -> None:
    parts = file.dissection.segments
    for start in range(0, len(parts), BATCH):
        session.execute(
            insert(Segment),
            [
                {
                    "file_id": file_id,
                    "start": part.segment.start,
                    "nbytes": part.segment.nbytes,
                    "content_id": content_ids[part.digest],
                    "role": part.segment.role,
                    "name": part.segment.name,
                    "dtype": part.segment.dtype,
                    "shape": None
                    if part.segment.shape is None
                    else json.dumps(part.segment.shape, separators=(",", ":")),
                }
                for part in parts[start : start + BATCH]
            ],
        )


def _grant(session: Session, repo_id: int, file_ids: list[int], now: datetime) -> None:
    for file_id in file_ids:
        session.execute(
            upsert(session, FileGrant)
            .values(repo_id=repo_id, file_id=file_id, created_at=now)
            .on_conflict_do_nothing()
        )


def _lease(session: Session, file_ids: list[int], expires_at: datetime) -> None:
    owner = f"upload:{uuid.uuid4()}"
    session.add_all(
        Lease(file_id=file_id, owner=owner, expires_at=expires_at) for file_id in file_ids
    )
