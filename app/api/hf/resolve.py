"""Files by path at a revision: rebuilt while they are sent, with ranges and validators.

Bytes of a repository are never run in a browser as this site's: attachments, no sniffing, and a
policy that forbids everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.accounts.tokens import Principal
from app.api.deps import AskerDep, RepoName, RepoNameDep, Revision, base_url
from app.api.hf.media_types import media_type_of
from app.api.ranges import is_unchanged, requested_range
from app.api.request_bodies import sends
from app.api.sending import StreamedBody
from app.catalog.git_objects import lfs_pointer
from app.catalog.listing import Entry, find_entry
from app.catalog.refs import resolve_revision
from app.contents.refs import EncodingRef, load_file_parts
from app.errors import EntryNotFound
from app.hub import Hub
from app.mirror.following import open_file
from app.restore.bulk import join_parts
from app.restore.downloads import DownloadCounter

router = APIRouter(tags=["files"])

SMALL_NBYTES = 256 << 10
"""Files up to this size are read as a whole and sent at once: a stream costs more than that."""

POLICY = "default-src 'none'; sandbox"
Parts = Sequence[EncodingRef | None]

ADDRESS = "/{repo_type:typeprefix}{namespace}/{name}"


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a revision holds."""

    repo_id: int
    commit: str
    entry: Entry

    @property
    def etag(self) -> str:
        """SHA-256 of an LFS file, git blob id of another: what the clients name blobs by."""
        return f'"{self.sha256 if self.entry.is_lfs else self.entry.oid}"'

    @property
    def sha256(self) -> str:
        """Of the file's bytes."""
        assert self.entry.sha256 is not None
        return self.entry.sha256.hex()


@router.get(
    ADDRESS + "/resolve/{revision:quoted}/{path:quotedpath}",
    responses=sends("*/*", ranges=True, unchanged=True),
    response_class=Response,
)
@router.head(ADDRESS + "/resolve/{revision:quoted}/{path:quotedpath}", include_in_schema=False)
def resolve(
    request: Request, asker: AskerDep, name: RepoNameDep, revision: Revision, path: str
) -> Response:
    """The bytes of a file."""
    with asker.hub.db.look() as session:
        found = find_file(session, asker.principal(session), name, revision, path)
        parts = _parts(session, request, found)
    if request.method == "GET" and "x-hf-download-counter" in request.headers:
        downloads: DownloadCounter = request.app.state.downloads
        downloads.note(found.repo_id, request.client.host if request.client else "")
    headers = _headers(found, "attachment")
    if found.entry.is_lfs and not found.entry.is_awaited:
        headers |= _xet_headers(request, name, found)
    return _send(asker.hub, request, found, parts, headers)


@router.get(
    ADDRESS + "/raw/{revision:quoted}/{path:quotedpath}",
    responses=sends("text/plain", ranges=True, unchanged=True),
    response_class=Response,
)
@router.head(ADDRESS + "/raw/{revision:quoted}/{path:quotedpath}", include_in_schema=False)
def raw(
    request: Request, asker: AskerDep, name: RepoNameDep, revision: Revision, path: str
) -> Response:
    """A file as git stores it: the pointer in place of an LFS file."""
    with asker.hub.db.look() as session:
        found = find_file(session, asker.principal(session), name, revision, path)
        parts = None if found.entry.is_lfs else _parts(session, request, found)
    headers = _headers(found, "inline") | {"content-type": "text/plain; charset=utf-8"}
    if not found.entry.is_lfs:
        return _send(asker.hub, request, found, parts, headers)
    assert found.entry.sha256 is not None
    headers["etag"] = f'"{found.entry.oid}"'
    pointer = lfs_pointer(found.entry.sha256, found.entry.nbytes)
    headers["content-length"] = str(len(pointer))
    return Response(b"" if request.method == "HEAD" else pointer, headers=headers)


def find_file(
    session: Session, caller: Principal | None, name: RepoName, revision: str, path: str
) -> Found:
    """The file at a path. Raises RepoNotFound, GatedRepo, RevisionNotFound or EntryNotFound."""
    repo = name.find_open(session, caller)
    commit = resolve_revision(session, repo, revision)
    entry = find_entry(session, repo.id, commit.tree_oid, path)
    if entry is None or entry.is_directory:
        raise EntryNotFound(f"{path} does not exist on this revision", commit=commit.oid)
    return Found(repo.id, commit.oid, entry)


def _parts(session: Session, request: Request, found: Found) -> Parts | None:
    """Where the bytes of a small file lie, if they are to be sent."""
    entry = found.entry
    is_sent = request.method == "GET" and not is_unchanged(request.headers, found.etag)
    if entry.file_id is None or entry.nbytes > SMALL_NBYTES or not is_sent:
        return None
    return load_file_parts(session, entry.file_id)


def _send(
    hub: Hub, request: Request, found: Found, parts: Parts | None, headers: dict[str, str]
) -> Response:
    if is_unchanged(request.headers, found.etag):
        return Response(status_code=304, headers=headers)
    nbytes = found.entry.nbytes
    if request.method == "HEAD":
        return Response(headers={**headers, "content-length": str(nbytes)})
    part = requested_range(request.headers, nbytes, found.etag)
    start, stop = part or (0, nbytes)
    if part is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{nbytes}"
    if parts is not None:
        data = join_parts(hub, parts, nbytes)
        return Response(data[start:stop], status_code=206 if part else 200, headers=headers)
    reader = open_file(hub, found.repo_id, found.entry)
    return StreamedBody(reader, start, stop, status_code=206 if part else 200, headers=headers)


def _xet_headers(request: Request, name: RepoName, found: Found) -> dict[str, str]:
    """What tells clients with Xet to fetch the file in parts; others do not look."""
    repo = f"{name.repo_type}s/{name.namespace}/{name.name}"
    url = f"{base_url(request)}/api/{repo}/xet-read-token/{found.commit}"
    return {"x-xet-hash": found.sha256, "link": f'<{url}>; rel="xet-auth"'}


def _headers(found: Found, disposition: str) -> dict[str, str]:
    # Saved by a browser it must stay one name, on Windows too.
    file_name = quote(found.entry.name.replace("\\", "_"), safe="")
    headers = {
        "x-repo-commit": found.commit,
        "etag": found.etag,
        "accept-ranges": "bytes",
        "content-type": media_type_of(found.entry.name),
        "content-disposition": f"{disposition}; filename*=UTF-8''{file_name}",
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "access-control-expose-headers": "X-Repo-Commit, ETag, X-Linked-ETag, X-Linked-Size",
    }
    if found.entry.is_lfs:
        headers["x-linked-etag"] = found.etag
        headers["x-linked-size"] = str(found.entry.nbytes)
    return headers
