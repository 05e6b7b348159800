"""The batch question of git-lfs: which objects must be sent, and by which links.

"Already here" is said only of files that the caller possesses: granted to this repository, or
readable by him in some other. Whatever else the hub stores is answered exactly like what it never
saw, by the same statements, so the answer tells nothing about other people's files.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.permissions import can_write, possessed_file_clause
from app.accounts.quotas import check_room
from app.accounts.tokens import Principal
from app.catalog.shown import find_shown
from app.contents.soundness import sound_file_clause
from app.db.tables import File, Lease, LfsUpload, Repo
from app.hub import Hub
from app.lfs import capability
from app.lfs.capability import Capability

BATCH = 500
"""Digests per IN list."""

MAX_PARTS = 10_000

_OID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WantedObject:
    """An object of a batch request as it was sent."""

    oid: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class ObjectAnswer:
    """What to do about one object; all empty: nothing, it is here."""

    wanted: WantedObject
    error: tuple[int, str] | None = None
    """Code and message of git-lfs."""
    link: str | None = None
    """Sealed capability to upload or download; for a multipart upload, to complete it."""
    verify_link: str | None = None
    part_nbytes: int = 0
    """Not 0: a multipart upload in parts of this size."""
    parts: int = 0


@dataclass(frozen=True, slots=True)
class UploadBatch:
    """Answers in the order of the questions."""

    multipart: bool
    """Whether all uploads go in parts; git-lfs picks one way per batch."""
    answers: list[ObjectAnswer]


def plan_uploads(
    hub: Hub,
    principal: Principal,
    repo: Repo,
    wanted: Sequence[WantedObject],
    *,
    can_multipart: bool,
) -> UploadBatch:
    """Answer an upload batch. What is called present is leased, so that a commit can follow.

    Raises QuotaExceeded if what is missing would be too much.
    """
    faults = {each: _fault(hub, each) for each in wanted}
    digests = sorted({bytes.fromhex(each.oid) for each, fault in faults.items() if fault is None})
    sizes = hub.db.run(lambda session: _lease_possessed(session, hub, principal, repo, digests))
    missing = [
        each
        for each, fault in faults.items()
        if fault is None and bytes.fromhex(each.oid) not in sizes
    ]
    multipart = can_multipart and any(
        each.nbytes > hub.settings.limits.lfs_multipart_nbytes for each in missing
    )
    links = hub.db.run(
        lambda session: _admit(session, hub, principal, repo, missing, multipart=multipart)
    )
    return UploadBatch(
        multipart=multipart,
        answers=[
            links.get(each) or _present_or_wrong(each, faults[each], sizes) for each in wanted
        ],
    )


def _admit(
    session: Session,
    hub: Hub,
    principal: Principal,
    repo: Repo,
    missing: Sequence[WantedObject],
    *,
    multipart: bool,
) -> dict[WantedObject, ObjectAnswer]:
    """Links for what is to be uploaded, if there is room for it."""
    check_room(
        session,
        hub,
        repo,
        nbytes=sum(each.nbytes for each in missing),
        files=len(missing),
        proposer=None if can_write(session, principal, repo) else principal.account_id,
    )
    return {
        each: _upload_links(session, hub, principal, repo, each, multipart=multipart)
        for each in missing
    }


def plan_downloads(
    hub: Hub, principal: Principal | None, repo: Repo, wanted: Sequence[WantedObject]
) -> list[ObjectAnswer]:
    """Answer a download batch: links to what commits of this repository show."""
    faults = {each: _fault(hub, each) for each in wanted}
    digests = sorted({bytes.fromhex(each.oid) for each, fault in faults.items() if fault is None})
    with hub.db.read() as session:
        shown = find_shown(session, repo.id, digests)
    answers: list[ObjectAnswer] = []
    for each in wanted:
        fault = faults[each]
        found = None if fault else shown.get(bytes.fromhex(each.oid))
        if fault is not None or found is None:
            answers.append(ObjectAnswer(each, error=fault or (404, "Object does not exist")))
            continue
        leave = Capability(
            action="GET",
            repo_id=repo.id,
            account_id=principal.account_id if principal else 0,
            sha256=bytes.fromhex(each.oid),
            nbytes=found.nbytes,
            token_id=principal.token_id if principal else 0,
        )
        link = capability.issue(hub, leave, expires_s=hub.settings.timers.upload_url_s)
        answers.append(ObjectAnswer(WantedObject(each.oid, found.nbytes), link=link))
    return answers


def _fault(hub: Hub, wanted: WantedObject) -> tuple[int, str] | None:
    if not _OID.fullmatch(wanted.oid):
        return 422, "oid must be a sha256 in lower-case hex"
    if not 0 <= wanted.nbytes <= hub.settings.limits.file_nbytes:
        return 422, "size is out of bounds (limit: limits.file_nbytes)"
    return None


def _present_or_wrong(
    wanted: WantedObject, fault: tuple[int, str] | None, sizes: dict[bytes, int]
) -> ObjectAnswer:
    if fault is None and sizes[bytes.fromhex(wanted.oid)] != wanted.nbytes:
        fault = 422, f"the object has {sizes[bytes.fromhex(wanted.oid)]} bytes"
    return ObjectAnswer(wanted, error=fault)


def _lease_possessed(
    session: Session, hub: Hub, principal: Principal, repo: Repo, digests: list[bytes]
) -> dict[bytes, int]:
    """Sizes of those files that the caller possesses, whole and sound; each is leased."""
    expires_at = hub.clock.now() + timedelta(seconds=hub.settings.timers.lease_s)
    owner = f"upload:{uuid.uuid4()}"
    sizes: dict[bytes, int] = {}
    for start in range(0, len(digests), BATCH):
        named = File.sha256.in_(digests[start : start + BATCH])
        ids = session.scalars(
            select(File.id).where(named, possessed_file_clause(session, principal, repo))
        ).all()
        # Lock in one statement, look in the next: garbage collection does the same from its side.
        locked = select(File.id).where(File.id.in_(ids)).order_by(File.id).with_for_update()
        session.execute(locked)
        found = session.execute(
            select(File.id, File.sha256, File.size).where(File.id.in_(ids), sound_file_clause())
        ).all()
        sizes.update({row.sha256: row.size for row in found})
        session.add_all(Lease(file_id=row.id, owner=owner, expires_at=expires_at) for row in found)
    return sizes


def _upload_links(
    session: Session,
    hub: Hub,
    principal: Principal,
    repo: Repo,
    wanted: WantedObject,
    *,
    multipart: bool,
) -> ObjectAnswer:
    timers = hub.settings.timers
    proposes = not can_write(session, principal, repo)
    sha256 = bytes.fromhex(wanted.oid)

    def link(action: capability.Action, expires_s: float, upload_id: str = "") -> str:
        leave = Capability(
            action=action,
            repo_id=repo.id,
            account_id=principal.account_id,
            sha256=sha256,
            nbytes=wanted.nbytes,
            upload_id=upload_id,
            proposes=proposes,
            token_id=principal.token_id,
        )
        return capability.issue(hub, leave, expires_s=expires_s)

    if not multipart:
        return ObjectAnswer(
            wanted,
            link=link("PUT", timers.upload_url_s),
            # Sent after the upload, however long that took.
            verify_link=link("VERIFY", timers.upload_url_s + timers.lease_s),
        )
    part_nbytes = max(hub.settings.limits.lfs_part_nbytes, ceil(wanted.nbytes / MAX_PARTS))
    upload = LfsUpload(
        id=str(uuid.uuid4()),
        repo_id=repo.id,
        account_id=principal.account_id,
        sha256=sha256,
        size=wanted.nbytes,
        part_nbytes=part_nbytes,
        expires_at=hub.clock.now() + timedelta(seconds=timers.lease_s),
    )
    session.add(upload)
    return ObjectAnswer(
        wanted,
        link=link("PARTS", timers.lease_s, upload.id),
        verify_link=link("VERIFY", timers.upload_url_s + timers.lease_s),
        part_nbytes=part_nbytes,
        parts=ceil(wanted.nbytes / part_nbytes),
    )
