"""Findings: what is known to be damaged, lost or at odds, kept until it is mended.

Readers, the scrubber and fsck record them. A finding goes when a later look finds all well, and
with the file, content or object that it is about.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.inserting import batches, upsert
from app.db.tables import Finding
from app.hub import Hub

KINDS = (
    "condemned-file",  # a commit shows a file that is about to be collected
    "damaged-file",  # marked so: bytes that were taken apart or joined wrongly
    "segments",  # the segments of a file do not cover it
    "wrong-bytes",  # a file whose contents are sound does not have its digest
    "no-encoding",  # a content that is stored nowhere
    "wrong-size",  # sizes or checks of an encoding do not fit
    "out-of-bounds",  # an encoding lies outside its object
    "dead-object",  # an encoding lies in an object that is not live
    "base",  # a base is missing or a delta itself
    "damaged-content",  # stored bytes of a content fail their checks or do not decode
    "damaged-spare",  # the same of a replaced encoding that is kept for a while
    "damaged-xorb",  # chunks of an upload in flight
    "damaged-part",  # a part of a multipart upload, or of a file that a mirror fetches, in flight
    "lost-object",  # an object is not in the store, or not with its size
    "unreadable-object",  # the store answers, yet not for this object
    "usage",  # the figures that quotas go by are not what the repo holds, or the account proposes
    "unknown-object",  # the store has an object that no row knows: waste, nothing lost
)
"""Every kind of finding, and what it means."""

LOST = ("lost-object", "unreadable-object")
"""Those that stand for the damage of everything in an object."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that is not as it should be."""

    kind: str
    """One of :data:`KINDS`."""
    detail: str
    file_id: int | None = None
    content_id: int | None = None
    object_id: int | None = None
    key: str | None = None
    """Of an object; names it where there is no row."""
    repo_id: int | None = None
    account_id: int | None = None

    @property
    def subject(self) -> str:
        """What it is about, one finding of a kind each."""
        if self.file_id is not None:
            return f"file:{self.file_id}"
        if self.content_id is not None:
            return f"content:{self.content_id}"
        if self.account_id is not None:
            return f"account:{self.account_id}"
        return f"object:{self.key}" if self.repo_id is None else f"repo:{self.repo_id}"


def record(session: Session, hub: Hub, found: Collection[Found]) -> None:
    """Enter findings, or note that they are so still."""
    now = hub.clock.now()
    unique = {(each.kind, each.subject): each for each in found}
    for batch in batches([unique[key] for key in sorted(unique)]):
        statement = upsert(session, Finding).values(
            [
                {
                    "kind": each.kind,
                    "subject": each.subject,
                    "detail": each.detail,
                    "file_id": each.file_id,
                    "content_id": each.content_id,
                    "object_id": each.object_id,
                    "found_at": now,
                    "seen_at": now,
                }
                for each in batch
            ]
        )
        session.execute(
            statement.on_conflict_do_update(
                index_elements=[Finding.kind, Finding.subject],
                set_={"detail": statement.excluded.detail, "seen_at": now},
            )
        )


def clear(session: Session, kinds: Collection[str], subjects: Collection[str]) -> None:
    """What these findings said is so no more."""
    for batch in batches(sorted(subjects)):
        session.execute(delete(Finding).where(Finding.kind.in_(kinds), Finding.subject.in_(batch)))


def clear_unseen(session: Session, kinds: Collection[str], since: datetime) -> None:
    """A whole check that began at ``since`` did not find these again."""
    session.execute(delete(Finding).where(Finding.kind.in_(kinds), Finding.seen_at < since))


def count_findings(session: Session) -> dict[str, int]:
    """How many there are of each kind that occurs."""
    rows = session.execute(select(Finding.kind, func.count()).group_by(Finding.kind))
    return {kind: int(number) for kind, number in rows}
