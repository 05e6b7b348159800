"""One check of the whole hub: rows, listing and, if deep, every object, content and file.

Deep checks remember where they are, so that one which was stopped goes on there. What is found is
kept as findings (``app.contents.findings``); a check that ends settles all that it looked at.
Besides findings and the marks of what is damaged nothing is changed.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.contents.bookmarks import keep_bookmark, load_bookmark
from app.contents.findings import Found, record
from app.db.inserting import batches
from app.db.tables import Content, File, Finding, StoredObject
from app.gc.fsck import listing, reading, rows
from app.gc.fsck.report import FsckReport, reload_problems
from app.gc.soundness import settle
from app.hub import Hub

BOOKMARK = "fsck"

BATCH = 500
"""Findings entered in one transaction."""

KEEP_S = 2.0
"""How often a deep check notes where it is."""

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class _Run:
    """A check under way."""

    hub: Hub
    began_at: datetime
    seen: set[tuple[str, str]] = field(default_factory=set)
    """Findings that are so, by kind and subject."""

    def enter(self, found: Iterable[Found]) -> None:
        batch: list[Found] = []
        for each in found:
            batch.append(each)
            if len(batch) == BATCH:
                self._record(batch)
                batch = []
        self._record(batch)

    def note(self, found: Iterable[Found]) -> None:
        """Findings that were entered already."""
        self.seen.update((each.kind, each.subject) for each in found)

    def _record(self, batch: list[Found]) -> None:
        if batch:
            self.hub.db.run(lambda session: record(session, self.hub, batch))
            self.note(batch)


def fsck(
    hub: Hub,
    *,
    deep: bool = False,
    fresh: bool = False,
    progress: Progress = lambda _done, _total: None,
    check: Callable[[], None] = lambda: None,
) -> FsckReport:
    """Check every invariant; with ``deep`` also read, decode and hash every byte.

    A deep check that was stopped goes on where it was unless ``fresh``. ``progress(done, total)``
    is told bytes while reading; ``check`` is called now and then and may raise to stop. Memory is
    bounded. Raises StoreUnavailable when the store cannot be asked: then nothing is known.
    """
    with hub.db.read() as session:
        mark = load_bookmark(session, BOOKMARK) if deep and not fresh else {}
        run = _resumed(session, hub, mark) if mark else _Run(hub, hub.clock.now())
    report = FsckReport()
    for row, found in listing.check_listing(hub, check):
        if row is None:
            run.enter([found])
        else:
            run.note(settle(hub, row, [found], read=False))
    # What is lost is settled first: it answers for the contents that lie there.
    hub.db.run(lambda session: _forget_unseen(session, run, set(listing.KINDS)))
    run.enter(rows.check_files(hub, check))
    run.enter(rows.check_contents(hub, check))
    run.enter(rows.check_usage(hub, check))
    if deep:
        _read_all(run, report, mark, progress, check)
    hub.db.run(lambda session: _end(session, run, deep=deep))
    with hub.db.read() as session:
        report.files = session.scalar(select(func.count()).select_from(File)) or 0
        report.contents = session.scalar(select(func.count()).select_from(Content)) or 0
        live = select(func.count()).where(StoredObject.state == "live")
        report.objects = session.scalar(live) or 0
    reload_problems(hub, report)
    return report


def _read_all(
    run: _Run,
    report: FsckReport,
    mark: dict[str, Any],
    progress: Progress,
    check: Callable[[], None],
) -> None:
    """The deep part: objects as they lie, then files and what no file holds, from where it was."""
    hub = run.hub
    phase, after = mark.get("phase", "objects"), int(mark.get("after", 0))
    done = int(mark.get("done", 0))
    kept_at = time.monotonic()
    report.verified_nbytes = int(mark.get("verified", 0))
    with hub.db.read() as session:
        stored = session.scalar(select(func.sum(StoredObject.nbytes))) or 0
        raw = session.scalar(select(func.sum(File.size))) or 0

    def step(phase: str, after: int, nbytes: int, found: Iterable[Found]) -> None:
        nonlocal done, kept_at
        run.note(found)
        done += nbytes
        progress(done, int(stored + raw))
        if time.monotonic() - kept_at < KEEP_S:
            return
        kept_at = time.monotonic()
        place = {
            "phase": phase,
            "after": after,
            "done": done,
            "verified": report.verified_nbytes,
            "began_at": run.began_at.isoformat(),
        }
        hub.db.run(lambda session: keep_bookmark(session, hub, BOOKMARK, place))

    if phase == "objects":
        for row, found in reading.read_objects(hub, after, check):
            step("objects", row.id, row.nbytes, found)
        phase, after = "files", 0
    if phase == "files":
        for file_id, nbytes, found in reading.read_files(hub, after, run.began_at, check):
            report.verified_nbytes += nbytes
            step("files", file_id, nbytes, found)
        after = 0
    for content_id, found in reading.read_rest(hub, after, run.began_at, check):
        step("rest", content_id, 0, found)


def _resumed(session: Session, hub: Hub, mark: dict[str, Any]) -> _Run:
    run = _Run(hub, datetime.fromisoformat(mark["began_at"]))
    found = session.execute(
        select(Finding.kind, Finding.subject).where(Finding.seen_at >= run.began_at)
    )
    run.seen.update((kind, subject) for kind, subject in found)
    return run


def _end(session: Session, run: _Run, *, deep: bool) -> None:
    _forget_unseen(session, run, {*rows.KINDS, *(reading.KINDS if deep else ())})
    if deep:
        keep_bookmark(session, run.hub, BOOKMARK, {})


def _forget_unseen(session: Session, run: _Run, judged: set[str]) -> None:
    """What an earlier look found and this one did not is over."""
    rows = session.execute(
        select(Finding.id, Finding.kind, Finding.subject).where(Finding.kind.in_(sorted(judged)))
    )
    over = [id_ for id_, kind, subject in rows if (kind, subject) not in run.seen]
    for ids in batches(over):
        session.execute(delete(Finding).where(Finding.id.in_(ids)))
