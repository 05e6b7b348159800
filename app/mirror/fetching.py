"""The job that brings an awaited file here: in parts, from where it broke off, checked, ingested.

Each part is durable before the next is asked for, so a kill at any moment costs one part. Those who
wait read the parts (:mod:`app.mirror.following`), the last byte only once the SHA-256 of the whole
is the announced one. The file then goes through the same ingest as an upload.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import structlog
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from app.catalog.claims import claim_shown, drop_upload_leases
from app.catalog.cuts import hold_history
from app.catalog.owing import owe_jobs
from app.contents.ahead import in_order
from app.db.tables import Account, AwaitedFile, Repo, TreeEntry
from app.errors import ContentNotFound, HubError, UpstreamDown, UpstreamLied, UpstreamSlow
from app.hub import Hub
from app.ingest.stream import ingest_stream
from app.jobs.context import JobContext, JobStopped
from app.jobs.lease import JobLost
from app.mirror.demand import check_fetchable, note_fault
from app.mirror.door import Door
from app.mirror.parts import Part, contiguous_stop, drop_parts, load_parts, store_part
from app.mirror.upstream import RepoAddress, Upstream

READ_NBYTES = 4 << 20
FIRST_NBYTES = 1 << 20
"""The first part is small, so that the first byte is served soon; each next one doubles."""

FRUIT_NBYTES = 64 << 10
FRUITLESS = 3
"""Attempts in a row that bring less than that, after which a job gives up for now."""

log = structlog.get_logger(__name__)


def fetch_job(context: JobContext) -> None:
    """Handler of ``fetch`` jobs: payload ``repo_id``, ``oid``. Idempotent."""
    repo_id, oid = int(context.payload["repo_id"]), str(context.payload["oid"])
    try:
        _Fetch(context, repo_id, oid).run()
    except (JobLost, JobStopped):
        raise
    except ContentNotFound:
        return  # deleted, or here, meanwhile
    except HubError as error:
        final = not error.transient or isinstance(error, UpstreamLied)
        log.warning("mirror.fetch_failed", repo=repo_id, oid=oid, fault=error.message)
        _give_up(context.hub, repo_id, oid, error)
        if not final:
            raise


def link_file(session: Session, hub: Hub, repo: Repo, oid: str, file_id: int) -> None:
    """Let every tree of a repo that awaits a file have it; its parts go."""
    hold_history(session, repo.id)
    awaited = session.get(AwaitedFile, (repo.id, oid), with_for_update=True)
    session.execute(
        update(TreeEntry)
        .where(TreeEntry.repo_id == repo.id, TreeEntry.oid == oid, TreeEntry.file_id.is_(None))
        .values(file_id=file_id)
        .execution_options(synchronize_session=False)
    )
    drop_upload_leases(session, [file_id])
    owe_jobs(session, hub, repo, [file_id])
    if awaited is not None:
        drop_parts(session, hub, awaited)
        mine = (AwaitedFile.repo_id == repo.id, AwaitedFile.oid == oid)
        session.execute(delete(AwaitedFile).where(*mine))


def _give_up(hub: Hub, repo_id: int, oid: str, error: HubError) -> None:
    def work(session: Session) -> None:
        awaited = session.get(AwaitedFile, (repo_id, oid), with_for_update=True)
        if awaited is not None:
            note_fault(session, hub, awaited, error)
            if isinstance(error, UpstreamLied):
                drop_parts(session, hub, awaited)

    hub.db.run(work)


class _Fetch:
    """One attempt at one file."""

    def __init__(self, context: JobContext, repo_id: int, oid: str) -> None:
        self._context = context
        self._hub = context.hub
        self._repo_id, self._oid = repo_id, oid
        with self._hub.db.read() as session:
            awaited = session.get(AwaitedFile, (repo_id, oid))
            repo = session.get(Repo, repo_id)
            if awaited is None or repo is None:
                raise ContentNotFound("the file is awaited no more")
            owner = session.get_one(Account, repo.namespace_id).name
        self._repo = repo
        self._address = RepoAddress(repo.type, owner, repo.name)  # pyright: ignore[reportArgumentType]
        self._sha256, self._nbytes = awaited.sha256, awaited.nbytes
        self._digest = hashlib.sha256()
        self._hashed_nbytes = 0

    def run(self) -> None:
        """Bring the file here. Raises ContentNotFound, what the upstream does, JobLost."""
        if self._link_present():
            return
        check_fetchable(self._hub, self._nbytes)
        self._hash_present()
        if self._hashed_nbytes < self._nbytes:
            with closing(Door(self._hub.settings)) as door:
                self._fetch_rest(Upstream(door, ""))
        if self._digest.digest() != self._sha256:
            raise UpstreamLied(
                f"the upstream was asked for the file of sha256 {self._sha256.hex()} and sent"
                f" another, {self._digest.hexdigest()}"
            )
        self._hub.db.run(self._mark_verified)
        self._context.check()
        self._ingest()

    def _link_present(self) -> bool:
        """Whether the bytes are here already: fetched before, or public in another repo."""

        def work(session: Session) -> bool:
            files = claim_shown(session, self._repo, {self._sha256: self._nbytes}, [])
            for file in files.by_sha256.values():
                link_file(session, self._hub, self._repo, self._oid, file.id)
            return bool(files.by_sha256)

        return self._hub.db.run(work)

    def _parts(self) -> list[Part]:
        with self._hub.db.read() as session:
            return load_parts(session, self._repo_id, self._oid)

    def _hash_present(self) -> None:
        """Take in what former attempts brought."""
        for buffer in self._read_parts(self._parts()):
            self._digest.update(buffer)
            self._hashed_nbytes += len(buffer)

    def _fetch_rest(self, upstream: Upstream) -> None:
        fruitless = 0
        while (start := self._hashed_nbytes) < self._nbytes:
            fault: HubError = UpstreamDown("the upstream sends nothing")
            try:
                self._fetch_from(upstream, start)
            except UpstreamSlow:
                raise
            except UpstreamDown as error:
                fault = error
            if self._hashed_nbytes >= min(self._nbytes, start + FRUIT_NBYTES):
                fruitless = 0
                continue
            fruitless += 1
            if fruitless == FRUITLESS:
                raise fault
            time.sleep(0.2 * fruitless)

    def _fetch_from(self, upstream: Upstream, start: int) -> None:
        """Store what one request brings, part by part."""
        settings = self._hub.settings.mirror
        opened = upstream.open_object(self._address, self._sha256, self._nbytes, start)
        with opened as chunks:
            cutter = _PartCutter(chunks, settings.part_nbytes, settings.part_s)
            while not cutter.ended:
                self._context.check()
                self._store_next(cutter)
            if cutter.fault is not None:
                raise cutter.fault

    def _store_next(self, cutter: "_PartCutter") -> None:
        digest = self._digest.copy()

        def hashed() -> Iterator[bytes]:
            for chunk in cutter.part():
                digest.update(chunk)
                yield chunk

        start = self._hashed_nbytes
        part = store_part(self._hub, self._repo_id, self._oid, start, hashed())
        if part is not None:
            self._digest, self._hashed_nbytes = digest, part.stop
            self._context.progress(part.stop, self._nbytes)

    def _mark_verified(self, session: Session) -> None:
        awaited = session.get(AwaitedFile, (self._repo_id, self._oid), with_for_update=True)
        if awaited is None:
            raise ContentNotFound("the file is awaited no more")
        awaited.verified = True

    def _ingest(self) -> None:
        """Store the file as every other is, from its parts, and let the trees have it."""
        stored = ingest_stream(
            self._hub,
            self._read_parts(self._parts()),
            nbytes=self._nbytes,
            sha256=self._sha256,
            repo_id=self._repo_id,
        )
        self._hub.db.run(
            lambda session: link_file(session, self._hub, self._repo, self._oid, stored.file_id)
        )

    def _read_parts(self, parts: list[Part]) -> Iterator[bytes]:
        """The bytes that are here without a gap, read ahead."""
        with (
            ThreadPoolExecutor(1, thread_name_prefix="mirror-parts") as executor,
            closing(in_order(executor, self._reads(parts), ahead=1)) as buffers,
        ):
            for buffer in buffers:
                self._context.check()
                yield buffer

    def _reads(self, parts: list[Part]) -> Iterator[partial[bytes]]:
        at, stop = 0, contiguous_stop(parts, 0)
        for part in parts:
            while part.start <= at < min(stop, part.stop):
                end = min(at + READ_NBYTES, part.stop)
                yield partial(self._hub.store.read, part.key, at - part.start, end - part.start)
                at = end


class _PartCutter:
    """Cuts a stream into parts by size and by time; what came before a break is a part as well."""

    def __init__(self, chunks: Iterator[bytes], most_nbytes: int, most_s: float) -> None:
        self._chunks = chunks
        self._most_nbytes = most_nbytes
        self._next_nbytes = min(FIRST_NBYTES, most_nbytes)
        self._most_s = most_s
        self._held = b""
        self.ended = False
        self.fault: HubError | None = None

    def part(self) -> Iterator[bytes]:
        """The chunks of the next part."""
        room = self._next_nbytes
        self._next_nbytes = min(2 * room, self._most_nbytes)
        began = time.monotonic()
        while room and not self.ended and time.monotonic() - began < self._most_s:
            chunk = self._held or self._next()
            self._held = chunk[room:]
            chunk = chunk[:room]
            room -= len(chunk)
            if chunk:
                yield chunk

    def _next(self) -> bytes:
        try:
            chunk = next(self._chunks, None)
        except UpstreamDown as error:
            self.fault = error
            chunk = None
        self.ended = chunk is None
        return chunk or b""
