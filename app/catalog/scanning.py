"""Pickles, scanned once each and marked: a job for every file that a commit names like one."""

import json
from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.inserting import batches, insert_if_absent
from app.db.tables import File, FileScan, TreeEntry
from app.formats.pickles import UNSCANNED, Scan, may_be_pickle, read_imports, scan
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue
from app.restore.plan import load_plan
from app.restore.reader import FileReader

JOB = "scan"
PRIORITY = -5


def load_scans(session: Session, file_ids: Collection[int]) -> dict[int, Scan]:
    """Verdicts by file; those that have none yet are left out."""
    found: dict[int, Scan] = {}
    for some in batches(sorted(set(file_ids))):
        for row in session.scalars(select(FileScan).where(FileScan.file_id.in_(some))):
            imports = read_imports(json.loads(row.imports))
            found[row.file_id] = Scan(row.status, imports)  # pyright: ignore[reportArgumentType]
    return found


def pickles_among(named: Iterable[tuple[str, int, int]]) -> set[int]:
    """Ids of the files that may be pickles, of path, id and size of each."""
    return {file_id for path, file_id, nbytes in named if nbytes and may_be_pickle(path)}


def owe_scanning(session: Session, hub: Hub, file_ids: Collection[int]) -> None:
    """Owe a job for each of these files, which may be pickles, that was not scanned yet.

    On any branch and in any commit: whoever loads a revision is told of what it holds.
    """
    known = load_scans(session, file_ids)
    for file_id in sorted(set(file_ids) - known.keys()):
        payload: dict[str, int | str] = {"file_id": file_id}
        enqueue(session, hub, JOB, key=f"file:{file_id}", payload=payload, priority=PRIORITY)


def scan_file(context: JobContext) -> None:
    """Handler of ``scan`` jobs: payload ``file_id``. Idempotent; a file is scanned once."""
    hub, file_id = context.hub, int(context.payload["file_id"])
    with hub.db.read() as session:
        file = session.get(File, file_id)
        if file is None or load_scans(session, [file_id]):
            return
        nbytes = file.size
        names = session.scalars(
            select(TreeEntry.name).where(TreeEntry.file_id == file_id).distinct()
        ).all()
    name = min(filter(may_be_pickle, names), default=None)
    if name is not None:
        _enter(hub, file_id, _scan(hub, file_id, nbytes, name))


def _scan(hub: Hub, file_id: int, nbytes: int, name: str) -> Scan:
    if nbytes > hub.settings.limits.scan_nbytes:
        return UNSCANNED
    reader = FileReader(hub, load_plan(hub, file_id))
    try:
        return scan(reader.stream(0, nbytes), name)
    finally:
        reader.close()


def _enter(hub: Hub, file_id: int, verdict: Scan) -> None:
    imports = verdict.imports
    listed = None if imports is None else [[i.module, i.name, i.safety] for i in imports]
    row = {
        "file_id": file_id,
        "status": verdict.status,
        "imports": json.dumps(listed),
        "scanned_at": hub.clock.now(),
    }

    def work(session: Session) -> None:
        if session.get(File, file_id) is not None:
            insert_if_absent(session, FileScan, row)

    hub.db.run(work)
