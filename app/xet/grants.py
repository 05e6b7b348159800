"""Xorbs sent straight to the store: a presigned PUT to a staging key, consumed by a commit.

A presigned URL can be used again until it expires, so what lies under a staging key is never read
from later: the commit reads it once, checks every chunk and writes a fresh object.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from app.contents import objects
from app.db.tables import StoredObject
from app.errors import ContentNotFound, LimitExceeded
from app.hub import Hub
from app.signing import SealBroken, seal, unseal
from app.store.contract import PresignedRequest
from app.xet.staging import store_xorb
from app.xet.xorb import XorbInvalid

READ_NBYTES = 4 << 20

_PURPOSE = "xet-grant"


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """A request that a client may make to the store, and the name to commit it by."""

    id: str
    request: PresignedRequest


def grant_upload(hub: Hub, account_id: int, digest: bytes, nbytes: int) -> UploadGrant:
    """Let an account send ``nbytes`` to the store. The store must be able to presign."""
    if not 0 < nbytes <= hub.settings.limits.xorb_nbytes:
        raise LimitExceeded(f"a xorb of {nbytes} bytes", setting="limits.xorb_nbytes")
    pending = objects.begin(hub, "xorb", staging=True)
    expires_s = hub.settings.timers.presign_s
    request = hub.store.presign_put(pending.key, nbytes=nbytes, expires_s=expires_s)
    claims = {"a": account_id, "o": pending.id, "d": digest.hex(), "n": nbytes}
    return UploadGrant(
        id=seal(hub.secret, _PURPOSE, claims, expires_s=2 * expires_s, now=hub.clock.now()),
        request=request,
    )


def commit_upload(hub: Hub, account_id: int, digest: bytes, grant_id: str) -> bool:
    """Take over what was sent under a grant; False if the account had the xorb already.

    Raises ContentNotFound if nothing (or not everything) was sent or the grant is none of ours, and
    what :func:`app.xet.staging.store_xorb` raises.
    """
    try:
        claims = unseal(hub.secret, _PURPOSE, grant_id, now=hub.clock.now())
    except SealBroken as error:
        raise ContentNotFound(f"upload grant: {error}") from None
    if claims["a"] != account_id or claims["d"] != digest.hex():
        raise ContentNotFound("upload grant: made for another upload")
    with hub.db.read() as session:
        staged = session.execute(
            select(StoredObject.key, StoredObject.state).where(StoredObject.id == claims["o"])
        ).one_or_none()
    stat = hub.store.stat(staged.key) if staged and staged.state == "pending" else None
    if staged is None or stat is None or stat.nbytes != claims["n"]:
        raise ContentNotFound("upload grant: no data was sent")
    inserted = _take_over(hub, account_id, digest, staged.key, stat.nbytes)
    objects.abandon(hub, objects.PendingObject(id=claims["o"], key=staged.key))
    return inserted


def _take_over(hub: Hub, account_id: int, digest: bytes, key: str, nbytes: int) -> bool:
    """Read again before the sender is told that his bytes are wrong: the wire may lie as well."""
    try:
        return store_xorb(hub, account_id, digest, _read(hub, key, nbytes))
    except XorbInvalid:
        return store_xorb(hub, account_id, digest, _read(hub, key, nbytes))


def _read(hub: Hub, key: str, nbytes: int) -> Iterator[bytes]:
    for start in range(0, nbytes, READ_NBYTES):
        yield hub.store.read(key, start, min(start + READ_NBYTES, nbytes))
