"""Letting one repo use the files of another: a grant, and no byte is moved."""

import uuid
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.accounts.quotas import check_room
from app.catalog.possession import grant_files
from app.contents.soundness import sound_file_clause
from app.db.inserting import batches
from app.db.tables import File, Lease, Repo, TreeEntry
from app.errors import RepoNotFound
from app.hub import Hub


def grant_copies(
    hub: Hub, source: Repo, target: Repo, digests: Iterable[bytes], *, proposer: int | None = None
) -> set[bytes]:
    """Grant ``target`` the files of ``source`` with these SHA-256; returns those that are granted.

    The caller may read the one and write to the other; if he may only propose to it, his account is
    the ``proposer``, and nobody else is granted them. The files are held until a commit names them,
    or for ``timers.lease_s``.
    """
    wanted = sorted(set(digests))
    return hub.db.run(lambda session: _grant(session, hub, source, target, wanted, proposer))


def _grant(
    session: Session,
    hub: Hub,
    source: Repo,
    target: Repo,
    wanted: list[bytes],
    proposer: int | None,
) -> set[bytes]:
    # Locked in these statements, looked at in the next: see app.ingest.publish.
    held = select(Repo.id).where(Repo.id == target.id).with_for_update(read=True, key_share=True)
    if session.scalar(held) is None:
        raise RepoNotFound("Repository not found")
    granted: dict[int, bytes] = {}
    for digests in batches(wanted):
        named = (
            select(TreeEntry.file_id)
            .where(TreeEntry.file_id == File.id, TreeEntry.repo_id == source.id)
            .exists()
        )
        ids = session.scalars(select(File.id).where(File.sha256.in_(digests), named)).all()
        if not ids:
            continue
        locked = select(File.id).where(File.id.in_(ids)).order_by(File.id).with_for_update()
        session.execute(locked)
        sound = session.execute(
            select(File.id, File.sha256).where(File.id.in_(ids), sound_file_clause())
        )
        granted.update({row.id: row.sha256 for row in sound})
    grant_files(session, hub, target.id, granted, proposer=proposer)
    check_room(session, hub, target, proposer=proposer)
    expires_at = hub.clock.now() + timedelta(seconds=hub.settings.timers.lease_s)
    owner = f"upload:{uuid.uuid4()}"
    for ids in batches(sorted(granted)):
        leases = [{"file_id": each, "owner": owner, "expires_at": expires_at} for each in ids]
        session.execute(insert(Lease), leases)
    return set(granted.values())
