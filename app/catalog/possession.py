"""What somebody without write access sent to a repo, so that he may propose it, and only he."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.cuts import hold_history
from app.db.inserting import batches, upsert
from app.db.tables import File, ProposedFile
from app.hub import Hub


def record_proposed(hub: Hub, account_id: int, repo_id: int, file_ids: Iterable[int]) -> None:
    """The account sent these files to the repo just now; they are leased still.

    Raises RepoNotFound if the repo was deleted meanwhile.
    """
    wanted = sorted(set(file_ids))
    now = hub.clock.now()

    def work(session: Session) -> None:
        hold_history(session, repo_id)
        for some in batches(wanted):
            rows = [
                {
                    "repo_id": repo_id,
                    "account_id": account_id,
                    "file_id": file_id,
                    "created_at": now,
                }
                for file_id in session.scalars(select(File.id).where(File.id.in_(some)))
            ]
            if rows:
                session.execute(upsert(session, ProposedFile).values(rows).on_conflict_do_nothing())

    hub.db.run(work)
