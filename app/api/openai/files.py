"""``/v1/files`` as OpenAI's clients speak it: what fine-tuning jobs are trained on."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from app.accounts.tokens import Principal
from app.api.body import with_body
from app.api.deps import HubDep, SignedIn
from app.api.openai.form import FileForm
from app.api.openai.shape import OpenAiRoute, page, seconds
from app.api.pace import Pace
from app.api.request_bodies import sends, takes_bytes
from app.api.sending import StreamedBody
from app.db.tables import TuningFile
from app.errors import InvalidRequest
from app.hub import Hub
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.tuning.shelf import check_filename, delete_file, find_file, list_files, store_file

router = APIRouter(tags=["fine-tuning"], route_class=OpenAiRoute)

PURPOSE: Literal["fine-tune"] = "fine-tune"
MOST = 10_000


@router.post("/v1/files")
@takes_bytes("A form with `purpose` (`fine-tune`) and `file` (JSONL).", "multipart/form-data")
async def create_file(request: Request, hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """Upload a file to train on."""
    content_type = request.headers.get("content-type", "")
    return await with_body(
        request,
        lambda buffers: _store(hub, caller, content_type, buffers),
        pace=Pace.of(hub.settings),
    )


@router.get("/v1/files")
def files(
    hub: HubDep,
    caller: SignedIn,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = MOST,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The caller's files, newest first unless ``order`` says otherwise."""
    with hub.db.read() as session:
        found, has_more = list_files(
            session, caller, purpose=purpose, after=after, limit=limit, order=order
        )
    return page([file_object(row) for row in found], has_more=has_more)


@router.get("/v1/files/{file_name}")
def file(hub: HubDep, caller: SignedIn, file_name: str) -> dict[str, Any]:
    """One file."""
    with hub.db.read() as session:
        return file_object(find_file(session, caller, file_name))


@router.get("/v1/files/{file_name}/content", responses=sends(), response_class=Response)
def file_content(hub: HubDep, caller: SignedIn, file_name: str) -> Response:
    """A file's bytes, as they were sent."""
    with hub.db.read() as session:
        row = find_file(session, caller, file_name)
    return send_file(hub, row.file_id, row.nbytes, row.filename)


@router.delete("/v1/files/{file_name}")
def remove_file(hub: HubDep, caller: SignedIn, file_name: str) -> dict[str, Any]:
    """Delete a file; jobs that still need it fail, saying so."""
    delete_file(hub, caller, file_name)
    return {"id": file_name, "object": "file", "deleted": True}


def file_object(row: TuningFile) -> dict[str, Any]:
    """A file as the clients know it."""
    return {
        "id": row.name,
        "object": "file",
        "bytes": row.nbytes,
        "created_at": seconds(row.created_at),
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }


def send_file(hub: Hub, file_id: int, nbytes: int, filename: str) -> Response:
    """Bytes of the shelf, never shown by a browser as this site's."""
    headers = {
        "content-type": "application/octet-stream",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return StreamedBody(FileReader(hub, load_plan(hub, file_id)), 0, nbytes, headers=headers)


def _store(
    hub: Hub, caller: Principal, content_type: str, buffers: Iterator[bytes]
) -> dict[str, Any]:
    form = FileForm(
        content_type,
        buffers,
        max_nbytes=hub.settings.limits.tuning_file_nbytes,
        setting="limits.tuning_file_nbytes",
    )
    form.begin()
    check_filename(form.filename)

    def whole() -> Iterator[bytes]:
        """The file; whoever stores it stores nothing if the form turns out to be wrong."""
        _check_fields(form.fields)
        nbytes = 0
        for piece in form.file():
            nbytes += len(piece)
            yield piece
        if not nbytes:
            raise InvalidRequest("file: is empty")
        if "purpose" not in form.fields:
            raise InvalidRequest("purpose: is missing; it is fine-tune")
        _check_fields(form.fields)

    stored = store_file(hub, caller, whole(), filename=form.filename, purpose=PURPOSE)
    return file_object(stored)


def _check_fields(fields: dict[str, str]) -> None:
    for name, value in fields.items():
        if name != "purpose":
            raise InvalidRequest(f"{name}: is not known here; there are file and purpose")
        if value != PURPOSE:
            raise InvalidRequest(f"purpose: {value[:64]!a} is not served here, only {PURPOSE}")
