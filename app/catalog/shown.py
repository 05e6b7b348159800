"""Files of a repo found by their SHA-256: what its trees show, awaited files of a mirror too."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.inserting import batches
from app.db.tables import AwaitedFile, File, TreeEntry


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file that some tree of a repo names."""

    repo_id: int
    file_id: int | None
    """None while a mirror awaits it."""
    oid: str
    """Git id of its blob, or of the pointer of an LFS file."""
    sha256: bytes
    nbytes: int


def find_shown(session: Session, repo_id: int, digests: Sequence[bytes]) -> dict[bytes, ShownFile]:
    """Those of the files that trees of a repo name, each once."""
    found: dict[bytes, ShownFile] = {}
    for some in batches(digests):
        awaited = select(AwaitedFile).where(
            AwaitedFile.repo_id == repo_id, AwaitedFile.sha256.in_(some)
        )
        for row in session.scalars(awaited):
            found[row.sha256] = ShownFile(repo_id, None, row.oid, row.sha256, row.nbytes)
        named = (
            select(TreeEntry.oid)
            .where(TreeEntry.repo_id == repo_id, TreeEntry.file_id == File.id)
            .limit(1)
            .scalar_subquery()
        )
        stored = select(File.id, File.sha256, File.size, named.label("oid")).where(
            File.sha256.in_(some), named.is_not(None)
        )
        for file_id, sha256, nbytes, oid in session.execute(stored):
            found[sha256] = ShownFile(repo_id, file_id, oid, sha256, nbytes)
    return found
