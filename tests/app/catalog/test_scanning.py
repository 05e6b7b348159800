"""Every pickle that a commit brings gets a verdict, wherever it is and whatever came after it."""

import hashlib

from sqlalchemy import select

from app.catalog.commits import apply_commit
from app.catalog.git_objects import blob_oid
from app.catalog.operations import AddFile
from app.catalog.refs import create_branch
from app.db.tables import File, FileScan, Job
from app.ingest.inline import ingest_inline
from app.jobs.context import JobContext
from app.tasks import HANDLERS
from tests.fixtures.models import ModelHub

HARMLESS = b"\x80\x04]\x94(K\x01K\x02e."
HOSTILE = b"cos\nsystem\n(S'true'\ntR."
OTHER = b"cos\nsystem\n(S'false'\ntR."


def verdicts(models: ModelHub) -> dict[bytes, str]:
    """By SHA-256."""
    with models.hub.db.read() as session:
        rows = session.execute(select(File.sha256, FileScan.status).join_from(FileScan, File))
        return {sha: status for sha, status in rows}  # noqa: C416  rows are no pairs to a type checker


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_every_commit_is_scanned_not_only_the_last(models: ModelHub):
    for data in (HARMLESS, HOSTILE):
        models.push("alice/a", {"model.bin": data, "notes.txt": HOSTILE + b"text"})
    models.remove("alice/a", "model.bin")
    models.run_jobs()
    assert verdicts(models) == {sha256(HARMLESS): "safe", sha256(HOSTILE): "unsafe"}


def test_other_branches_are_scanned(models: ModelHub):
    repo = models.push("alice/a", {"model.bin": HARMLESS})
    create_branch(models.hub, repo, "side", None)
    [file] = ingest_inline(models.hub, [OTHER], repo_id=repo.id)
    operation = AddFile("x/evil.pt", file.file_id, blob_oid(OTHER))
    alice = models.user("alice")
    apply_commit(models.hub, alice, repo, "refs/heads/side", [operation], title="t")
    models.run_jobs()
    assert verdicts(models)[sha256(OTHER)] == "unsafe"


def test_a_file_is_scanned_once(models: ModelHub):
    models.push("alice/a", {"model.bin": HOSTILE})
    models.run_jobs()
    models.push("bob/b", {"same.bin": HOSTILE})
    with models.hub.db.read() as session:
        queued = session.scalars(select(Job.key).where(Job.kind == "scan", Job.state == "queued"))
        assert list(queued) == []


def test_what_is_gone_meanwhile_is_left(models: ModelHub):
    HANDLERS["scan"](JobContext(models.hub, 0, {"file_id": 10**6}))
    assert verdicts(models) == {}


def test_what_is_too_long_is_called_unread(models: ModelHub):
    few = models.hub.settings.limits.model_copy(update={"scan_nbytes": len(HARMLESS) - 1})
    models.hub.settings = models.hub.settings.model_copy(update={"limits": few})
    models.push("alice/a", {"model.bin": HARMLESS, "small.bin": HARMLESS[:-1]})
    models.run_jobs()
    told = verdicts(models)
    assert told[sha256(HARMLESS)] == "unscanned"
    assert told[sha256(HARMLESS[:-1])] != "unscanned"
