"""A shard becomes files: assembled, ingested like any other upload, granted to one repository."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from app.db.tables import Repo
from app.errors import IntegrityError, RepoNotFound
from app.hub import Hub
from app.ingest.stream import ingest_stream
from app.xet.assemble import Assembly
from app.xet.known import link_known
from app.xet.shard import ShardFile
from app.xet.shelf import XorbShelf
from app.xet.terms import enter_holder
from app.xet.tokens import XetGrantee

Progress = Callable[[int, int], None]
"""Told (raw bytes checked, raw bytes in all); may raise to give the upload up."""


def register_shard(
    hub: Hub, grantee: XetGrantee, files: list[ShardFile], progress: Progress
) -> None:
    """Store all files of a shard, one after the other, and grant them to the grantee's repository.

    Files that were stored before an error stay; sending the shard again is safe. Raises
    RepoNotFound if the repository is gone, IntegrityError where bytes do not match the announced
    SHA-256, and what :meth:`app.xet.assemble.Assembly.stream` raises.
    """
    with hub.db.read() as session:
        if session.get(Repo, grantee.repo_id) is None:
            raise RepoNotFound("the repository was deleted")
    total = sum(file.nbytes for file in files)
    done = 0

    def advance(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress(done, total)

    threads = hub.settings.restore_threads
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="xet") as executor,
        closing(XorbShelf(hub, grantee.account_id)) as shelf,
    ):
        for file in files:
            if link_known(hub, shelf, grantee, file):
                advance(file.nbytes)
                continue
            try:
                _store(hub, grantee, Assembly(hub, shelf, file, executor), advance, checked=False)
            except IntegrityError:  # of the sender's making, or of our store's or wire's
                assembly = Assembly(hub, shelf, file, executor)
                _store(hub, grantee, assembly, lambda _nbytes: advance(0), checked=True)


def _store(
    hub: Hub,
    grantee: XetGrantee,
    assembly: Assembly,
    advance: Callable[[int], None],
    *,
    checked: bool,
) -> None:
    file = assembly.file
    ingested = ingest_stream(
        hub,
        assembly.stream(advance, checked=checked or file.sha256 is None),
        nbytes=file.nbytes,
        sha256=file.sha256,
        repo_id=grantee.repo_id,
        resting=assembly.resting(),
        proposer=grantee.proposer,
    )
    hub.db.run(
        lambda session: enter_holder(session, hub, ingested.file_id, assembly.named, assembly.spans)
    )
