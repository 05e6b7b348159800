"""Pickles of repositories, scanned once each and marked: a job, owed when a repo is indexed."""

import json
from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.listing import Entry, list_files
from app.catalog.refs import resolve_revision
from app.db.inserting import batches, insert_if_absent
from app.db.tables import FileScan, Repo
from app.errors import RevisionNotFound
from app.formats.pickles import UNSCANNED, Import, Scan, may_be_pickle, scan
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue
from app.restore.plan import load_plan
from app.restore.reader import FileReader

JOB = "scan"


def load_scans(session: Session, file_ids: Collection[int]) -> dict[int, Scan]:
    """Verdicts by file; those that have none yet are left out."""
    found: dict[int, Scan] = {}
    for some in batches(sorted(set(file_ids))):
        for row in session.scalars(select(FileScan).where(FileScan.file_id.in_(some))):
            imports = tuple(Import(*each) for each in json.loads(row.imports))
            found[row.file_id] = Scan(row.status, imports)  # pyright: ignore[reportArgumentType]
    return found


def owe_scanning(session: Session, hub: Hub, repo_id: int, entries: Iterable[Entry]) -> None:
    """Owe the job that scans those files that may be pickles and have no verdict."""
    if _unscanned(session, entries):
        enqueue(session, hub, JOB, key=f"repo:{repo_id}", payload={"repo_id": repo_id}, priority=-5)


def scan_repo(context: JobContext) -> None:
    """Handler of ``scan`` jobs: payload ``repo_id``. Idempotent; a file is scanned once."""
    hub, repo_id = context.hub, int(context.payload["repo_id"])
    with hub.db.read() as session:
        repo = session.get(Repo, repo_id)
        if repo is None:
            return
        try:
            head = resolve_revision(session, repo, hub.settings.default_branch)
        except RevisionNotFound:
            return
        waiting = _unscanned(session, list_files(session, repo_id, head.tree_oid))
    for entry in waiting:
        context.check()
        _enter(hub, entry, _scan(hub, entry))


def _unscanned(session: Session, entries: Iterable[Entry]) -> list[Entry]:
    wanted = {
        entry.file_id: entry
        for entry in entries
        if entry.file_id is not None and entry.nbytes and may_be_pickle(entry.path)
    }
    known = load_scans(session, wanted.keys())
    return [entry for file_id, entry in wanted.items() if file_id not in known]


def _scan(hub: Hub, entry: Entry) -> Scan:
    if entry.nbytes > hub.settings.limits.scan_nbytes:
        return UNSCANNED
    assert entry.file_id is not None
    reader = FileReader(hub, load_plan(hub, entry.file_id))
    try:
        return scan(reader.stream(0, entry.nbytes), entry.name)
    finally:
        reader.close()


def _enter(hub: Hub, entry: Entry, verdict: Scan) -> None:
    row = {
        "file_id": entry.file_id,
        "status": verdict.status,
        "imports": json.dumps([[i.module, i.name, i.safety] for i in verdict.imports]),
        "scanned_at": hub.clock.now(),
    }

    def work(session: Session) -> None:
        insert_if_absent(session, FileScan, row)

    hub.db.run(work)
