"""LFS objects themselves: received in one piece, verified, found for a download."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.vouching import check_still_reads, check_still_sends
from app.catalog.shown import ShownFile, find_shown
from app.db.tables import File, FileGrant, ProposedFile
from app.errors import ContentNotFound
from app.hub import Hub
from app.ingest.stream import ingest_stream
from app.lfs.capability import Capability


def store_object(hub: Hub, leave: Capability, buffers: Iterable[bytes]) -> None:
    """Store the object that a capability names from its bytes.

    Raises Forbidden if the right to upload is gone, IntegrityError for other bytes than announced.
    """
    with hub.db.read() as session:
        check_sender(session, hub, leave)
    ingest_stream(
        hub,
        buffers,
        nbytes=leave.nbytes,
        sha256=leave.sha256,
        repo_id=leave.repo_id,
        proposer=leave.proposer,
    )


def verify_object(hub: Hub, leave: Capability) -> None:
    """Raise ContentNotFound unless the object was sent to the repository, whole."""
    with hub.db.read() as session:
        if not is_granted(session, leave):
            raise ContentNotFound("the object was not uploaded")


def find_object(hub: Hub, leave: Capability) -> ShownFile:
    """The file that a download link names.

    Raises Forbidden if the repository was closed to who asked for it, and
    ContentNotFound if the repository does not show it any more.
    """
    with hub.db.read() as session:
        check_still_reads(session, hub, leave.token_id, leave.repo_id)
        found = find_shown(session, leave.repo_id, [leave.sha256]).get(leave.sha256)
    if found is None:
        raise ContentNotFound("the object was deleted")
    return found


def check_sender(session: Session, hub: Hub, leave: Capability) -> None:
    """Raise Forbidden if who was let upload may not by now."""
    check_still_sends(session, hub, leave.token_id, leave.repo_id, proposes=leave.proposes)


def is_granted(session: Session, leave: Capability) -> bool:
    """Whether the file of this oid and size was sent to the repository, by the proposer himself."""
    table = ProposedFile if leave.proposes else FileGrant
    query = (
        select(File.id)
        .join(table, table.file_id == File.id)
        .where(
            File.sha256 == leave.sha256, File.size == leave.nbytes, table.repo_id == leave.repo_id
        )
    )
    if leave.proposes:
        query = query.where(ProposedFile.account_id == leave.account_id)
    return session.scalar(query.limit(1)) is not None
