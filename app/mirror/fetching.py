"""The job that brings an awaited file here: in parts, from where it broke off, checked, ingested.

Parts come over several connections, first those that somebody reads, and each is durable before it
counts, so a kill at any moment costs no more than what was on the wire. Those who wait read the
parts (:mod:`app.mirror.following`). The file is hashed in order as its parts allow; seen to have
the announced SHA-256, it goes through the same ingest as an upload.
"""

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.accounts.usage import count_entering
from app.catalog.claims import claim_shown, drop_upload_leases
from app.catalog.cuts import hold_history
from app.catalog.owing import owe_jobs
from app.catalog.scanning import pickles_among
from app.contents.ahead import in_order
from app.db import after_commit
from app.db.tables import Account, AwaitedFile, AwaitedRange, Repo, TreeEntry
from app.errors import ContentNotFound, Damaged, HubError, Unavailable, UpstreamLied
from app.hub import Hub
from app.ingest.stream import ingest_stream
from app.jobs.context import JobContext, JobStopped
from app.jobs.lease import JobLost
from app.mirror import arrivals
from app.mirror.demand import Wanted, check_fetchable, note_fault
from app.mirror.door import Door
from app.mirror.lines import Lines
from app.mirror.order import FetchOrder
from app.mirror.parts import (
    READ_NBYTES,
    Part,
    PartTaken,
    drop_parts,
    drop_rotten,
    load_parts,
    store_part,
)
from app.mirror.remote_object import RemoteObject
from app.mirror.upstream import RepoAddress, Upstream
from app.store.contract import ObjectMissing

LISTEN_S = 0.1
"""How often the fetch looks for reads that began elsewhere in the file."""

log = structlog.get_logger(__name__)


def fetch_job(context: JobContext) -> None:
    """Handler of ``fetch`` jobs: payload ``repo_id``, ``oid``. Idempotent."""
    repo_id, oid = int(context.payload["repo_id"]), str(context.payload["oid"])
    try:
        _Fetch(context, repo_id, oid).run()
    except (JobLost, JobStopped, PartTaken):
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
    count_entering(session, repo.id, [file_id])
    mine = (TreeEntry.repo_id == repo.id, TreeEntry.oid == oid, TreeEntry.file_id.is_(None))
    named = session.execute(select(TreeEntry.name, TreeEntry.size).where(*mine).distinct())
    pickles = pickles_among((name, file_id, nbytes) for name, nbytes in named)
    session.execute(
        update(TreeEntry)
        .where(*mine)
        .values(file_id=file_id)
        .execution_options(synchronize_session=False)
    )
    drop_upload_leases(session, [file_id])
    owe_jobs(session, hub, repo, [file_id], pickles)
    if awaited is not None:
        drop_parts(session, hub, awaited)
        mine = (AwaitedFile.repo_id == repo.id, AwaitedFile.oid == oid)
        session.execute(delete(AwaitedFile).where(*mine))
        key = Wanted(repo.id, oid, awaited.nbytes).key
        after_commit(session, lambda: arrivals.ring(key))


def _give_up(hub: Hub, repo_id: int, oid: str, error: HubError) -> None:
    def work(session: Session) -> None:
        awaited = session.get(AwaitedFile, (repo_id, oid), with_for_update=True)
        if awaited is not None:
            note_fault(session, hub, awaited, error)
            if isinstance(error, UpstreamLied):
                drop_parts(session, hub, awaited)
            key = Wanted(repo_id, oid, awaited.nbytes).key
            after_commit(session, lambda: arrivals.ring(key))

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
        self._key = Wanted(repo_id, oid, awaited.nbytes).key
        self._parts: dict[int, Part] = {}
        """What is here, by offset."""

    def run(self) -> None:
        """Bring the file here. Raises ContentNotFound, what the upstream does, JobLost."""
        if self._link_present():
            return
        check_fetchable(self._hub, self._nbytes)
        with self._hub.db.read() as session:
            present = load_parts(session, self._repo_id, self._oid)
        self._parts = {part.start: part for part in present}
        with closing(Door(self._hub.settings)) as door:
            try:
                digest = self._fetch(Upstream(door, ""))
            except (Damaged, ObjectMissing):
                digest = None
        if digest != self._sha256 and drop_rotten(self._hub, self._repo_id, self._oid):
            raise Unavailable("parts of the file rotted in the store; they are fetched again")
        if digest is None:
            raise Unavailable("the store did not return a part of the file; it is asked again")
        if digest != self._sha256:
            raise UpstreamLied(
                f"the upstream was asked for the file of sha256 {self._sha256.hex()} and sent"
                f" another, {digest.hex()}"
            )
        self._hub.db.run(self._mark_verified)
        arrivals.ring(self._key)
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

    def _fetch(self, upstream: Upstream) -> bytes:
        """Bring what is lacking; the SHA-256 of the whole."""
        settings = self._hub.settings.mirror
        digest = hashlib.sha256()
        hashed_nbytes = 0
        order = FetchOrder(
            self._nbytes,
            [(part.start, part.stop) for part in self._parts.values()],
            span_nbytes=settings.part_nbytes,
        )
        order.follow(0, self._nbytes)
        self._heed_reads(order)
        remote = RemoteObject(upstream, self._address, self._sha256, self._nbytes)
        with Lines(settings, order, remote, self._store_part) as lines:
            while True:
                for buffer in self._read_from(hashed_nbytes):
                    digest.update(buffer)
                    hashed_nbytes += len(buffer)
                if hashed_nbytes == self._nbytes:
                    return digest.digest()
                self._context.check()
                for part in lines.came(LISTEN_S):
                    self._parts[part.start] = part
                if self._heed_reads(order):
                    lines.hurry()

    def _store_part(self, start: int, buffers: Iterable[bytes]) -> Part | None:
        """On a thread of a line."""
        self._context.check()
        part = store_part(self._hub, self._repo_id, self._oid, start, buffers)
        if part is not None:
            arrivals.ring(self._key)
            self._context.progress(part.stop, self._nbytes)
        return part

    def _heed_reads(self, order: FetchOrder) -> bool:
        """Let the order follow reads that began since; whether any lacks bytes."""
        mine = (AwaitedRange.repo_id == self._repo_id, AwaitedRange.oid == self._oid)
        with self._hub.db.read() as session:
            if session.get(AwaitedFile, (self._repo_id, self._oid)) is None:
                raise ContentNotFound("the file is awaited no more")
            reads = session.scalars(select(AwaitedRange).where(*mine)).all()
        if not reads:
            return False
        starts = [each.start for each in reads]
        told = delete(AwaitedRange).where(*mine, AwaitedRange.start.in_(starts))
        self._hub.db.run(lambda session: session.execute(told))
        lacking = [order.follow(each.start, each.stop) for each in reads]
        return any(lacking)

    def _mark_verified(self, session: Session) -> None:
        awaited = session.get(AwaitedFile, (self._repo_id, self._oid), with_for_update=True)
        if awaited is None:
            raise ContentNotFound("the file is awaited no more")
        awaited.verified = True

    def _ingest(self) -> None:
        """Store the file as every other is, from its parts, and let the trees have it."""
        stored = ingest_stream(
            self._hub,
            self._read_from(0),
            nbytes=self._nbytes,
            sha256=self._sha256,
            repo_id=self._repo_id,
        )
        self._hub.db.run(
            lambda session: link_file(session, self._hub, self._repo, self._oid, stored.file_id)
        )

    def _read_from(self, start: int) -> Iterator[memoryview]:
        """The bytes from ``start``, where a part begins, that are here without a gap."""
        with (
            ThreadPoolExecutor(1, thread_name_prefix="mirror-parts") as executor,
            closing(in_order(executor, self._reads(start), ahead=1)) as buffers,
        ):
            for buffer in buffers:
                self._context.check()
                yield buffer

    def _reads(self, start: int) -> Iterator[partial[memoryview]]:
        while (part := self._parts.get(start)) is not None:
            for at in range(start, part.stop, READ_NBYTES):
                yield partial(part.read, self._hub, at, min(at + READ_NBYTES, part.stop))
            start = part.stop
