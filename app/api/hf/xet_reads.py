"""Xet downloads: the read token, how a file is put together, and the xorbs it is made of.

Source: hub-docs ``docs/xet/{api,auth,download-protocol}.md``. The X-Xet-Hash of a file is its
SHA-256: clients only hand it back, and compare it.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

import app.api.routing as _convertors  # noqa: F401  registers the path convertors
from app.api.deps import Caller, HubDep, RepoNameDep, Revision, base_url
from app.api.hf.xet import XET_LOGIN, token_response
from app.api.ranges import requested_range
from app.api.request_bodies import sends
from app.api.sending import StreamedBody
from app.errors import ContentNotFound, InvalidRequest, RangeNotSatisfiable, Unauthorized
from app.hub import Hub
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.xet.reading import (
    ReadableFile,
    find_readable_file,
    issue_read_token,
    seal_file,
    unseal_file,
)
from app.xet.virtual import VirtualTerm, VirtualXorb, terms_of, wire_nbytes, xorb_text

router = APIRouter(tags=["xet"])

CAS = "/cas/files"


@router.get("/api/{repo_type:repotype}/{namespace}/{name}/xet-read-token/{revision:quoted}")
def xet_read_token(
    request: Request, hub: HubDep, caller: Caller, repo_name: RepoNameDep, revision: Revision
) -> Response:
    """A token to read files of one repository with, and where from."""
    del revision  # the files of a repository are readable or not, whatever revision names them
    with hub.db.read() as session:
        repo = repo_name.find_open(session, caller)
    token, expires_at = issue_read_token(hub, repo.id, caller.token_id if caller else 0)
    return token_response(token, expires_at, base_url(request) + CAS)


@router.get(CAS + "/v2/reconstructions/{digest}", openapi_extra=XET_LOGIN)
def reconstruction_v2(request: Request, hub: HubDep, digest: str) -> Response:
    """The terms of a file, or of a range of it, and a URL for each xorb."""
    file = _readable(request, hub, digest)
    skipped, terms = _terms(request, file)
    urls = _urls(request, hub, file, terms)
    xorbs = {
        name: [{"url": url, "ranges": [{"chunks": _chunks(term), "bytes": _bytes(term)}]}]
        for name, url, term in urls
    }
    return _answer(file, skipped, terms, {"xorbs": xorbs})


@router.get(CAS + "/v1/reconstructions/{digest}", openapi_extra=XET_LOGIN)
def reconstruction_v1(request: Request, hub: HubDep, digest: str) -> Response:
    """The same in the words of older clients."""
    file = _readable(request, hub, digest)
    skipped, terms = _terms(request, file)
    fetches = {
        name: [{"url": url, "range": _chunks(term), "url_range": _bytes(term)}]
        for name, url, term in _urls(request, hub, file, terms)
    }
    return _answer(file, skipped, terms, {"fetch_info": fetches})


@router.get(
    CAS + "/v1/xorbs/{sealed}/{index}", responses=sends(ranges=True), response_class=Response
)
def xorb(request: Request, hub: HubDep, sealed: str, index: int) -> Response:
    """Chunks of a file; the URL alone is the permission, for a while."""
    file_id, nbytes = unseal_file(hub, sealed)
    whole = wire_nbytes(nbytes, index) if index >= 0 else 0
    if whole == 0:
        raise ContentNotFound("the file has no such part")
    part = requested_range(request.headers, whole, "")
    start, stop = part or (0, whole)
    headers = {"accept-ranges": "bytes", "content-type": "application/octet-stream"}
    if part is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{whole}"
    parts = VirtualXorb(FileReader(hub, load_plan(hub, file_id)), nbytes, index)
    return StreamedBody(parts, start, stop, status_code=206 if part else 200, headers=headers)


def _readable(request: Request, hub: Hub, digest: str) -> ReadableFile:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("a Xet token is needed; ask for one at xet-read-token")
    try:
        sha256 = bytes.fromhex(digest)
    except ValueError:
        raise InvalidRequest("not a file id") from None
    return find_readable_file(hub, token.strip(), sha256)


def _terms(request: Request, file: ReadableFile) -> tuple[int, list[VirtualTerm]]:
    if file.nbytes == 0 and "range" in request.headers:
        raise RangeNotSatisfiable("the file is empty", size=0)
    start, stop = requested_range(request.headers, file.nbytes, "") or (0, file.nbytes)
    return terms_of(file.nbytes, start, stop)


def _urls(
    request: Request, hub: Hub, file: ReadableFile, terms: list[VirtualTerm]
) -> list[tuple[str, str, VirtualTerm]]:
    base = f"{base_url(request)}{CAS}/v1/xorbs/{seal_file(hub, file)}"
    return [(xorb_text(file.sha256, term.index), f"{base}/{term.index}", term) for term in terms]


def _answer(
    file: ReadableFile, skipped: int, terms: list[VirtualTerm], fetches: dict[str, Any]
) -> Response:
    described = [
        {
            "hash": xorb_text(file.sha256, term.index),
            "unpacked_length": term.nbytes,
            "range": _chunks(term),
        }
        for term in terms
    ]
    return JSONResponse(
        {"offset_into_first_range": skipped, "terms": described, **fetches},
        headers={"cache-control": "no-store"},
    )


def _chunks(term: VirtualTerm) -> dict[str, int]:
    return {"start": term.first, "end": term.last}


def _bytes(term: VirtualTerm) -> dict[str, int]:
    """As the Range header counts: the end is the last byte."""
    start, stop = term.wire_range
    return {"start": start, "end": stop - 1}
