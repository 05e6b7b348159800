"""The jobs that a repo is owed when a commit, a push or a mirror brings it files."""

from collections.abc import Collection, Iterable

from sqlalchemy.orm import Session

from app.catalog.claims import files_to_encode
from app.catalog.indexing import owe_indexing
from app.catalog.scanning import owe_scanning
from app.db.tables import Repo
from app.hub import Hub
from app.jobs.outbox import enqueue


def owe_jobs(
    session: Session, hub: Hub, repo: Repo, file_ids: Iterable[int], pickles: Collection[int]
) -> None:
    """Whatever is to be done about a repo whose trees hold these files now.

    ``pickles``: those whose names there say that they may be some.
    """
    owe_first_jobs(session, hub, repo, file_ids, pickles)
    if repo.type == "model":
        enqueue(session, hub, "family", key=f"repo:{repo.id}", payload={"repo_id": repo.id})


def owe_first_jobs(
    session: Session, hub: Hub, repo: Repo, file_ids: Iterable[int], pickles: Collection[int]
) -> None:
    """The same for a repo that has just been made: it is in no family yet."""
    for file_id in files_to_encode(session, file_ids):
        enqueue(session, hub, "encode", key=f"file:{file_id}", payload={"file_id": file_id})
    owe_indexing(session, hub, repo.id)
    owe_scanning(session, hub, pickles)
