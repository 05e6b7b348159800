"""The rebase job: when a tensor turns out to be the better base, its look-alikes move to it.

A base that was uploaded after its fine-tunes, a second candidate that is nearer to most, a base
whose repository was deleted: each is found by planning around the tensors of a file
(``app.deltas.regroup``) and carried out in stages, of which each leaves every delta one step from
a self-contained base. A crash between stages costs nothing but time. Plans go by predictions: what
they move is coded first, and swapped in only where it came out as small as was promised.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents.refs import load_refs
from app.db.tables import Content, Encoding, Segment, Sketch
from app.deltas.choose import ROOT_PREFERENCE
from app.deltas.domain import holding_repos
from app.deltas.recode import Recoder, code_move, leases
from app.deltas.rejections import Moved, Outcome, key_of, remember
from app.deltas.relatives import find_relatives
from app.deltas.stars import Planned, plan_around
from app.deltas.swap import SwapRefused
from app.deltas.tensors import load_tensors
from app.errors import Damaged
from app.hub import Hub
from app.jobs.context import JobContext

PASSES = 4
"""Plans made one after the other at most; the next upload of the family goes on from there."""

TENSORS = 200
"""Tensors around which is planned before anything is carried out."""

GROUP_NBYTES = 1 << 30
"""Raw bytes of regroupings that are carried out together, or one regrouping that is larger."""

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
            plans = plan_regroupings(hub, batch, ROOT_PREFERENCE)
            total = sum(raw_nbytes(hub, plan) for plan in plans)
            context.progress(0, total)
            done = 0
            for group in groups(hub, plans):
                done += sum(raw_nbytes(hub, plan) for plan in group)
                try:
                    saved = carry_out(context, group, allowance=ROOT_PREFERENCE)
                except (SwapRefused, Damaged) as error:
                    log.info("rebase.stopped", error=str(error))
                    break
                moved = moved or saved is not None
                context.progress(done, total)
        if not moved:
            return


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


def plan_regroupings(hub: Hub, contents: Sequence[int], allowance: float = 0.0) -> list[Planned]:
    """Regroupings around tensors that do not touch one another.

    ``allowance``: as :func:`carry_out` will be told, which then does not code in vain again.
    """
    with hub.db.read() as session:
        tensors = load_tensors(session, contents)
        repos = holding_repos(session, contents)
    relatives = find_relatives(hub, repos)
    touched: set[int] = set()
    plans: list[Planned] = []
    for content in contents:
        if content not in tensors:
            continue
        plan = plan_around(hub, tensors[content], relatives, allowance)
        if plan is not None and plan.touched.isdisjoint(touched):
            touched |= plan.touched
            plans.append(plan)
            log.info("rebase.planned", content_id=content, saving_nbytes=plan.regrouping.saving)
    return plans


def groups(hub: Hub, plans: Iterable[Planned]) -> Iterator[list[Planned]]:
    """Regroupings that are carried out together."""
    group: list[Planned] = []
    nbytes = 0
    for plan in plans:
        size = raw_nbytes(hub, plan)
        if group and nbytes + size > GROUP_NBYTES:
            yield group
            group, nbytes = [], 0
        group.append(plan)
        nbytes += size
    if group:
        yield group


def carry_out(
    context: JobContext, plans: Sequence[Planned], *, allowance: float = 0.0
) -> int | None:
    """Code what regroupings move, and swap in those that come out smaller; stored bytes saved.

    None if there were none. ``allowance``: share of its former bytes by which one may be larger.
    Raises SwapRefused or Damaged where something moved away meanwhile; what a stage before that
    changed is kept, and the next plan starts from there.
    """
    with ExitStack() as stack:
        hold = stack.enter_context(leases(context))
        hold({each for plan in plans for each in plan.touched})
        stages = [stack.enter_context(Recoder(context, deferred=True)) for _ in range(3)]
        accepted: set[int] = set()
        rejected: list[Outcome] = []
        saved = 0
        for plan in plans:
            outcome = _code(context, plan, stages)
            if outcome.pays(allowance):
                accepted |= {move.content_id for move in plan.moves}
                saved += outcome.saving_nbytes
            else:
                rejected.append(outcome)
                log.info("rebase.not_smaller", saving_nbytes=outcome.saving_nbytes)
        if rejected:
            context.hub.db.run(lambda session: remember(session, context.hub, rejected))
        if not accepted:
            return None
        for recoder in stages:
            recoder.write()
        for recoder in stages:
            recoder.swap_in(accepted)
        return saved


def _code(context: JobContext, plan: Planned, recoders: Sequence[Recoder]) -> Outcome:
    """Code a regrouping, stage by stage."""
    with context.hub.db.read() as session:
        dtypes = {
            content: tensor.dtype
            for content, tensor in load_tensors(
                session, [move.content_id for move in plan.moves]
            ).items()
        }
        going = load_refs(session, plan.abandoned).values()
    abandoned = [(ref.content_id, ref.stored_nbytes) for ref in going]
    moved: list[Moved] = []
    then = 0
    for recoder, moves in zip(recoders, plan.stages(), strict=True):
        for move in moves:
            dtype = dtypes.get(move.content_id, "U8")
            ref, coded = code_move(recoder, context, move.content_id, move.base_id, dtype)
            recoder.add(ref, coded)
            moved.append((move.content_id, move.base_id, ref.stored_nbytes))
            then += coded.nbytes
    was = sum(nbytes for *_, nbytes in [*moved, *abandoned])
    return Outcome(key_of(moved, abandoned), moved[0][0], was - then, was)


def _batches(contents: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(contents), TENSORS):
        yield contents[at : at + TENSORS]


def raw_nbytes(hub: Hub, plan: Planned) -> int:
    """Raw bytes that a regrouping codes."""
    ids = [move.content_id for move in plan.moves]
    with hub.db.read() as session:
        return sum(session.scalars(select(Content.nbytes).where(Content.id.in_(ids))))
