"""What was damaged and has sound bytes again: contents first, then the files made of them."""

from collections.abc import Sequence

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.contents.findings import clear
from app.db.inserting import batches
from app.db.tables import Content, File, Segment

OF_CONTENTS = (
    "damaged-content",
    "no-encoding",
    "wrong-size",
    "out-of-bounds",
    "dead-object",
    "base",
)
"""Kinds of findings that a new, sound encoding settles."""


def declare_sound(session: Session, content_ids: Sequence[int]) -> None:
    """Contents, locked by the caller, whose current encodings are sound."""
    for ids in batches(sorted(content_ids)):
        session.execute(
            update(Content)
            .where(Content.id.in_(ids))
            .values(health="ok")
            .execution_options(synchronize_session=False)
        )
    clear(session, OF_CONTENTS, [f"content:{id_}" for id_ in content_ids])


def mark_healed_files(session: Session, content_ids: Sequence[int]) -> None:
    """Give files their health back that hold some of these and nothing damaged any more."""
    for ids in batches(sorted(content_ids)):
        holds_healed = select(Segment.file_id).where(Segment.content_id.in_(ids))
        holds_damaged = (
            exists()
            .where(Segment.file_id == File.id)
            .where(Segment.content_id == Content.id)
            .where(Content.health != "ok")
        )
        session.execute(
            update(File)
            .where(File.health != "ok", File.id.in_(holds_healed), ~holds_damaged)
            .values(health="ok")
            .execution_options(synchronize_session=False)
        )
