"""Who may read what by Xet: tokens for the files of a repo, seals for single files."""

from dataclasses import dataclass

from sqlalchemy import select

from app.accounts.vouching import check_still_reads
from app.db.tables import File, TreeEntry
from app.errors import ContentNotFound, Forbidden, Unauthorized
from app.hub import Hub
from app.signing import SealBroken, seal, unseal

_TOKEN, _FILE = "xet-read", "xet-file"


@dataclass(frozen=True, slots=True)
class ReadableFile:
    """A file that may be read."""

    file_id: int
    sha256: bytes
    nbytes: int
    repo_id: int
    token_id: int
    """Where and on whose word it may be read; asked again at every use."""


def issue_read_token(hub: Hub, repo_id: int, token_id: int) -> tuple[str, int]:
    """A token to read the files of a repo, and when it expires, seconds since the epoch.

    The caller has checked the right to read them.
    """
    now, expires_s = hub.clock.now(), hub.settings.timers.upload_url_s
    claims = {"r": repo_id, "t": token_id}
    token = seal(hub.secret, _TOKEN, claims, now=now, expires_s=expires_s)
    return token, int(now.timestamp() + expires_s)


def find_readable_file(hub: Hub, token: str, sha256: bytes) -> ReadableFile:
    """The file of this digest in the repo of a token.

    Raises Unauthorized, ContentNotFound, and what ``check_still_reads`` does.
    """
    try:
        claims = unseal(hub.secret, _TOKEN, token, now=hub.clock.now())
    except SealBroken as error:
        raise Unauthorized(f"Xet token: {error}; ask for a new one") from None
    named = (
        select(TreeEntry.file_id)
        .where(TreeEntry.file_id == File.id, TreeEntry.repo_id == claims["r"])
        .exists()
    )
    with hub.db.read() as session:
        check_still_reads(session, hub, claims["t"], claims["r"])
        row = session.execute(
            select(File.id, File.size).where(File.sha256 == sha256, named)
        ).first()
    if row is None:
        raise ContentNotFound("no file of this repository has this id")
    return ReadableFile(row.id, sha256, row.size, claims["r"], claims["t"])


def seal_file(hub: Hub, file: ReadableFile) -> str:
    """What lets its holder read one file for ``timers.presign_s``."""
    claims = {"f": file.file_id, "n": file.nbytes, "r": file.repo_id, "t": file.token_id}
    expires_s = hub.settings.timers.presign_s
    return seal(hub.secret, _FILE, claims, now=hub.clock.now(), expires_s=expires_s)


def unseal_file(hub: Hub, sealed: str) -> tuple[int, int]:
    """File id and length. Raises Forbidden once it has expired: clients then ask for another."""
    try:
        claims = unseal(hub.secret, _FILE, sealed, now=hub.clock.now())
    except SealBroken as error:
        raise Forbidden(f"this URL: {error}; ask for a new one") from None
    with hub.db.read() as session:
        check_still_reads(session, hub, claims["t"], claims["r"])
    return claims["f"], claims["n"]
