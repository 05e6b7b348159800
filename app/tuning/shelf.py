"""Files of ``/v1/files``: an owner's private dataset ``fine-tuning`` holds their bytes.

So they are stored, counted, deduplicated and collected as all bytes are; the dataset itself shows
none of them. Who may read it may read them, with the owner's tokens.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal, get_args

from sqlalchemy import Select, delete, exists, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.permissions import can_read, can_write
from app.accounts.tokens import Principal
from app.accounts.usage import mark_stale
from app.catalog.naming import repo_key
from app.db.tables import File, FileGrant, Repo, TuningCheckpoint, TuningFile
from app.errors import Conflict, ContentNotFound, Forbidden, InvalidRequest, Unavailable
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.stream import ingest_stream
from app.tuning.naming import is_name, new_name

SHELF = "fine-tuning"
MAX_FILENAME_NBYTES = 255

Purpose = Literal["fine-tune", "fine-tune-results"]
Order = Literal["asc", "desc"]


def have_shelf(hub: Hub, caller: Principal) -> int:
    """Id of the caller's shelf, made if there is none. Raises Forbidden."""
    found = _find_shelf(hub, caller)
    if found is None:
        with suppress(Conflict):  # somebody else made it
            create_repo(hub, caller, "dataset", caller.name, SHELF, private=True)
        found = _find_shelf(hub, caller)
    if found is None:
        raise Conflict(f"the dataset {caller.name}/{SHELF} was deleted meanwhile; try again")
    return found


def _find_shelf(hub: Hub, caller: Principal) -> int | None:
    with hub.db.read() as session:
        repo = session.scalar(
            select(Repo).where(Repo.key == repo_key("dataset", caller.name, SHELF))
        )
        if repo is not None and not can_write(session, caller, repo):
            raise Forbidden(f"this token may not write to the dataset {caller.name}/{SHELF}")
    return None if repo is None else repo.id


def store_file(
    hub: Hub, caller: Principal, chunks: Iterable[bytes], *, filename: str, purpose: Purpose
) -> TuningFile:
    """Store a file; durable, and listed, when this returns.

    Raises Forbidden, QuotaExceeded, InvalidRequest for a name that no file has, and what ``chunks``
    raise.
    """
    repo_id = have_shelf(hub, caller)
    return put_on_shelf(
        hub, chunks, owner_id=caller.account_id, repo_id=repo_id, filename=filename, purpose=purpose
    )


def put_on_shelf(
    hub: Hub,
    chunks: Iterable[bytes],
    *,
    owner_id: int,
    repo_id: int,
    filename: str,
    purpose: Purpose,
) -> TuningFile:
    """The same on a shelf that is known, without asking who wants it."""
    check_filename(filename)
    stored = ingest_stream(hub, chunks, nbytes=None, sha256=None, repo_id=repo_id)

    def work(session: Session) -> TuningFile:
        check_here(session, stored.file_id)
        row = TuningFile(
            name=new_name("file"),
            owner_id=owner_id,
            repo_id=repo_id,
            file_id=stored.file_id,
            filename=filename,
            purpose=purpose,
            nbytes=stored.nbytes,
            created_at=hub.clock.now(),
        )
        session.add(row)
        session.flush()
        return row

    return hub.db.run(work)


def check_here(session: Session, file_id: int) -> None:
    """Lock a file that a row is about to keep, and look at it in the next statement (rule W5).

    Raises Unavailable if the collector was faster.
    """
    session.execute(select(File.id).where(File.id == file_id).with_for_update(read=True))
    is_live = select(File.id).where(File.id == file_id, File.state == "live")
    if session.scalar(is_live) is None:
        raise Unavailable("the bytes were collected meanwhile; send them again")


def check_filename(filename: str) -> None:
    """Raise InvalidRequest for a name that is none."""
    is_sound = filename.isprintable() and 0 < len(filename.encode()) <= MAX_FILENAME_NBYTES
    if not is_sound or filename in {".", ".."} or "/" in filename or "\\" in filename:
        raise InvalidRequest(
            f"file: a name has 1 to {MAX_FILENAME_NBYTES} bytes, all printable, and no slashes"
        )


def find_file(session: Session, caller: Principal, name: str) -> TuningFile:
    """A file of the caller's. Raises ContentNotFound."""
    known = select(TuningFile).where(TuningFile.name == name)
    row = session.scalar(known) if is_name(name, "file") else None
    if row is None or not (caller.is_admin or row.owner_id == caller.account_id):
        raise ContentNotFound(f"No such File object: {name[:64]!a}")
    if not can_read(session, caller, session.get_one(Repo, row.repo_id)):
        raise ContentNotFound(f"No such File object: {name[:64]!a}")
    return row


def list_files(
    session: Session,
    caller: Principal,
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    order: Order,
) -> tuple[list[TuningFile], bool]:
    """A page of the caller's files, and whether more follow. Raises InvalidRequest."""
    if purpose not in {None, *get_args(Purpose)}:
        return [], False
    query = _files_of(caller, purpose)
    if after is not None:
        last = _last(session, caller, after)
        query = query.where(TuningFile.id < last if order == "desc" else TuningFile.id > last)
    query = query.order_by(TuningFile.id.desc() if order == "desc" else TuningFile.id)
    rows = list(session.scalars(query.limit(limit + 1)))
    return rows[:limit], len(rows) > limit


def _last(session: Session, caller: Principal, name: str) -> int:
    """Id of the last file of the page before."""
    try:
        return find_file(session, caller, name).id
    except ContentNotFound as error:
        raise InvalidRequest(f"after: {error.message}") from None


def _files_of(caller: Principal, purpose: str | None) -> Select[TuningFile]:
    query = (
        select(TuningFile)
        .join(Repo, Repo.id == TuningFile.repo_id)
        .where(TuningFile.owner_id == caller.account_id)
    )
    if caller.scope is not None:
        seen = Repo.id.in_(caller.single_repos) | Repo.namespace_id.in_(caller.namespaces)
        query = query.where(seen)
    return query if purpose is None else query.where(TuningFile.purpose == purpose)


def delete_file(hub: Hub, caller: Principal, name: str) -> None:
    """Forget a file; its bytes go with the next collections. Raises ContentNotFound, Forbidden."""

    def work(session: Session) -> None:
        row = find_file(session, caller, name)
        if not can_write(session, caller, session.get_one(Repo, row.repo_id)):
            raise Forbidden("this token may only read")
        session.delete(row)
        session.flush()
        release(session, row.repo_id, row.file_id)
        note(session, hub, "tuning.delete_file", name, row.filename)

    hub.db.run(work)


def release(session: Session, repo_id: int, file_id: int) -> None:
    """A row that held a file on a shelf went: without another one it is not counted any more."""
    held = session.scalar(
        select(
            exists().where(TuningFile.repo_id == repo_id, TuningFile.file_id == file_id)
            | exists().where(TuningCheckpoint.file_id == file_id)
        )
    )
    if held:
        return
    session.execute(
        delete(FileGrant).where(FileGrant.repo_id == repo_id, FileGrant.file_id == file_id)
    )
    mark_stale(session, [repo_id])
