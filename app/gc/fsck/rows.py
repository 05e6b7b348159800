"""What the database says of itself: rows that contradict one another, found page by page."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.accounts.proposing import proposer_misfit
from app.accounts.usage import misfit, suspects
from app.contents.findings import LOST, Found
from app.db.tables import (
    Content,
    Encoding,
    File,
    Finding,
    ProposerUsage,
    Repo,
    Segment,
    StoredObject,
)
from app.db.windows import id_windows
from app.digest import CHECK_BYTES, PIECE_BYTES
from app.gc.marking import file_is_kept
from app.hub import Hub

PAGE = 10_000
"""Ids looked at per query: bounds its time and what is held of its answer."""

REPOS = 100
"""Repos whose files are added up per query."""

KINDS = (
    "condemned-file",
    "damaged-file",
    "segments",
    "no-encoding",
    "wrong-size",
    "out-of-bounds",
    "dead-object",
    "base",
    "usage",
)
"""What is judged here, whole, every time."""


def check_files(hub: Hub, check: Callable[[], None]) -> Iterator[Found]:
    """Files that are not live and sound though something keeps them, or are not covered."""
    for low, high in id_windows(hub.db, File.id, PAGE):
        check()
        with hub.db.read() as session:
            yield from [*_unsound_files(session, low, high), *_uncovered(session, low, high)]


def check_contents(hub: Hub, check: Callable[[], None]) -> Iterator[Found]:
    """Contents that are marked damaged, or whose encoding cannot be read as it is."""
    for low, high in id_windows(hub.db, Content.id, PAGE):
        check()
        with hub.db.read() as session:
            yield from list(_faults(session, low, high))


def check_usage(hub: Hub, check: Callable[[], None]) -> Iterator[Found]:
    """Repos and proposers whose figures for quotas are not what they hold."""
    for low, high in id_windows(hub.db, Repo.id, REPOS):
        check()
        with hub.db.read() as session:
            # Somebody may be adding files meanwhile: who seems wrong is looked at under its lock.
            seeming = suspects(session, low, high)
        for repo_id in seeming:
            if told := hub.db.run(lambda session, repo_id=repo_id: misfit(session, repo_id)):
                yield Found("usage", told, repo_id=repo_id)
    with hub.db.read() as session:
        proposers = session.scalars(select(ProposerUsage.account_id)).all()
        seeming = [each for each in proposers if proposer_misfit(session, each, lock=False)]
    for account in seeming:
        check()
        if told := hub.db.run(lambda session, account=account: proposer_misfit(session, account)):
            yield Found("usage", told, account_id=account)


def _unsound_files(session: Session, low: int, high: int) -> Iterator[Found]:
    for file in session.scalars(
        select(File)
        .where(File.id > low, File.id <= high, or_(File.state != "live", File.health != "ok"))
        .where(file_is_kept())
    ):
        kind = "condemned-file" if file.state != "live" else "damaged-file"
        yield Found(kind, f"file {file.sha256.hex()} is {file.state}, {file.health}", file.id)


def _uncovered(session: Session, low: int, high: int) -> Iterator[Found]:
    """Segments of every file are contiguous, cover it, and have the size of their content."""
    in_page = (Segment.file_id > low, Segment.file_id <= high)
    ends: dict[int, int] = {}
    rows = session.execute(
        select(Segment.file_id, Segment.start, Segment.nbytes, Content.nbytes)
        .join(Content, Content.id == Segment.content_id)
        .where(*in_page)
        .order_by(Segment.file_id, Segment.start)
        .execution_options(yield_per=PAGE)
    )
    for file_id, start, nbytes, raw_nbytes in rows:
        if start != ends.get(file_id, 0) or nbytes != raw_nbytes:
            yield Found("segments", f"segment at {start} is off", file_id)
        ends[file_id] = start + nbytes
    sizes = session.execute(select(File.id, File.size).where(File.id > low, File.id <= high))
    for file_id, size in sizes:
        if ends.get(file_id, 0) != size:
            yield Found("segments", f"segments end at {ends.get(file_id, 0)} of {size}", file_id)


def _faults(session: Session, low: int, high: int) -> Iterator[Found]:
    for kind, query, detail in _queries():
        for content in session.scalars(query.where(Content.id > low, Content.id <= high)):
            yield Found(kind, detail, content_id=content)


def _queries() -> list[tuple[str, Select[Any], str]]:
    """Kind, contents that have the fault, and what is wrong with them."""
    base = aliased(Encoding)
    contents = select(Content.id)
    encoded = contents.join(Encoding, Encoding.content_id == Content.id)
    placed = encoded.join(StoredObject, StoredObject.id == Encoding.object_id)
    in_lost_object = (
        select(Finding.id)
        .join(Encoding, Encoding.object_id == Finding.object_id)
        .where(Encoding.content_id == Content.id, Finding.kind.in_(LOST))
    )
    checks_nbytes = (Encoding.nbytes + PIECE_BYTES - 1) // PIECE_BYTES * CHECK_BYTES
    return [
        (
            "no-encoding",
            contents.where(~select(Encoding.id).where(Encoding.content_id == Content.id).exists()),
            "it is stored nowhere",
        ),
        (
            "base",
            encoded.outerjoin(base, base.content_id == Encoding.base_id).where(
                Encoding.base_id.is_not(None), or_(base.id.is_(None), base.base_id.is_not(None))
            ),
            "its base is missing or a delta itself",
        ),
        (
            "dead-object",
            placed.where(StoredObject.state != "live"),
            "it lies in an object that is not live",
        ),
        (
            "out-of-bounds",
            placed.where(
                or_(Encoding.start < 0, Encoding.start + Encoding.nbytes > StoredObject.nbytes)
            ),
            "it lies outside its object",
        ),
        (
            "wrong-size",
            placed.where(
                or_(
                    and_(Encoding.codec == "raw", Encoding.nbytes != Content.nbytes),
                    func.length(Encoding.checks) != checks_nbytes,
                )
            ),
            "sizes or checks of its encoding do not fit",
        ),
        (
            "damaged-content",
            contents.where(Content.health != "ok", ~in_lost_object.exists()),
            "it is marked damaged",
        ),
    ]
