"""Which files may be called stored: live, healthy, and no content of theirs lost or known bad."""

from sqlalchemy import ColumnElement, and_, exists, or_, select

from app.db.tables import Content, Encoding, File, Segment


def sound_file_clause() -> ColumnElement[bool]:
    """SQL condition on ``File``. Look at it in the statement after the one that locks the row."""
    unsound = (
        select(Segment.file_id)
        .join(Content, Content.id == Segment.content_id)
        .outerjoin(Encoding, Encoding.content_id == Content.id)
        .where(Segment.file_id == File.id, or_(Content.health != "ok", Encoding.id.is_(None)))
    )
    # Not equal, so that no database begins with the index of states and reads all that are live.
    return and_(File.state != "condemned", File.health == "ok", ~exists(unsound))
