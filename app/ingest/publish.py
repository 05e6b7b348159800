"""One transaction makes received files visible: files, contents, segments, grants and leases.

Either everything is there afterwards or nothing (reliability: upload protocol, step U4). Rows are
locked by the inserts themselves, which also resurrect what was condemned; what was linked is looked
at in the statement after the lock. Two uploads of the same bytes meet at the unique digests: the
second waits, then finds and links what the first has stored.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from app.accounts.domains import domain_of
from app.accounts.quotas import check_room
from app.catalog.possession import grant_files
from app.contents import objects
from app.contents.locking import lock_contents
from app.contents.objects import PendingObject
from app.db.inserting import batches, upsert
from app.db.tables import Content, Encoding, File, Lease, Repo, Segment
from app.errors import RepoNotFound
from app.hub import Hub
from app.ingest.files import IngestedFile, ReceivedFile
from app.ingest.link import ContentLinker


def publish_files(
    hub: Hub,
    files: Sequence[ReceivedFile],
    pending: PendingObject,
    object_nbytes: int,
    *,
    repo_id: int,
    proposer: int | None = None,
) -> list[IngestedFile]:
    """Make ``files``, whose bytes lie in ``pending``, visible; in the order of their SHA-256.

    The object is published only if a content needs it, and abandoned otherwise. A file or content
    that was damaged is stored by the new bytes from now on. ``proposer``: the account that sent
    them, if it may only propose to the repo. Raises RepoNotFound, QuotaExceeded and
    :class:`~app.contents.objects.ObjectLost`.
    """
    ordered = sorted(files, key=lambda file: file.sha256)

    def work(session: Session) -> tuple[list[IngestedFile], bool]:
        now = hub.clock.now()
        repo = _lock_repo(session, repo_id)
        domain = domain_of(session, hub, repo)
        ids = _link_files(session, ordered, domain, now)
        readable = _readable(session, ids.values())
        incomplete = {ids[f.sha256]: f for f in ordered if ids[f.sha256] not in readable}
        _reset(session, incomplete)
        linker = ContentLinker(hub, session, pending, object_nbytes, domain)
        content_ids = linker.link(incomplete.values())
        _write_segments(session, incomplete, content_ids)
        linker.mark_healed_files()
        grant_files(session, hub, repo_id, ids.values(), proposer=proposer)
        check_room(session, hub, repo, proposer=proposer)
        _lease(session, ids.values(), now + timedelta(seconds=hub.settings.timers.lease_s))
        ingested = [IngestedFile(ids[f.sha256], f.sha256, f.nbytes) for f in ordered]
        return ingested, linker.used_object

    ingested, used_object = hub.db.run(work)
    if not used_object:
        objects.abandon(hub, pending)
    return ingested


def _lock_repo(session: Session, repo_id: int) -> Repo:
    found = session.scalar(
        select(Repo).where(Repo.id == repo_id).with_for_update(read=True, key_share=True)
    )
    if found is None:
        raise RepoNotFound("the repository was deleted during the upload")
    return found


def _link_files(
    session: Session, files: Sequence[ReceivedFile], domain: int, now: datetime
) -> dict[bytes, int]:
    """Row ids of the files by SHA-256, inserted or resurrected, locked."""
    ids: dict[bytes, int] = {}
    for batch in batches(files):
        statement = upsert(session, File)
        statement = statement.on_conflict_do_update(
            index_elements=[File.domain, File.sha256], set_={"state": "live", "condemned_at": None}
        ).returning(File.sha256, File.id)
        rows = [
            {
                "domain": domain,
                "sha256": file.sha256,
                "size": file.nbytes,
                "git_oid": file.git_oid,
                "format": file.dissection.format,
                "warning": file.dissection.warning,
                "state": "live",
                "health": "ok",
                "created_at": now,
            }
            for file in batch
        ]
        ids.update((sha256, id_) for sha256, id_ in session.execute(statement, rows))
    return ids


def _readable(session: Session, file_ids: Iterable[int]) -> set[int]:
    """Those files that have all their contents, sound; these are kept from now on."""
    readable: set[int] = set()
    for batch in batches(sorted(file_ids)):
        of_files = select(Segment.content_id).where(Segment.file_id.in_(batch))
        condemned = select(Content.id).where(Content.id.in_(of_files), Content.state == "condemned")
        lock_contents(session, session.scalars(condemned).all())
        session.execute(
            update(Content)
            .where(Content.id.in_(of_files), Content.state == "condemned")
            .values(state="live", condemned_at=None)
            .execution_options(synchronize_session=False)
        )
        unsound = (
            select(Segment.start)
            .join(Content, Content.id == Segment.content_id)
            .outerjoin(Encoding, Encoding.content_id == Content.id)
            .where(Segment.file_id == File.id)
            .where(or_(Content.health != "ok", Encoding.id.is_(None)))
        )
        has_segments = select(Segment.start).where(Segment.file_id == File.id)
        readable.update(
            session.scalars(
                select(File.id)
                .where(File.id.in_(batch), File.health == "ok")
                .where(or_(File.size == 0, has_segments.exists()))
                .where(~unsound.exists())
            )
        )
    return readable


def _reset(session: Session, files: Mapping[int, ReceivedFile]) -> None:
    """Forget how files were cut: the caller is about to store them anew."""
    for batch in batches(sorted(files)):
        session.execute(delete(Segment).where(Segment.file_id.in_(batch)))
        session.execute(
            update(File),
            [
                {
                    "id": file_id,
                    "health": "ok",
                    "format": files[file_id].dissection.format,
                    "warning": files[file_id].dissection.warning,
                }
                for file_id in batch
            ],
        )


def _write_segments(
    session: Session, files: Mapping[int, ReceivedFile], content_ids: Mapping[bytes, int]
) -> None:
    rows = [
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
        for file_id, file in files.items()
        for part in file.dissection.segments
    ]
    for batch in batches(rows):
        session.execute(insert(Segment), batch)


def _lease(session: Session, file_ids: Iterable[int], expires_at: datetime) -> None:
    owner = f"upload:{uuid.uuid4()}"
    for batch in batches(sorted(file_ids)):
        rows = [{"file_id": id_, "owner": owner, "expires_at": expires_at} for id_ in batch]
        session.execute(insert(Lease), rows)
