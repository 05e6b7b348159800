"""The encoder job: every content of an uploaded file gets the form it is stored in from now on.

A file's bytes lie in one uploaded object, as they came. Tensors are sketched and stored as deltas
or plane-coded, everything else as zstd where that pays; what is in the same object is done
together, so that the object can go. Bytes that hardly compress stay where they are.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents.locking import lock_contents
from app.contents.reading import read_content, read_whole
from app.contents.refs import EncodingRef, load_refs
from app.db.tables import Content, Encoding, Repo, Segment, Sketch, StoredObject, TreeEntry
from app.deltas.bases import BaseFinder
from app.deltas.coding import ENCODER, STREAMED_NBYTES, code_streaming, code_whole
from app.deltas.recode import Recoder, leases
from app.deltas.sketches import MIN_SKETCHED_NBYTES, make_sketch, save_sketch
from app.deltas.swap import SwapRefused
from app.deltas.tensors import Waiting, base_dtype_of, load_tensors, load_waiting
from app.errors import Damaged, Unavailable
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue

BATCH_NBYTES = 32 << 20
"""Raw bytes of contents that are in memory at once."""

BATCH_CONTENTS = 500

ROUNDS = 8
"""How often a job starts again because bases or contents moved on meanwhile."""

MIN_SAVING_NBYTES = 4096
MIN_SAVING_SHARE = 0.02
"""An object from which less than this is to be had stays as it is."""

SAMPLES = 16
SAMPLE_NBYTES = 64 << 10
"""What is looked at of an object without tensors to see whether it compresses."""

log = structlog.get_logger(__name__)


def encode_file(context: JobContext) -> None:
    """Handler of ``encode`` jobs: payload ``file_id``.

    Idempotent and resumable: contents that are final are left alone. A base that vanishes or moves
    on during the work is avoided in the next round. Raises Unavailable if that never ends, Damaged
    if that is why.
    """
    hub, file_id = context.hub, int(context.payload["file_id"])
    finder = BaseFinder(hub)
    damage: Damaged | None = None
    for _ in range(ROUNDS):
        with hub.db.read() as session:
            waiting = load_waiting(session, file_id)
        if not waiting:
            break
        try:
            _encode_round(context, finder, waiting)
        except SwapRefused as refusal:
            finder.avoid(refusal.bases)
            log.info("encode.again", file_id=file_id, bases=sorted(refusal.bases))
        except Damaged as error:
            damage = error
            finder.avoid(())
            log.error("encode.damaged", file_id=file_id, error=str(error))
    else:
        if damage is not None:
            raise damage
        raise Unavailable("contents or their bases kept moving; the job will be tried again")
    hub.db.run(lambda session: _owe_follow_up(session, hub, file_id))


def _encode_round(context: JobContext, finder: BaseFinder, waiting: Sequence[Waiting]) -> None:
    hub = context.hub
    total = sum(each.ref.nbytes for each in waiting)
    done = 0
    context.progress(done, total)
    with Recoder(context) as recoder, leases(context) as hold:
        finder.hold = hold
        for object_id, group in groupby(waiting, key=lambda each: each.ref.object_id):
            contents = list(group)
            if _is_worth_coding(hub, object_id, contents):
                for batch in _batches(contents):
                    _encode_batch(context, finder, recoder, batch)
                    done += sum(each.ref.nbytes for each in batch)
                    context.progress(done, total)
            else:
                ids = [each.ref.content_id for each in contents]
                hub.db.run(lambda session, ids=ids, at=object_id: _keep(session, ids, at))
                done += sum(each.ref.nbytes for each in contents)
                context.progress(done, total)
        recoder.flush()


def _encode_batch(
    context: JobContext, finder: BaseFinder, recoder: Recoder, batch: Sequence[Waiting]
) -> None:
    hub = context.hub
    context.check()
    whole = [each for each in batch if each.ref.nbytes <= STREAMED_NBYTES]
    data = dict(
        zip(
            (each.ref.content_id for each in whole),
            read_whole(hub, [each.ref for each in whole]),
            strict=True,
        )
    )
    _sketch(hub, batch, data)
    bases = finder.choose([each for each in batch if each.tensor is not None], data)
    with hub.db.read() as session:
        refs = load_refs(session, set(bases.values()))
        tensors = load_tensors(session, refs)
    small = [ref for ref in refs.values() if ref.nbytes <= STREAMED_NBYTES]
    below = dict(zip((ref.content_id for ref in small), read_whole(hub, small), strict=True))
    for each in batch:
        context.check()
        base_id = bases.get(each.ref.content_id)
        base = None if base_id is None else refs.get(base_id)
        if base_id is not None and base is None:
            raise SwapRefused([], [base_id])
        base_dtype = base_dtype_of(each.dtype, tensors.get(base_id or 0))
        if each.ref.content_id in data and (base is None or base.content_id in below):
            under = None if base is None else below[base.content_id]
            raw = data[each.ref.content_id]
            coded = code_whole(raw, each.dtype, under, base_id, base_dtype, each.columns)
        else:
            coded = code_streaming(
                hub,
                each.ref,
                each.dtype,
                base,
                recoder.directory,
                context.check,
                base_dtype,
                each.columns,
            )
        recoder.add(each.ref, coded)


def _sketch(hub: Hub, batch: Sequence[Waiting], data: dict[int, memoryview]) -> None:
    """Make the sketches that are missing."""
    wanted = [
        (each.ref, each.tensor.dtype)
        for each in batch
        if each.tensor is not None and each.ref.nbytes >= MIN_SKETCHED_NBYTES
    ]
    ids = [ref.content_id for ref, _ in wanted]
    with hub.db.read() as session:
        there = set(session.scalars(select(Sketch.content_id).where(Sketch.content_id.in_(ids))))
    made = [
        (ref, dtype, _sketch_one(hub, ref, dtype, data.get(ref.content_id)))
        for ref, dtype in wanted
        if ref.content_id not in there
    ]

    def work(session: Session) -> None:
        for ref, dtype, sketch in made:
            if session.get(Content, ref.content_id) is not None:
                save_sketch(session, ref.content_id, dtype, ref.nbytes, sketch)

    if made:
        hub.db.run(work)


def _sketch_one(hub: Hub, ref: EncodingRef, dtype: str, data: memoryview | None) -> bytes:
    if data is not None:
        return make_sketch(ref, dtype, lambda start, stop: data[start:stop])
    return make_sketch(ref, dtype, lambda start, stop: read_content(hub, ref, start, stop))


def _batches(contents: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    batch: list[Waiting] = []
    nbytes = 0
    for each in contents:
        if batch and (nbytes + each.ref.nbytes > BATCH_NBYTES or len(batch) == BATCH_CONTENTS):
            yield batch
            batch, nbytes = [], 0
        batch.append(each)
        nbytes += each.ref.nbytes
    if batch:
        yield batch


def _is_worth_coding(hub: Hub, object_id: int, contents: Sequence[Waiting]) -> bool:
    """Whether moving what lies in an object saves something to speak of.

    Always for tensors; otherwise told by a sample of the bytes, plus what is unused of the object.
    """
    if any(each.tensor is not None for each in contents):
        return True
    with hub.db.read() as session:
        stored = session.get(StoredObject, object_id)
        used = sum(session.scalars(select(Encoding.nbytes).where(Encoding.object_id == object_id)))
    if stored is None:
        return True
    nbytes = sum(each.ref.nbytes for each in contents)
    saving = stored.nbytes - used + nbytes * (1 - _sampled_share(hub, contents))
    return saving >= max(MIN_SAVING_NBYTES, stored.nbytes * MIN_SAVING_SHARE)


def _sampled_share(hub: Hub, contents: Sequence[Waiting]) -> float:
    """Coded share of the bytes, from the starts of some contents."""
    import codec

    step = -(-len(contents) // SAMPLES)
    raw = coded = 0
    for each in contents[::step]:
        sample = read_content(hub, each.ref, 0, min(SAMPLE_NBYTES, each.ref.nbytes))
        raw += len(sample)
        coded += min(codec.predict(sample, dtype="U8").nbytes, len(sample))
    return coded / raw if raw else 1.0


def _keep(session: Session, content_ids: Sequence[int], object_id: int) -> None:
    """Declare raw bytes final where they lie."""
    lock_contents(session, content_ids)
    for at in range(0, len(content_ids), 1000):
        ids = content_ids[at : at + 1000]
        rows = session.scalars(
            select(Encoding).where(Encoding.content_id.in_(ids), Encoding.object_id == object_id)
        )
        for row in rows:
            row.final, row.encoder = True, ENCODER


def _owe_follow_up(session: Session, hub: Hub, file_id: int) -> None:
    """A new tensor may be a better base for others, and place its repository in a family."""
    sketched = session.scalar(
        select(Sketch.content_id)
        .join(Segment, Segment.content_id == Sketch.content_id)
        .where(Segment.file_id == file_id)
        .limit(1)
    )
    if sketched is None:
        return
    payload: dict[str, int | str] = {"file_id": file_id}
    enqueue(session, hub, "rebase", key=f"file:{file_id}", payload=payload, priority=10)
    repos = session.scalars(
        select(Repo.id)
        .join(TreeEntry, TreeEntry.repo_id == Repo.id)
        .where(TreeEntry.file_id == file_id, Repo.type == "model")
        .distinct()
        .order_by(Repo.id)
    )
    for repo_id in repos:
        key = f"repo:{repo_id}"
        enqueue(session, hub, "family", key=key, payload={"repo_id": repo_id}, priority=30)
