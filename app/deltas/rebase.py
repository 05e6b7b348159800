"""The rebase job: when a tensor turns out to be the better base, its look-alikes move to it.

A base that was uploaded after its fine-tunes, a second candidate that is nearer to most, a base
whose repository was deleted: each is found by planning around the tensors of a file
(``app.deltas.regroup``) and carried out in stages, of which each leaves every delta one step from
a self-contained base. A crash between stages costs nothing but time.
"""

from collections.abc import Callable, Iterator, Sequence

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Content, Encoding, Segment, Sketch
from app.deltas.domain import holding_repos
from app.deltas.recode import Recoder, code_moves, leases
from app.deltas.regroup import Move, Star
from app.deltas.relatives import find_relatives
from app.deltas.stars import plan_around
from app.deltas.swap import SwapRefused
from app.deltas.tensors import load_tensors
from app.errors import Damaged
from app.hub import Hub
from app.jobs.context import JobContext

PASSES = 4
"""Plans made one after the other at most; the next upload of the family goes on from there."""

TENSORS = 200
"""Tensors whose regroupings are carried out together."""

log = structlog.get_logger(__name__)


def rebase(context: JobContext) -> None:
    """Handler of ``rebase`` jobs: payload ``file_id``, or ``content_id`` of a base.

    Idempotent and resumable. What moves away under its feet is left for the next job.
    """
    hub = context.hub
    for _ in range(PASSES):
        with hub.db.read() as session:
            contents = _contents(session, context.payload)
        moved = False
        for batch in _batches(contents):
            context.check()
            stages = _plan(hub, batch)
            if any(stages):
                moved = True
                _carry_out(context, stages)
        if not moved:
            return


def materialise(context: JobContext, content_ids: Sequence[int]) -> None:
    """Store contents without their bases. Raises SwapRefused if one changed meanwhile."""
    _run_stage(context, [Move(content, None) for content in content_ids])


def orphan_bases(session: Session) -> list[int]:
    """Bases that no commit shows and that deltas still need, by id."""
    return list(
        session.scalars(
            select(Content.id)
            .where(
                select(Encoding.id).where(Encoding.base_id == Content.id).exists(),
                ~select(Segment.file_id).where(Segment.content_id == Content.id).exists(),
            )
            .order_by(Content.id)
        )
    )


def _contents(session: Session, payload: dict[str, int | str]) -> list[int]:
    if "content_id" in payload:
        leaves = select(Encoding.content_id).where(Encoding.base_id == int(payload["content_id"]))
        return list(session.scalars(leaves.order_by(Encoding.content_id)))
    return list(
        session.scalars(
            select(Segment.content_id)
            .join(Sketch, Sketch.content_id == Segment.content_id)
            .where(Segment.file_id == int(payload["file_id"]))
            .distinct()
            .order_by(Segment.content_id)
        )
    )


def _plan(hub: Hub, contents: Sequence[int]) -> list[list[Move]]:
    """Moves of several regroupings that do not touch one another, by stage."""
    with hub.db.read() as session:
        tensors = load_tensors(session, contents)
        repos = holding_repos(session, contents)
    relatives = find_relatives(hub, repos)
    touched: set[int] = set()
    stages: list[list[Move]] = [[], [], []]
    for content in contents:
        if content not in tensors:
            continue
        planned = plan_around(hub, tensors[content], relatives)
        if planned is None:
            continue
        plan, stars = planned
        ids = {move.content_id for move in plan.moves} | {
            move.base_id for move in plan.moves if move.base_id is not None
        }
        if ids.isdisjoint(touched):
            touched |= ids
            _stage(plan.moves, stars, stages)
            log.info("rebase.planned", content_id=content, saving_nbytes=plan.saving)
    return stages


def _stage(moves: Sequence[Move], stars: Sequence[Star], stages: list[list[Move]]) -> None:
    """What becomes self-contained first, then the leaves, last the bases that become deltas."""
    roots = {star.root for star in stars}
    for move in moves:
        stage = 0 if move.base_id is None else 2 if move.content_id in roots else 1
        stages[stage].append(move)


def _carry_out(context: JobContext, stages: Sequence[Sequence[Move]]) -> None:
    total = _raw_nbytes(context.hub, [move.content_id for stage in stages for move in stage])
    done = 0

    def on_done(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        context.progress(done, total)

    for stage in stages:
        try:
            _run_stage(context, stage, on_done)
        except (SwapRefused, Damaged) as error:
            log.info("rebase.stopped", error=str(error))
            return


def _run_stage(
    context: JobContext,
    moves: Sequence[Move],
    on_done: Callable[[int], None] = lambda _nbytes: None,
) -> None:
    if not moves:
        return
    hub = context.hub
    ids = [move.content_id for move in moves]
    bases = {move.base_id for move in moves if move.base_id is not None}
    with hub.db.read() as session:
        dtypes = {content: tensor.dtype for content, tensor in load_tensors(session, ids).items()}
    with Recoder(context) as recoder, leases(context) as hold:
        hold(bases)
        pairs = [(move.content_id, move.base_id) for move in moves]
        code_moves(recoder, context, pairs, dtypes, on_done)


def _batches(contents: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(contents), TENSORS):
        yield contents[at : at + TENSORS]


def _raw_nbytes(hub: Hub, content_ids: Sequence[int]) -> int:
    with hub.db.read() as session:
        return sum(session.scalars(select(Content.nbytes).where(Content.id.in_(content_ids))))
