"""Restore plans: what a client needs to fetch stored bytes and rebuild a file for itself.

The format is described in ``docs/formats/restore-plan.md``. Stored bytes come from the object store
by presigned URL where it can, else from here by a sealed URL that opens one range of one object.
"""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import Caller, HubDep, RepoNameDep, Revision, base_url
from app.api.hf.resolve import find_file
from app.api.ranges import requested_range
from app.api.request_bodies import sends
from app.api.sending import StreamedBody
from app.contents.refs import EncodingRef
from app.digest import format_content_id
from app.errors import Forbidden
from app.hub import Hub
from app.mirror.following import fetched_id
from app.restore.homes import find_homes
from app.restore.plan import FilePlan, load_plan
from app.restore.stored import Bundles, Extent, ExtentReader, bundle
from app.signing import SealBroken, seal, unseal

router = APIRouter(tags=["storage"])

VERSION = 1
PURPOSE = "stored bytes"
OBJECTS = "/api/clade/objects"


@router.get(
    "/api/clade/{repo_type:repotype}/{namespace}/{name}/plan/{revision:quoted}/{path:quotedpath}"
)
def restore_plan(
    request: Request, hub: HubDep, caller: Caller, name: RepoNameDep, revision: Revision, path: str
) -> dict[str, Any]:
    """The restore plan of a file."""
    with hub.db.read() as session:
        found = find_file(session, caller, name, revision, path)
    plan = load_plan(hub, fetched_id(hub, found.repo_id, found.entry))
    with hub.db.read() as session:
        open_refs = _open_refs(session, caller, plan)
    bundles = bundle(plan, open_refs)
    expires_s = hub.settings.timers.presign_s
    return {
        "version": VERSION,
        "commit": found.commit,
        "sha256": plan.sha256.hex(),
        "nbytes": plan.nbytes,
        "expires_at": wire_date(hub.clock.now() + timedelta(seconds=expires_s)),
        **_contents(plan, bundles),
        "extents": [_extent(hub, base_url(request), extent) for extent in bundles.extents],
    }


@router.get(OBJECTS + "/{capability}", responses=sends(ranges=True), response_class=Response)
def stored_bytes(request: Request, hub: HubDep, capability: str) -> Response:
    """The bytes of one extent, or a range of them."""
    try:
        claims = unseal(hub.secret, PURPOSE, capability, now=hub.clock.now())
    except SealBroken as error:
        raise Forbidden(f"this URL opens nothing: {error}; ask for a new plan") from None
    nbytes = claims["stop"] - claims["start"]
    reader = ExtentReader(hub, claims["object"], claims["start"], claims["stop"])
    part = requested_range(request.headers, nbytes, "")
    start, stop = part or (0, nbytes)
    headers = {"content-type": "application/octet-stream", "accept-ranges": "bytes"}
    if part is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{nbytes}"
    return StreamedBody(reader, start, stop, status_code=206 if part else 200, headers=headers)


def _open_refs(session: Session, caller: Principal | None, plan: FilePlan) -> list[EncodingRef]:
    """Encodings that may be handed out, in file order, each base before its first delta.

    A delta comes only with its base, and a base only to who may read it in some repo: it may have
    turned private since, or live on for its deltas alone.
    """
    bases = {ref.base.content_id for ref in plan.refs.values() if ref.base is not None}
    visible = find_homes(session, caller, bases).keys()
    chosen: dict[int, EncodingRef] = {}
    for segment in plan.segments:
        ref = plan.refs[segment.content_id]
        if ref.base is not None:
            if ref.base.content_id not in visible or ref.base.base is not None:
                continue
            chosen.setdefault(ref.base.content_id, plan.refs.get(ref.base.content_id, ref.base))
        chosen.setdefault(ref.content_id, ref)
    return list(chosen.values())


def _contents(plan: FilePlan, bundles: Bundles) -> dict[str, Any]:
    """``segments`` and ``contents``: each content once, the bases after the file's own."""
    refs = {segment.content_id: plan.refs[segment.content_id] for segment in plan.segments}
    for ref in tuple(refs.values()):
        if ref.base is not None and ref.content_id in bundles.place_of:
            refs.setdefault(ref.base.content_id, ref.base)
    numbers = {content_id: number for number, content_id in enumerate(refs)}
    return {
        "segments": [[part.nbytes, numbers[part.content_id]] for part in plan.segments],
        "contents": [_content(ref, numbers, bundles) for ref in refs.values()],
    }


def _content(ref: EncodingRef, numbers: dict[int, int], bundles: Bundles) -> list[Any]:
    identity = [format_content_id(ref.digest), ref.nbytes]
    if ref.content_id not in bundles.place_of:
        return identity
    extent, offset = bundles.place_of[ref.content_id]
    base = None if ref.base is None else numbers[ref.base.content_id]
    return [*identity, ref.codec, base, extent, offset, ref.stored_nbytes]


def _extent(hub: Hub, base: str, extent: Extent) -> dict[str, Any]:
    expires_s = hub.settings.timers.presign_s
    nbytes = extent.stop - extent.start
    if hub.store.can_presign:
        signed = hub.store.presign_get(
            extent.key, start=extent.start, stop=extent.stop, expires_s=expires_s
        )
        return {"url": signed.url, "nbytes": nbytes, "headers": signed.headers}
    capability = seal(
        hub.secret,
        PURPOSE,
        {"object": extent.object_id, "start": extent.start, "stop": extent.stop},
        now=hub.clock.now(),
        expires_s=expires_s,
    )
    return {"url": f"{base}{OBJECTS}/{capability}", "nbytes": nbytes}
