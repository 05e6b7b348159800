"""Proof of possession: whose sending of a file it is that lets a repo name it.

What its writers send counts for all of them. What somebody without write access sends, he may
propose, and only he.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.db.inserting import batches, upsert
from app.db.tables import FileGrant, ProposedFile
from app.hub import Hub


def grant_files(
    session: Session, hub: Hub, repo_id: int, file_ids: Iterable[int], *, proposer: int | None
) -> None:
    """Files were sent to a repo, which is locked: by its writers or, by id, by a proposer."""
    now = hub.clock.now()
    for some in batches(sorted(set(file_ids))):
        rows = [{"repo_id": repo_id, "file_id": each, "created_at": now} for each in some]
        grant = upsert(session, FileGrant).values(rows)
        if proposer is not None:
            whose = {"account_id": proposer}
            grant = upsert(session, ProposedFile).values([row | whose for row in rows])
        session.execute(grant.on_conflict_do_nothing())
