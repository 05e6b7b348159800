"""Walking a whole table in windows of rows, so that no statement grows with the table."""

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute

from app.db.database import Database


def id_windows(
    database: Database, ids: InstrumentedAttribute[int], rows: int
) -> Iterator[tuple[int, int]]:
    """``(low, high]``: they cover all ids that there are now, each with at most ``rows`` rows.

    Gaps between ids cost nothing.
    """
    low = 0
    while True:
        beyond = select(ids).where(ids > low).order_by(ids)
        with database.read() as session:
            high = session.scalar(beyond.offset(rows - 1).limit(1))
            last = None if high is not None else session.scalar(select(func.max(ids)))
        if high is not None:
            yield low, high
            low = high
            continue
        if last is not None and last > low:
            yield low, last
        return
