"""The files that a commit names: here, whole, the caller's to use, and held still while it commits.

Rows are locked in one statement and looked at in the next, because on PostgreSQL a statement sees
the past of the lock it waited for; garbage collection does the same from its side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.accounts.permissions import possessed_file_clause, readable_file_clause
from app.accounts.tokens import Principal
from app.catalog.operations import AddFile, AddLfsFile, Operation
from app.contents.soundness import sound_file_clause
from app.db.tables import Encoding, File, FileGrant, Lease, Repo, Segment
from app.errors import MissingUploads

T = TypeVar("T")
V = TypeVar("V")

BATCH = 1_000
"""Values per IN list."""

SHOWN_OIDS = 20


@dataclass(frozen=True, slots=True)
class ClaimedFiles:
    """Files of one commit, locked FOR SHARE until its transaction ends."""

    by_id: Mapping[int, File]
    by_sha256: Mapping[bytes, File]


def claim_files(
    session: Session, principal: Principal, repo: Repo, operations: Iterable[Operation]
) -> ClaimedFiles:
    """Lock and check every file that ``operations`` add.

    Raises MissingUploads with the SHA-256 of each one that must be sent (again): unknown, not the
    caller's, condemned, damaged in any of its contents, or of another size than announced.
    """
    announced: dict[bytes, int | None] = {}
    inline_ids: set[int] = set()
    for operation in operations:
        if isinstance(operation, AddLfsFile):
            announced[operation.sha256] = operation.nbytes
        elif isinstance(operation, AddFile):
            inline_ids.add(operation.file_id)
    possessed = possessed_file_clause(session, principal, repo)
    ids = [
        *_batched(session, select(File.id).where(possessed), File.sha256, sorted(announced)),
        *_batched(session, select(File.id).where(possessed), File.id, sorted(inline_ids)),
    ]
    files = _lock_and_look(session, ids)
    claimed = ClaimedFiles(
        by_id={file.id: file for file in files}, by_sha256={file.sha256: file for file in files}
    )
    missing = [
        sha256.hex()
        for sha256, nbytes in announced.items()
        if sha256 not in claimed.by_sha256
        or (nbytes is not None and claimed.by_sha256[sha256].size != nbytes)
    ]
    if missing or inline_ids - claimed.by_id.keys():
        shown = ", ".join(missing[:SHOWN_OIDS]) or "files sent inside the commit"
        more = f" and {len(missing) - SHOWN_OIDS} more" if len(missing) > SHOWN_OIDS else ""
        raise MissingUploads(f"upload these files (again) and retry: {shown}{more}", oids=missing)
    return claimed


def claim_shown(
    session: Session, repo: Repo, sizes: Mapping[bytes, int], file_ids: Iterable[int]
) -> ClaimedFiles:
    """Lock what a mirror may use: files it was sent, and of those in ``sizes`` the ones here.

    ``sizes``: by SHA-256. Here means fetched for this repo, or to be read by everybody: the word of
    an upstream is no reason to show somebody's file.
    """
    granted = select(FileGrant.file_id).where(
        FileGrant.file_id == File.id, FileGrant.repo_id == repo.id
    )
    shown = or_(granted.exists(), readable_file_clause(None))
    here = _batched(session, select(File.id).where(shown), File.sha256, sorted(sizes))
    files = _lock_and_look(session, [*here, *file_ids])
    return ClaimedFiles(
        by_id={file.id: file for file in files},
        by_sha256={file.sha256: file for file in files if sizes.get(file.sha256) == file.size},
    )


def files_to_encode(session: Session, file_ids: Iterable[int]) -> list[int]:
    """Files whose encoding covers all contents of ``file_ids`` that still lie as uploaded.

    The encoder takes whole uploaded objects, so of the small files that came in one object a single
    one stands for all.
    """
    ids = sorted(file_ids)
    covered: set[int] = set()
    chosen: list[int] = []
    for start in range(0, len(ids), BATCH):
        rows = session.execute(
            select(Segment.file_id, Encoding.object_id)
            .join(Encoding, Encoding.content_id == Segment.content_id)
            .where(Segment.file_id.in_(ids[start : start + BATCH]), Encoding.final.is_(False))
            .distinct()
        )
        for file_id, object_id in sorted((row.file_id, row.object_id) for row in rows):
            if object_id not in covered:
                covered.add(object_id)
                chosen.append(file_id)
    return list(dict.fromkeys(chosen))


def drop_upload_leases(session: Session, file_ids: Iterable[int]) -> None:
    """A tree holds the files now; leases of background jobs stay."""
    ids = sorted(file_ids)
    for start in range(0, len(ids), BATCH):
        session.execute(
            delete(Lease).where(
                Lease.file_id.in_(ids[start : start + BATCH]), Lease.owner.like("upload:%")
            )
        )


def _lock_and_look(session: Session, file_ids: Iterable[int]) -> list[File]:
    ids = sorted(set(file_ids))
    locked = select(File.id).order_by(File.id).with_for_update(read=True)
    _batched(session, locked, File.id, ids)
    return _batched(session, select(File).where(sound_file_clause()), File.id, ids)


def _batched(
    session: Session, query: Select[T], column: InstrumentedAttribute[V], values: list[V]
) -> list[T]:
    return [
        row
        for start in range(0, len(values), BATCH)
        for row in session.scalars(query.where(column.in_(values[start : start + BATCH])))
    ]
