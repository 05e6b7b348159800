"""Proof of possession: whose sending of a file it is that lets a repo name it.

What its writers send counts for all of them. What somebody without write access sends, he may
propose, and only he.
"""

from collections.abc import Iterable

from sqlalchemy.orm import Session

from app.accounts.proposing import count_proposed
from app.accounts.usage import count_granted, mark_stale
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
        # Many rows by one statement of one row, which is compiled once for all commits.
        if proposer is not None:
            rows = [row | {"account_id": proposer} for row in rows]
            new = upsert(session, ProposedFile).on_conflict_do_nothing()
            proposed = session.scalars(new.returning(ProposedFile.file_id), rows).all()
            mark_stale(session, [repo_id])
            count_proposed(session, proposer, proposed)
            continue
        grant = upsert(session, FileGrant).on_conflict_do_nothing()
        granted = session.scalars(grant.returning(FileGrant.file_id), rows).all()
        count_granted(session, repo_id, granted)
