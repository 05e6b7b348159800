"""How much a repo holds: figures kept up with every change, so that no answer needs files counted.

Whoever adds files to a repo takes the row of its figures first and looks at what is there in the
next statement, so of two who add the same file at once one counts it. What goes (history pruned,
files forgotten or collected) is not subtracted but noted: the figures are then at most too high,
and are counted anew when they would be in somebody's way, or by the collector.

What its history alone holds is kept up beside it: everything that a tree names, whoever sent it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CompoundSelect, Select, exists, func, literal, select, union, update
from sqlalchemy.orm import Session

from app.db.inserting import batches, insert_if_absent
from app.db.tables import File, FileGrant, ProposedFile, Repo, RepoUsage, TreeEntry
from app.hub import Hub


@dataclass(frozen=True, slots=True)
class Held:
    """Logical bytes and versions of files, each once per repo."""

    nbytes: int
    files: int


def measure_held(session: Session, repo_ids: Collection[int] | Select[Any]) -> Held:
    """Count: files that writers sent, or that history holds and nobody merely proposed."""
    held = _held_files(repo_ids).subquery()
    total = select(func.sum(File.size), func.count()).join(held, held.c.file_id == File.id)
    nbytes, files = session.execute(total).one()
    return Held(int(nbytes or 0), int(files or 0))


def _held_files(repo_ids: Collection[int] | Select[Any]) -> CompoundSelect[Any]:
    """Repo and file, each pair once."""
    proposed = select(literal(1)).where(
        ProposedFile.repo_id == TreeEntry.repo_id, ProposedFile.file_id == TreeEntry.file_id
    )
    sent = select(FileGrant.repo_id, FileGrant.file_id).where(FileGrant.repo_id.in_(repo_ids))
    return union(sent, _named_files(repo_ids).where(~proposed.exists()))


def _named_files(repo_ids: Collection[int] | Select[Any]) -> Select[int, int | None]:
    """Repo and file of each entry of each tree."""
    return select(TreeEntry.repo_id, TreeEntry.file_id).where(
        TreeEntry.repo_id.in_(repo_ids), TreeEntry.file_id.is_not(None)
    )


def measure_histories(session: Session, repo_ids: Collection[int] | Select[Any]) -> dict[int, int]:
    """Count: logical bytes of every version of every file in the history of each repo, each once.

    Repos without any file are left out.
    """
    named = _named_files(repo_ids).distinct().subquery()
    rows = session.execute(
        select(named.c.repo_id, func.sum(File.size))
        .join(File, File.id == named.c.file_id)
        .group_by(named.c.repo_id)
    )
    return {repo_id: int(nbytes) for repo_id, nbytes in rows}


def read_histories(session: Session, repo_ids: Collection[int]) -> dict[int, int]:
    """Logical bytes of the history of each repo: kept up, or counted where nobody did yet."""
    known = RepoUsage.history_nbytes.is_not(None)
    kept = {
        repo_id: nbytes or 0
        for some in batches(sorted(repo_ids))
        for repo_id, nbytes in session.execute(
            select(RepoUsage.repo_id, RepoUsage.history_nbytes).where(
                RepoUsage.repo_id.in_(some), known
            )
        )
    }
    unknown = sorted(set(repo_ids) - kept.keys())
    counted = measure_histories(session, unknown) if unknown else {}
    return dict.fromkeys(repo_ids, 0) | kept | counted


def settle_history(hub: Hub, repo_id: int) -> None:
    """Count what the history of a repo holds if that is not known."""
    with hub.db.read() as session:
        row = session.get(RepoUsage, repo_id)
        is_known = row is None or row.history_nbytes is not None
    if not is_known:
        hub.db.run(lambda session: recount(session, repo_id))


def begin_usage(session: Session, repo_id: int) -> None:
    """A repo was made: it holds nothing."""
    session.add(RepoUsage(repo_id=repo_id, nbytes=0, files=0, history_nbytes=0, stale=False))
    session.flush()


def count_granted(session: Session, repo_id: int, file_ids: Collection[int]) -> None:
    """Files were just granted to a repo, none of them was before: count those not shown yet."""
    row = _lock(session, repo_id) if file_ids else None
    if row is not None:
        _, shown = _named(session, repo_id, file_ids)
        _add(session, row, set(file_ids) - shown)


def count_entering(session: Session, repo_id: int, file_ids: Iterable[object]) -> None:
    """Trees that name these files are about to be added to a repo: count those not held yet.

    Entries without a file are passed over.
    """
    ids = {file_id for file_id in file_ids if isinstance(file_id, int)}
    row = _lock(session, repo_id, known=False) if ids else None
    if row is None:
        return
    named, known = _named(session, repo_id, ids)
    if row.history_nbytes is not None:
        row.history_nbytes += _total(session, ids - named)
        session.flush()
    if row.nbytes is None:
        return
    for table in (FileGrant, ProposedFile):
        for some in batches(sorted(ids)):
            query = select(table.file_id).where(table.repo_id == repo_id, table.file_id.in_(some))
            known.update(session.scalars(query))
    _add(session, row, ids - known)


def mark_stale(session: Session, repo_ids: Collection[int] | Select[Any]) -> None:
    """Something went from these repos: their figures may be too high from now on."""
    session.execute(
        update(RepoUsage)
        .where(RepoUsage.repo_id.in_(repo_ids), RepoUsage.stale.is_(False))
        .values(stale=True)
        .execution_options(synchronize_session=False)
    )


def mark_cut(session: Session, repo_id: int) -> None:
    """Trees are about to go from this repo: what its history holds is to be counted anew."""
    session.execute(
        update(RepoUsage)
        .where(RepoUsage.repo_id == repo_id)
        .values(history_nbytes=None, stale=True)
        .execution_options(synchronize_session=False)
    )


def usage_of(session: Session, repo_ids: Select[Any], beyond: Held | None = None) -> Held:
    """What repos hold together: exact, or, if that is not ``beyond`` bounds, at most too high.

    Without ``beyond`` it is exact. Stale figures are counted anew only where the answer needs it.
    """
    unknown = select(Repo.id).where(
        Repo.id.in_(repo_ids),
        ~exists().where(RepoUsage.repo_id == Repo.id, RepoUsage.nbytes.is_not(None)),
    )
    apart = _recount(session, session.scalars(unknown).all())
    held = _figures(session, repo_ids, apart)
    if beyond is not None and held.nbytes <= beyond.nbytes and held.files <= beyond.files:
        return held
    stale = select(RepoUsage.repo_id).where(
        RepoUsage.repo_id.in_(repo_ids), RepoUsage.stale.is_(True)
    )
    again = [each for each in session.scalars(stale) if each not in apart]
    apart |= _recount(session, again)
    return _figures(session, repo_ids, apart)


def read_usage(session: Session, repo_ids: Select[Any]) -> Held:
    """What repos hold together, exactly, for who only reads: stale figures are counted, not set."""
    is_exact = RepoUsage.nbytes.is_not(None) & RepoUsage.stale.is_(False)
    total = select(func.sum(RepoUsage.nbytes), func.sum(RepoUsage.files))
    nbytes, files = session.execute(total.where(RepoUsage.repo_id.in_(repo_ids), is_exact)).one()
    others = select(Repo.id).where(
        Repo.id.in_(repo_ids), ~exists().where(RepoUsage.repo_id == Repo.id, is_exact)
    )
    counted = measure_held(session, others)
    return Held(int(nbytes or 0) + counted.nbytes, int(files or 0) + counted.files)


def settle_usage(hub: Hub) -> int:
    """Count stale figures anew, for the collector; how many."""
    with hub.db.read() as session:
        stale = session.scalars(select(RepoUsage.repo_id).where(RepoUsage.stale.is_(True))).all()
    for repo_id in stale:
        hub.db.run(lambda session, repo_id=repo_id: recount(session, repo_id))
    return len(stale)


def recount(session: Session, repo_id: int) -> None:
    """Count what a repo holds anew; waits for who is adding to it."""
    row = _lock(session, repo_id, known=False)
    if row is not None:
        _set(session, row)


def suspects(session: Session, low: int, high: int) -> list[int]:
    """Repos with ids beyond ``low`` and up to ``high`` that seem to be misfits."""
    held = _held_files(select(Repo.id).where(Repo.id > low, Repo.id <= high)).subquery()
    counted = {
        repo_id: Held(int(nbytes), files)
        for repo_id, nbytes, files in session.execute(
            select(held.c.repo_id, func.sum(File.size), func.count())
            .join(File, File.id == held.c.file_id)
            .group_by(held.c.repo_id)
        )
    }
    histories = measure_histories(session, select(Repo.id).where(Repo.id > low, Repo.id <= high))
    rows = session.scalars(
        select(RepoUsage).where(RepoUsage.repo_id > low, RepoUsage.repo_id <= high)
    )
    nothing = Held(0, 0)
    return [
        row.repo_id
        for row in rows
        if _misfit(row, counted.get(row.repo_id, nothing), histories.get(row.repo_id, 0))
    ]


def misfit(session: Session, repo_id: int) -> str | None:
    """Why the figures of a repo are not what they should be; None if they are. Locks them."""
    row = _lock(session, repo_id, known=False)
    if row is None:
        return None
    history_nbytes = measure_histories(session, [repo_id]).get(repo_id, 0)
    return _misfit(row, measure_held(session, [repo_id]), history_nbytes)


def _misfit(row: RepoUsage, held: Held, history_nbytes: int) -> str | None:
    if row.history_nbytes is not None and row.history_nbytes != history_nbytes:
        return f"its history is said to hold {row.history_nbytes} bytes; it holds {history_nbytes}"
    if row.nbytes is None:
        return None
    told = Held(row.nbytes or 0, row.files or 0)
    too_low = told.nbytes < held.nbytes or told.files < held.files
    if too_low or (told != held and not row.stale):
        told_of, holds = (f"{each.files} files, {each.nbytes} bytes" for each in (told, held))
        return f"quotas go by {told_of}; it holds {holds}"
    return None


def _figures(session: Session, repo_ids: Select[Any], apart: dict[int, Held]) -> Held:
    total = select(func.sum(RepoUsage.nbytes), func.sum(RepoUsage.files)).where(
        RepoUsage.repo_id.in_(repo_ids), RepoUsage.repo_id.not_in(sorted(apart))
    )
    nbytes, files = session.execute(total).one()
    return Held(
        int(nbytes or 0) + sum(held.nbytes for held in apart.values()),
        int(files or 0) + sum(held.files for held in apart.values()),
    )


def _recount(session: Session, repo_ids: Collection[int]) -> dict[int, Held]:
    """Count repos anew; those whose figures somebody else has in hand are counted, not written."""
    apart: dict[int, Held] = {}
    for repo_id in sorted(repo_ids):
        insert_if_absent(session, RepoUsage, {"repo_id": repo_id, "stale": True})
        row = session.scalars(
            select(RepoUsage)
            .where(RepoUsage.repo_id == repo_id)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).first()
        if row is None:
            apart[repo_id] = measure_held(session, [repo_id])
        else:
            _set(session, row)
    return apart


def _lock(session: Session, repo_id: int, *, known: bool = True) -> RepoUsage | None:
    """The figures of a repo; None if there are none, or, if ``known``, none that are known."""
    row = session.scalars(
        select(RepoUsage)
        .where(RepoUsage.repo_id == repo_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()
    return None if row is None or (known and row.nbytes is None) else row


def _set(session: Session, row: RepoUsage) -> None:
    held = measure_held(session, [row.repo_id])
    row.nbytes, row.files, row.stale = held.nbytes, held.files, False
    row.history_nbytes = measure_histories(session, [row.repo_id]).get(row.repo_id, 0)
    session.flush()


def _named(session: Session, repo_id: int, file_ids: Collection[int]) -> tuple[set[int], set[int]]:
    """Those that history holds, and those of them that nobody merely proposed."""
    named = exists().where(TreeEntry.file_id == File.id, TreeEntry.repo_id == repo_id)
    proposed = exists().where(ProposedFile.file_id == File.id, ProposedFile.repo_id == repo_id)
    # One look for each file: history names those of a directory in every version of it.
    rows = [
        (file_id, is_proposed)
        for ids in batches(sorted(file_ids))
        for file_id, is_proposed in session.execute(
            select(File.id, proposed).where(File.id.in_(ids), named)
        )
    ]
    return {file_id for file_id, _ in rows}, {file_id for file_id, merely in rows if not merely}


def _add(session: Session, row: RepoUsage, file_ids: Collection[int]) -> None:
    assert row.nbytes is not None
    assert row.files is not None
    row.nbytes += _total(session, file_ids)
    row.files += len(file_ids)
    session.flush()


def _total(session: Session, file_ids: Collection[int]) -> int:
    sizes = (
        session.scalar(select(func.sum(File.size)).where(File.id.in_(ids))) or 0
        for ids in batches(sorted(file_ids))
    )
    return sum(map(int, sizes))
