"""Every way in: LFS whole, slow and in parts, Xet, inside a commit, by git."""

import hashlib
from collections.abc import Iterator

from app.catalog.git_objects import blob_oid, lfs_pointer, object_oid
from app.db.tables import Repo
from app.errors import Damaged
from app.git.receiving import receive_push
from app.ingest.inline import ingest_inline
from app.ingest.stream import ingest_stream
from app.lfs import capability
from app.lfs.batch import WantedObject, plan_uploads
from app.lfs.multipart import CompletedPart, complete_upload, store_part
from app.lfs.objects import store_object
from app.xet.register import register_shard
from app.xet.shard import parse_shard
from app.xet.staging import has_xorb, store_xorb
from app.xet.tokens import XetGrantee
from tests.crash.samples import random_bytes
from tests.crash.stage import Act, Stage
from tests.fixtures.packs import commit, push_objects, tree
from tests.fixtures.xorbs import Run, build_shard, build_xorb, content_of, file_block


def lfs_upload(repo: str, path: str, data: bytes) -> Act:
    """Batch, PUT, commit."""

    def act(stage: Stage) -> None:
        wanted = WantedObject(hashlib.sha256(data).hexdigest(), len(data))
        row = stage.repo(repo)
        batch = plan_uploads(stage.hub, stage.alice, row, [wanted], can_multipart=False)
        if (link := batch.answers[0].link) is not None:
            store_object(stage.hub, capability.read(stage.hub, link, "PUT"), [data])
        stage.commit_lfs(repo, path, data)

    return act


def slow_upload(repo: str, path: str, data: bytes) -> Act:
    """So slow that its intent has to be extended on the way."""

    def act(stage: Stage) -> None:
        def buffers() -> Iterator[bytes]:
            for at in range(0, len(data), 2 << 20):
                stage.clock.advance(stage.settings.timers.intent_s / 3)
                yield data[at : at + (2 << 20)]

        digest = hashlib.sha256(data).digest()
        ingest_stream(
            stage.hub, buffers(), nbytes=len(data), sha256=digest, repo_id=stage.repo(repo).id
        )
        stage.commit_lfs(repo, path, data)

    return act


def multipart_upload(repo: str, path: str, data: bytes) -> Act:
    """Batch, parts (one of them twice), completion (twice), commit."""

    def act(stage: Stage) -> None:
        wanted = WantedObject(hashlib.sha256(data).hexdigest(), len(data))
        row = stage.repo(repo)
        [answer] = plan_uploads(stage.hub, stage.alice, row, [wanted], can_multipart=True).answers
        if answer.link is not None:
            leave = capability.read(stage.hub, answer.link, "PARTS")
            parts = []
            for number in range(1, answer.parts + 1):
                part = data[(number - 1) * answer.part_nbytes : number * answer.part_nbytes]
                store_part(stage.hub, leave, number, [part])
                parts.append(CompletedPart(number, store_part(stage.hub, leave, number, [part])))
            complete_upload(stage.hub, leave, parts)
            complete_upload(stage.hub, leave, parts)
        stage.commit_lfs(repo, path, data)

    return act


def inline_commit(repo: str, path: str, data: bytes) -> Act:
    """Small files inside a commit."""

    def act(stage: Stage) -> None:
        [file] = ingest_inline(stage.hub, [data], repo_id=stage.repo(repo).id)
        stage.commit_inline(repo, path, data, file.file_id)

    return act


def xet_upload(repo: str, path: str, data: bytes) -> Act:
    """Xorbs, a shard, commit; then the shard again, which links what is known."""
    built = build_xorb(data)

    def act(stage: Stage) -> None:
        account, row = stage.alice.account_id, stage.repo(repo)
        runs = [(built, 0, len(built.chunks))]
        if not has_xorb(stage.hub, account, built.digest):
            store_xorb(stage.hub, account, built.digest, [built.stored])
        try:
            register(stage, row, runs)
        except Damaged:  # where its chunks lay; clients are told to forget that they sent it
            store_xorb(stage.hub, account, built.digest, [built.stored])
        register(stage, row, runs)
        stage.commit_lfs(repo, path, content_of(runs))

    return act


def register(stage: Stage, repo: Repo, runs: list[Run]) -> None:
    """Send a shard of one file."""
    files = parse_shard(build_shard(file_block(runs)), stage.hub.settings.limits)
    grantee = XetGrantee(stage.alice.account_id, repo.id)
    register_shard(stage.hub, grantee, files, lambda _done, _all: None)


def xet_from_files(repo: str, path: str, earlier: bytes) -> Act:
    """A file of chunks that an earlier one holds, whose xorb is not stored any more."""
    built = build_xorb(earlier)
    runs = [(built, 1, len(built.chunks)), (built, 0, 1)]

    def act(stage: Stage) -> None:
        register(stage, stage.repo(repo), runs)
        stage.commit_lfs(repo, path, content_of(runs))

    return act


def abandoned_xorb(stage: Stage) -> None:
    """A xorb that no shard ever names, sent twice."""
    built = build_xorb(random_bytes(99, 60_000))
    for _ in range(2):
        store_xorb(stage.hub, stage.alice.account_id, built.digest, [built.stored])


def git_push(repo: str, path: str, data: bytes, big: tuple[str, bytes]) -> Act:
    """A push of a plain file and of a pointer to an LFS object that was sent before."""
    digest = hashlib.sha256(big[1]).digest()
    pointer = lfs_pointer(digest, len(big[1]))
    entries = [("100644", path, blob_oid(data)), ("100644", big[0], blob_oid(pointer))]
    top = ("tree", tree(*sorted(entries, key=lambda entry: entry[1])))
    head = ("commit", commit(object_oid(*top)))
    body = push_objects(("blob", data), ("blob", pointer), top, head)

    def act(stage: Stage) -> None:
        answer = receive_push(stage.hub, stage.alice, stage.repo(repo), [body])
        is_there = b"ok refs/heads/pushed" in answer or b"meanwhile; fetch first" in answer
        assert is_there, answer
        stage.acknowledged[repo, "pushed", path] = data

    return act
