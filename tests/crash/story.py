"""What is done to the hub while it dies: every protocol of docs/durability.md, act by act."""

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from sqlalchemy import select, update

from app.catalog.attributes import INITIAL_ATTRIBUTES
from app.catalog.git_objects import blob_oid, lfs_pointer, object_oid
from app.catalog.moving import move_repo
from app.catalog.refs import create_branch, delete_branch
from app.catalog.repos import delete_repo, set_private
from app.catalog.rewriting import forget_files
from app.catalog.squash import squash
from app.db.tables import Encoding, Job, Ref, Repo
from app.deltas.reencode import owe_reencoding
from app.errors import ContentNotFound, Damaged
from app.gc.collect import collect
from app.gc.periodic import collect_garbage, sweep_store
from app.git.receiving import receive_push
from app.ingest.inline import ingest_inline
from app.ingest.stream import ingest_stream
from app.jobs.context import JobContext
from app.jobs.runner import run_job, run_one
from app.jobs.schedule import queue_due
from app.lfs import capability
from app.lfs.batch import WantedObject, plan_uploads
from app.lfs.multipart import CompletedPart, complete_upload, store_part
from app.lfs.objects import store_object
from app.tasks import HANDLERS, PERIODS
from app.xet.register import register_shard
from app.xet.shard import parse_shard
from app.xet.staging import has_xorb, store_xorb
from app.xet.tokens import XetGrantee
from tests.crash.stage import MAIN, Stage
from tests.fixtures.models import as_bf16, base_weights, tuned, weight_file
from tests.fixtures.packs import commit, push_objects, tree
from tests.fixtures.xorbs import Run, build_shard, build_xorb, content_of, file_block

SHAPES = {"embed_tokens.weight": (1100, 16), "layers.0.up.weight": (64, 64), "norm.weight": (64,)}
BASE = as_bf16(base_weights(shapes=SHAPES))
WEIGHTS = "model.safetensors"
DAY_S = 24 * 3600.0

Act = Callable[[Stage], None]


def random_bytes(seed: int, nbytes: int) -> bytes:
    return random.Random(seed).randbytes(nbytes)


# --- uploads ---


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
        assert b"ok refs/heads/pushed" in answer or b"changed meanwhile" in answer, answer
        stage.acknowledged[repo, "pushed", path] = data

    return act


# --- history ---


def squash_history(repo: str) -> Act:
    return lambda stage: void(squash(stage.hub, stage.alice, stage.repo(repo), MAIN, "one"))


def branch_and_back(repo: str) -> Act:
    """A branch that comes and goes."""

    def act(stage: Stage) -> None:
        row = stage.repo(repo)
        create_branch(stage.hub, row, f"tmp{len(stage.deaths)}", None)
        delete_branch(stage.hub, row, f"tmp{len(stage.deaths)}")

    return act


def drop_big_file(repo: str, path: str, data: bytes) -> Act:
    def act(stage: Stage) -> None:
        stage.forget(repo, path)
        forget_files(stage.hub, stage.repo(repo), [hashlib.sha256(data).digest()])

    return act


def delete(repo: str) -> Act:
    def act(stage: Stage) -> None:
        stage.forget(repo)
        if _exists(stage, repo):
            delete_repo(stage.hub, stage.repo(repo))

    return act


def move(repo: str, to: str) -> Act:
    """Both names lead to it afterwards."""

    def act(stage: Stage) -> None:
        row = stage.repo(to if _exists(stage, to) else repo)
        move_repo(stage.hub, stage.alice, row, "alice", to)
        for place in [each for each in stage.acknowledged if each[0] == repo]:
            stage.acknowledged[to, *place[1:]] = stage.acknowledged.pop(place)

    return act


def hide(repo: str) -> Act:
    """Private, then public again."""

    def act(stage: Stage) -> None:
        for private in (True, False):
            set_private(stage.hub, stage.repo(repo), private)

    return act


# --- damage ---


def zeroed(data: bytes) -> bytes:
    """An object after a bad disk."""
    return data


def lost(_data: bytes) -> None:
    """An object that is gone."""


def healed(act: Act, *uploads: Act) -> Act:
    """An act on a store that was harmed, after which clients send everything again."""

    def whole(stage: Stage) -> None:
        act(stage)
        for upload in uploads:
            upload(stage)
        collect(stage.hub, now=True)
        stage.is_harmed = False

    return whole


def read_what_rotted(stage: Stage) -> None:
    """Readers find the damage."""
    stage.harm(zeroed)
    for place in stage.acknowledged:
        with suppress(Damaged):
            stage.read(*place)


def sweep_what_is_lost(stage: Stage) -> None:
    """The sweep finds it, xorbs included."""
    abandoned_xorb(stage)
    stage.harm(lost)
    sweep_store(JobContext(stage.hub, 0, {}))


def replacements_rot(stage: Stage) -> None:
    """New forms are damaged while the old ones are there still: they are put back."""
    stage.run_jobs()
    stage.harm(zeroed, purpose="pack")
    collect(stage.hub, now=True)


def chunks_rot(stage: Stage) -> None:
    """A shard names chunks that only a damaged file holds."""
    stage.harm(zeroed)
    with suppress(Damaged, ContentNotFound):
        xet_from_files("four", "again.bin", CHUNKS)(stage)


# --- background ---


def run_jobs(stage: Stage) -> None:
    stage.run_jobs()


def job_by_id(stage: Stage) -> None:
    """As a message of a broker asks for."""
    with stage.hub.db.read() as session:
        job_id = session.scalars(select(Job.id).order_by(Job.id.desc())).first()
    assert job_id is not None
    run_job(stage.hub, HANDLERS, job_id, "stage")


def zombie(stage: Stage) -> None:
    """A writer that was given up on long ago finishes its put; the sweep finds what it wrote."""
    key = f"o/{stage.hub.store_epoch}/aa/{len(stage.deaths):032x}"
    stage.is_harmed = True  # fsck names it
    stage.write_behind(key, b"too late")
    sweep_store(JobContext(stage.hub, 0, {}))
    stage.is_harmed = False


def periodic_jobs(stage: Stage) -> None:
    """A day later, as the schedule has it."""
    stage.clock.advance(7 * DAY_S)
    queue_due(stage.hub, PERIODS)
    stage.run_jobs()


def collect_now(stage: Stage) -> None:
    collect(stage.hub, now=True)


def everything_expires(stage: Stage) -> None:
    """Intents, leases, uploads, xorbs; then the collector's own job and a sweep."""
    stage.clock.advance(60 * DAY_S)
    context = JobContext(stage.hub, 0, {})
    collect_garbage(context)
    sweep_store(context)
    collect(stage.hub, now=True)


def reencode(stage: Stage) -> None:
    """All that is stored was decided by an older encoder."""
    with stage.hub.db.write() as session:
        session.execute(update(Encoding).values(encoder=0))
        owe_reencoding(session, stage.hub)
    stage.run_jobs()


def reencode_by_budget(stage: Stage) -> None:
    """As much as one job may do; the next one is owed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.deltas.reencode.BUDGET_NBYTES", 1)
        with stage.hub.db.write() as session:
            session.execute(update(Encoding).values(encoder=0))
            owe_reencoding(session, stage.hub)
        run_one(stage.hub, HANDLERS, "stage")
    stage.run_jobs()


def create(repo: str) -> Act:
    """A repository, unless it has its first commit already."""
    return lambda stage: None if _exists(stage, repo) else stage.create(repo)


def _exists(stage: Stage, repo: str) -> bool:
    with stage.hub.db.read() as session:
        of_repo = select(Ref.name).join(Repo, Repo.id == Ref.repo_id)
        return session.scalar(of_repo.where(Repo.key == f"model/alice/{repo}")) is not None


def void(_: object) -> None:
    """What an act returns is of no interest."""


TUNED = [weight_file(tuned(BASE, seed, 5e-4)) for seed in range(3)]
PARTS = random_bytes(1, 250_000)
CHUNKS = random_bytes(2, 200_000)

ACTS: list[tuple[str, Act]] = [
    ("create", create("one")),
    ("create another", create("two")),
    ("LFS upload of a fine-tune", lfs_upload("one", WEIGHTS, TUNED[0])),
    ("encode", run_jobs),
    ("LFS upload of another", lfs_upload("two", WEIGHTS, TUNED[1])),
    ("LFS upload of the base", lfs_upload("two", "base.safetensors", weight_file(BASE))),
    ("encode and re-base", run_jobs),
    ("slow upload", slow_upload("one", "slow.bin", random_bytes(3, 5 << 20))),
    ("job by its id", job_by_id),
    ("multipart upload", multipart_upload("one", "parts.bin", PARTS)),
    ("inline commit", inline_commit("one", "README.md", b"# One\n" * 200)),
    ("Xet upload", xet_upload("two", "chunks.bin", CHUNKS)),
    ("Xet upload of known chunks", xet_from_files("two", "again.bin", CHUNKS)),
    ("abandoned xorb", abandoned_xorb),
    ("git push", git_push("one", "plain.txt", b"pushed\n" * 50, ("w.bin", TUNED[0]))),
    ("encode all of it", run_jobs),
    ("collect", collect_now),
    ("re-encode", reencode),
    ("re-encode by budget", reencode_by_budget),
    ("hide", hide("one")),
    ("branch", branch_and_back("one")),
    ("remove a big file", drop_big_file("one", "parts.bin", PARTS)),
    ("squash", squash_history("one")),
    ("move", move("two", "three")),
    ("collect again", collect_now),
    ("delete", delete("one")),
    ("periodic jobs", periodic_jobs),
    ("zombie", zombie),
    ("everything expires", everything_expires),
    ("jobs to the end", run_jobs),
    ("delete the other", delete("three")),
    ("start over", create("four")),
    ("a file", lfs_upload("four", WEIGHTS, TUNED[2])),
    ("chunks", xet_upload("four", "chunks.bin", CHUNKS)),
    ("collect all but these", collect_now),
]
"""On a store that keeps what it is given."""

ATTRIBUTES = inline_commit("four", ".gitattributes", INITIAL_ATTRIBUTES)
FILES = [
    lfs_upload("four", WEIGHTS, TUNED[2]),
    xet_upload("four", "chunks.bin", CHUNKS),
    ATTRIBUTES,
]

DAMAGE: list[tuple[str, Act]] = [
    ("replacements rot", healed(replacements_rot, ATTRIBUTES)),
    ("rot that readers find", healed(read_what_rotted, *FILES)),
    ("rot that an upload finds", healed(chunks_rot, *FILES)),
    ("loss that a sweep finds", healed(sweep_what_is_lost, *FILES)),
]
"""On one that does not."""
