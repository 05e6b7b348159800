"""The reencode job: tensors that an older encoder stored get the form it would choose today.

Every encoding carries the generation of the encoder that decided on it. After an update that codes
some tensors smaller, those of older generations are coded again, against the base they have, and
swapped like any new encoding where that saves something. Nothing ever gets larger, and everything
that was looked at is marked, so a job goes on where the one before ended or died.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contents.locking import lock_contents
from app.contents.refs import EncodingRef
from app.db.tables import Content, Encoding
from app.deltas.coding import ENCODER, Coded
from app.deltas.recode import Recoder, code_moves, leases
from app.deltas.swap import SwapRefused
from app.deltas.tensors import load_tensors
from app.errors import Damaged
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue

BUDGET_NBYTES = 8 << 30
"""Raw bytes that one job looks at before it queues itself again behind more urgent work."""

BATCH_NBYTES = 256 << 20
BATCH_CONTENTS = 500
"""What is swapped, and marked as looked at, in one go."""

MIN_SAVING = 0.01
"""Share of the stored bytes that a new form must save: less is not worth moving a tensor."""

PRIORITY = 60

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outdated:
    """Encodings of older generations."""

    contents: int
    stored_nbytes: int


@dataclass(frozen=True, slots=True)
class Reencoded:
    """A batch that was gone over."""

    last: int
    """Content to go on after."""
    nbytes: int
    """Raw bytes."""
    saved_nbytes: int
    """Stored bytes."""


@dataclass(frozen=True, slots=True)
class _Old:
    content_id: int
    base_id: int | None
    nbytes: int


def outdated(session: Session) -> Outdated:
    """How much there is that an older encoder decided on."""
    contents, stored_nbytes = session.execute(
        select(func.count(), func.coalesce(func.sum(Encoding.nbytes), 0)).where(
            Encoding.final.is_(True), Encoding.encoder < ENCODER
        )
    ).one()
    return Outdated(int(contents), int(stored_nbytes))


def owe_reencoding(session: Session, hub: Hub) -> None:
    """Queue the job; one that is queued already serves."""
    enqueue(session, hub, "reencode", key="all", payload={}, priority=PRIORITY)


def reencode(context: JobContext) -> None:
    """Handler of ``reencode`` jobs; the payload is empty. Idempotent and resumable.

    What is damaged, or moves away under its feet, is left for the next job.
    """
    hub = context.hub
    with hub.db.read() as session:
        total = min(_raw_nbytes(session), BUDGET_NBYTES)
    last = done = 0
    while done < BUDGET_NBYTES:
        step = reencode_next(context, last)
        if step is None:
            return
        last = step.last
        done += step.nbytes
        context.progress(min(done, total), total)
    hub.db.run(lambda session: owe_reencoding(session, hub))


def reencode_next(context: JobContext, after: int) -> Reencoded | None:
    """Go over the next contents of older generations, by id; None if there are none."""
    context.check()
    with context.hub.db.read() as session:
        batch = _next_batch(session, after)
    if not batch:
        return None
    saved = 0
    try:
        saved = _reencode_batch(context, batch)
    except (SwapRefused, Damaged) as error:
        log.info("reencode.left", contents=len(batch), error=str(error))
    return Reencoded(batch[-1].content_id, sum(each.nbytes for each in batch), saved)


def _raw_nbytes(session: Session) -> int:
    total = session.scalar(
        select(func.coalesce(func.sum(Content.nbytes), 0))
        .join(Encoding, Encoding.content_id == Content.id)
        .where(Encoding.final.is_(True), Encoding.encoder < ENCODER)
    )
    return int(total or 0)


def _next_batch(session: Session, after: int) -> list[_Old]:
    """The next sound contents of an older generation, by id."""
    rows = session.execute(
        select(Content.id, Encoding.base_id, Content.nbytes)
        .join(Encoding, Encoding.content_id == Content.id)
        .where(
            Content.id > after,
            Encoding.final.is_(True),
            Encoding.encoder < ENCODER,
            Content.state == "live",
            Content.health == "ok",
        )
        .order_by(Content.id)
        .limit(BATCH_CONTENTS)
    )
    batch: list[_Old] = []
    nbytes = 0
    for content_id, base_id, raw_nbytes in rows:
        if batch and nbytes + raw_nbytes > BATCH_NBYTES:
            break
        batch.append(_Old(content_id, base_id, raw_nbytes))
        nbytes += raw_nbytes
    return batch


def _reencode_batch(context: JobContext, batch: Sequence[_Old]) -> int:
    """Stored bytes saved."""
    hub = context.hub
    saved = 0

    def is_smaller(ref: EncodingRef, coded: Coded) -> bool:
        nonlocal saved
        smaller = coded.nbytes < ref.stored_nbytes * (1 - MIN_SAVING)
        saved += ref.stored_nbytes - coded.nbytes if smaller else 0
        return smaller

    with hub.db.read() as session:
        tensors = load_tensors(session, [each.content_id for each in batch])
    dtypes = {content: tensor.dtype for content, tensor in tensors.items()}
    moves = [(each.content_id, each.base_id) for each in batch if each.content_id in dtypes]
    if moves:
        with Recoder(context) as recoder, leases(context) as hold:
            hold({base for _, base in moves if base is not None})
            code_moves(recoder, context, moves, dtypes, lambda _nbytes: None, is_smaller)
    hub.db.run(lambda session: _mark(session, [each.content_id for each in batch]))
    return saved


def _mark(session: Session, content_ids: Sequence[int]) -> None:
    """Note that this generation has nothing better for what was not swapped."""
    lock_contents(session, content_ids)
    rows = session.scalars(
        select(Encoding).where(
            Encoding.content_id.in_(content_ids),
            Encoding.final.is_(True),
            Encoding.encoder < ENCODER,
        )
    )
    for row in rows:
        row.encoder = ENCODER
