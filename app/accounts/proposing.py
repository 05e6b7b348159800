"""How many bytes accounts have in pull requests to others' repositories: kept up like ``usage``.

Who proposes adds to the row of his figure in the same transaction. What goes (files collected,
histories rewritten, repositories deleted) makes figures stale: at most too high, and counted anew
when they are in somebody's way.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from app.db.inserting import insert_if_absent
from app.db.tables import File, ProposedFile, ProposerUsage


def measure_proposed(session: Session, account_id: int) -> int:
    """Count: logical bytes, each version of a file once in each repository."""
    total = (
        select(func.sum(File.size))
        .join(ProposedFile, ProposedFile.file_id == File.id)
        .where(ProposedFile.account_id == account_id)
    )
    return int(session.scalar(total) or 0)


def count_proposed(session: Session, account_id: int, file_ids: Sequence[int]) -> None:
    """Files were just proposed to a repository, none of them was before by this account."""
    if not file_ids:
        return
    # Locked even where nobody counted yet: who counts waits for this transaction.
    row = _lock(session, account_id)
    if row.nbytes is not None:
        row.nbytes += sum(session.scalars(select(File.size).where(File.id.in_(file_ids))))
        session.flush()


def mark_proposers_stale(session: Session, *which: ColumnElement[bool]) -> None:
    """These rows of ProposedFile are about to go."""
    accounts = select(ProposedFile.account_id).where(*which)
    session.execute(
        update(ProposerUsage)
        .where(ProposerUsage.account_id.in_(accounts), ProposerUsage.stale.is_(False))
        .values(stale=True)
        .execution_options(synchronize_session=False)
    )


def proposed_nbytes(session: Session, account_id: int, *, room: int) -> int:
    """What an account has proposed: exact, or, if within ``room``, at most too high.

    Its figure is locked: proposals side by side do not pass together what each would pass alone.
    """
    row = _lock(session, account_id)
    if row.nbytes is None or (row.stale and row.nbytes > room):
        return _set(session, row)
    return row.nbytes


def read_proposed(session: Session, account_id: int) -> int:
    """What an account has proposed, exactly, for who only reads."""
    row = session.get(ProposerUsage, account_id)
    if row is None or row.nbytes is None or row.stale:
        return measure_proposed(session, account_id)
    return row.nbytes


def proposer_misfit(session: Session, account_id: int, *, lock: bool = True) -> str | None:
    """Why the figure of an account is not what it should be; None if it is."""
    row = _lock(session, account_id) if lock else session.get(ProposerUsage, account_id)
    if row is None or row.nbytes is None:
        return None
    held = measure_proposed(session, account_id)
    if row.nbytes < held or (row.nbytes != held and not row.stale):
        return f"quotas go by {row.nbytes} bytes in pull requests; there are {held}"
    return None


def recount_proposed(session: Session, account_id: int) -> None:
    """Count what an account has proposed anew; waits for who is adding to it."""
    _set(session, _lock(session, account_id))


def _set(session: Session, row: ProposerUsage) -> int:
    nbytes = measure_proposed(session, row.account_id)
    row.nbytes, row.stale = nbytes, False
    session.flush()
    return nbytes


def _lock(session: Session, account_id: int) -> ProposerUsage:
    insert_if_absent(session, ProposerUsage, {"account_id": account_id, "stale": True})
    return session.get_one(ProposerUsage, account_id, with_for_update=True, populate_existing=True)
