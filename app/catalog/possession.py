"""Proof of possession: whose sending of a file it is that lets a repo name it.

What its writers send counts for all of them. What somebody without write access sends, he may
propose, and only he.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.db.inserting import batches, upsert
from app.db.tables import FileGrant, ProposedFile, Table
from app.hub import Hub


def grant_files(
    session: Session, hub: Hub, repo_id: int, file_ids: Iterable[int], *, proposer: int | None
) -> None:
    """Files were sent to a repo, which is locked: by its writers or, by id, by a proposer."""
    now = hub.clock.now()
    for some in batches(sorted(set(file_ids))):
        rows = [{"repo_id": repo_id, "file_id": each, "created_at": now} for each in some]
        table: type[Table] = FileGrant
        if proposer is not None:
            table = ProposedFile
            rows = [row | {"account_id": proposer} for row in rows]
        # Many rows by one statement of one row, which is compiled once for all commits.
        session.execute(upsert(session, table).on_conflict_do_nothing(), rows)
