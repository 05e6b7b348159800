"""A file that is stored already, named by the very chunks it was made of: linked, not copied.

The client names xorbs that its account sent; where the recorded spans of a stored file say that the
same chunks lie at the same places in it, from its first byte to its last, the two are the same.
"""

import uuid
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.domains import domain_of
from app.accounts.quotas import check_room
from app.catalog.possession import grant_files
from app.contents.soundness import sound_file_clause
from app.db.tables import File, Lease, Repo
from app.errors import RepoNotFound
from app.hub import Hub
from app.xet.shard import ShardFile, Term
from app.xet.shelf import XorbShelf, checked_rows, raw_nbytes
from app.xet.staging import StagedXorb
from app.xet.tokens import XetGrantee


def link_known(hub: Hub, shelf: XorbShelf, grantee: XetGrantee, file: ShardFile) -> bool:
    """Grant the repository the stored file that ``file`` is; False if there is none, or unsure.

    Only files of the dedup domain that the repository's own belong to are looked at.

    Raises what :meth:`app.xet.assemble.Assembly.stream` raises for a shard that is wrong.
    """
    if file.sha256 is None:
        return False
    with hub.db.read() as session:
        repo = session.get(Repo, grantee.repo_id)
        if repo is None:
            return False
        here = (File.sha256 == file.sha256, File.domain == domain_of(session, hub, repo))
        known = session.scalars(select(File).where(*here)).one_or_none()
    if known is None or known.size != file.nbytes or not _is_made_of(shelf, file, known.id):
        return False
    return hub.db.run(lambda session: _grant(session, hub, grantee, known.id))


def _is_made_of(shelf: XorbShelf, file: ShardFile, file_id: int) -> bool:
    at = 0
    for term in file.terms():
        xorb, _held = shelf.xorb(term.xorb)
        checked_rows(xorb, term)
        if not _lies_at(xorb, term, file_id, at):
            return False
        at += term.nbytes
    return True


def _lies_at(xorb: StagedXorb, term: Term, file_id: int, at: int) -> bool:
    """Whether the file holds the term's chunks from offset ``at`` on."""
    return any(
        holder.file_id == file_id
        and holder.span.start <= term.start
        and term.stop <= holder.span.stop
        and holder.span.file_start + raw_nbytes(xorb, holder.span.start, term.start) == at
        for holder in xorb.holders
    )


def _grant(session: Session, hub: Hub, grantee: XetGrantee, file_id: int) -> bool:
    # Locked in these statements, looked at in the next: see app.ingest.publish.
    locked = select(Repo).where(Repo.id == grantee.repo_id)
    repo = session.scalar(locked.with_for_update(read=True, key_share=True))
    if repo is None:
        raise RepoNotFound("the repository was deleted during the upload")
    session.scalar(select(File.id).where(File.id == file_id).with_for_update())
    sound = session.scalar(select(File.id).where(File.id == file_id, sound_file_clause()))
    if sound is None:
        return False
    now = hub.clock.now()
    grant_files(session, hub, repo.id, [file_id], proposer=grantee.proposer)
    check_room(session, hub, repo, proposer=grantee.proposer)
    expires_at = now + timedelta(seconds=hub.settings.timers.lease_s)
    session.add(Lease(file_id=file_id, owner=f"upload:{uuid.uuid4()}", expires_at=expires_at))
    return True
