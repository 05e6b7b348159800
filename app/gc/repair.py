"""Findings mended where anything is left to mend them from; the rest stays, named.

Damaged contents are stored anew from other copies; deltas whose base is beyond help are stored
alone if they can be; uploads in flight are forgotten, so that their clients send them again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts.proposing import recount_proposed
from app.accounts.usage import recount
from app.contents import objects
from app.contents.findings import LOST, clear
from app.contents.healing import OF_CONTENTS
from app.contents.refs import load_former_refs
from app.contents.verifying import verify_content
from app.db.tables import AwaitedPart, Encoding, File, Finding, FormerEncoding, LfsPart, Xorb
from app.errors import Damaged
from app.gc.salvage import salvage
from app.hub import Hub
from app.xet.staging import forget_xorb

PAGE = 500

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RepairReport:
    """What was done about the findings."""

    repaired: int = 0
    """Findings that are none any more."""
    rescued_deltas: int = 0
    """Deltas of lost bases that stand alone now."""
    left: int = 0
    """Findings that nothing here can mend: send the files again."""


def repair(hub: Hub, *, check: Callable[[], None] = lambda: None) -> RepairReport:
    """Mend what can be mended. Idempotent. Raises StoreUnavailable when the store is away."""
    report = RepairReport()
    after = 0
    while True:
        with hub.db.read() as session:
            page = session.scalars(
                select(Finding).where(Finding.id > after).order_by(Finding.id).limit(PAGE)
            ).all()
        for finding in page:
            check()
            if _mend(hub, report, finding):
                report.repaired += 1
                log.info("repaired", kind=finding.kind, subject=finding.subject)
            else:
                report.left += 1
        if len(page) < PAGE:
            return report
        after = page[-1].id


def _mend(hub: Hub, report: RepairReport, finding: Finding) -> bool:
    if finding.kind in OF_CONTENTS and finding.content_id is not None:
        return _mend_content(hub, report, finding.content_id)
    if finding.object_id is not None and finding.kind in LOST:
        return _mend_object(hub, report, finding)
    if finding.object_id is not None and finding.kind == "damaged-spare":
        return _drop_bad_spares(hub, finding)
    if finding.object_id is not None and finding.kind in {"damaged-xorb", "damaged-part"}:
        return _drop_uploads(hub, finding)
    if finding.file_id is not None and finding.kind == "condemned-file":
        return _resurrect(hub, finding, finding.file_id)
    if finding.kind == "usage":
        return _recount(hub, finding)
    return False


def _recount(hub: Hub, finding: Finding) -> bool:
    def work(session: Session) -> None:
        kind, _, number = finding.subject.partition(":")
        (recount if kind == "repo" else recount_proposed)(session, int(number))
        clear(session, ["usage"], [finding.subject])

    hub.db.run(work)
    return True


def _mend_content(hub: Hub, report: RepairReport, content: int) -> bool:
    if salvage(hub, content):
        return True
    with hub.db.read() as session:
        deltas = session.scalars(
            select(Encoding.content_id).where(Encoding.base_id == content)
        ).all()
    report.rescued_deltas += sum(salvage(hub, delta) for delta in deltas)
    return False


def _mend_object(hub: Hub, report: RepairReport, finding: Finding) -> bool:
    """Everything in a lost object stored elsewhere, or given up by its uploader."""
    _drop_uploads(hub, finding)
    with hub.db.read() as session:
        contents = session.scalars(
            select(Encoding.content_id)
            .where(Encoding.object_id == finding.object_id)
            .order_by(Encoding.base_id.is_not(None), Encoding.content_id)
        ).all()
    mended = [_mend_content(hub, report, content) for content in contents]
    if not all(mended):
        return False
    hub.db.run(lambda session: clear(session, LOST, [finding.subject]))
    return True


def _drop_bad_spares(hub: Hub, finding: Finding) -> bool:
    """Forget replaced encodings that are no copies any more."""
    with hub.db.read() as session:
        contents = session.scalars(
            select(FormerEncoding.content_id).where(FormerEncoding.object_id == finding.object_id)
        ).all()
        spares = [
            ref
            for content in sorted(set(contents))
            for ref in load_former_refs(session, content)
            if ref.object_id == finding.object_id
        ]
    bad: list[tuple[int, int]] = []
    for ref in spares:
        try:
            verify_content(hub, ref)
        except Damaged:
            bad.append((ref.content_id, ref.start))

    def work(session: Session) -> None:
        for content, start in bad:
            session.execute(
                delete(FormerEncoding).where(
                    FormerEncoding.content_id == content,
                    FormerEncoding.object_id == finding.object_id,
                    FormerEncoding.start == start,
                )
            )
        clear(session, ["damaged-spare"], [finding.subject])

    hub.db.run(work)
    return True


def _drop_uploads(hub: Hub, finding: Finding) -> bool:
    """Forget xorbs and parts whose bytes are damaged or gone."""
    with hub.db.read() as session:
        xorbs = session.scalars(select(Xorb.id).where(Xorb.object_id == finding.object_id)).all()
    for xorb in xorbs:
        forget_xorb(hub, xorb)

    def work(session: Session) -> None:
        for table in (LfsPart, AwaitedPart):
            session.execute(delete(table).where(table.object_id == finding.object_id))
        session.flush()
        if finding.object_id is not None:
            objects.retire_unreferenced(session, hub, [finding.object_id])
        clear(session, ["damaged-xorb", "damaged-part"], [finding.subject])

    hub.db.run(work)
    return True


def _resurrect(hub: Hub, finding: Finding, file_id: int) -> bool:
    """A file that a commit shows must live, and what it consists of."""

    def work(session: Session) -> bool:
        row = session.get(File, file_id, with_for_update=True)
        if row is None or row.health != "ok":
            return False
        row.state, row.condemned_at = "live", None
        clear(session, [finding.kind], [finding.subject])
        return True

    return hub.db.run(work)
