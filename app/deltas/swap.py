"""Replacing encodings: decode-and-compare first, then one transaction for a batch of contents.

Steps K3 and K4 of the model-checked protocol. What was written is read from the store afresh,
decoded and compared with the digest; then contents are locked, and in the statements after
the lock everything that was assumed is looked at again. Either all contents of the batch are
swapped or none: a refusal costs work, never bytes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.locking import lock_contents
from app.contents.packs import PackedEncoding
from app.contents.refs import EncodingRef, load_refs
from app.contents.verifying import verify_content
from app.db.tables import Content, Encoding, FormerEncoding
from app.deltas.coding import ENCODER
from app.deltas.domain import load_holders
from app.deltas.sparse import owe_repacking
from app.errors import Conflict
from app.hub import Hub


class SwapRefused(Conflict):
    """Something moved meanwhile; nothing was changed. Try again without what is named."""

    transient = True

    def __init__(self, targets: Collection[int], bases: Collection[int]) -> None:
        super().__init__(f"{len(targets)} contents cannot be swapped: their bases or they moved on")
        self.targets = frozenset(targets)
        """Contents that changed, vanished or have dependents themselves."""
        self.bases = frozenset(bases)
        """Contents that cannot serve as a base (any more)."""


@dataclass(slots=True)
class _Refusals:
    targets: set[int] = field(default_factory=set)
    bases: set[int] = field(default_factory=set)


def swap(hub: Hub, packed: Sequence[PackedEncoding], read: Mapping[int, EncodingRef]) -> None:
    """Make ``packed`` the current encodings of their contents.

    ``read`` are the encodings that the work was done from. Raises :class:`SwapRefused`, Damaged if
    what was written does not decode to the digest, or :class:`~app.contents.objects.ObjectLost`.
    """
    if not packed:
        return
    _verify(hub, packed, read)

    def work(session: Session) -> None:
        encodings = _lock(session, packed)
        _check(session, packed, read, encodings)
        for pack in {each.pack.pending.id: each.pack for each in packed}.values():
            objects.publish(session, pack.pending, pack.nbytes)
        session.flush()
        left = {_replace(session, hub, encodings[each.content_id], each) for each in packed}
        session.flush()
        objects.retire_unreferenced(session, hub, left)
        owe_repacking(session, hub, left)

    hub.db.run(work)


def _verify(hub: Hub, packed: Sequence[PackedEncoding], read: Mapping[int, EncodingRef]) -> None:
    """Decode from the store and compare with the digest (rule: before the older form goes)."""
    with hub.db.read() as session:
        bases = load_refs(session, {each.base_id for each in packed if each.base_id is not None})
    gone = {each.base_id for each in packed if each.base_id is not None} - bases.keys()
    if gone:
        raise SwapRefused([each.content_id for each in packed if each.base_id in gone], gone)
    for each in packed:
        target = read[each.content_id]
        verify_content(
            hub,
            EncodingRef(
                content_id=each.content_id,
                object_id=each.object_id,
                key=each.pack.pending.key,
                start=each.start,
                stored_nbytes=each.nbytes,
                checks=each.checks,
                digest=target.digest,
                nbytes=target.nbytes,
                codec=each.codec,
                base=None if each.base_id is None else bases[each.base_id],
                domain=target.domain,
            ),
        )


def _lock(session: Session, packed: Sequence[PackedEncoding]) -> dict[int, Encoding]:
    """Lock contents, then their encodings; the encodings by content."""
    ids = sorted(
        {each.content_id for each in packed}
        | {each.base_id for each in packed if each.base_id is not None}
    )
    lock_contents(session, ids)
    rows = session.scalars(
        select(Encoding)
        .where(Encoding.content_id.in_(ids))
        .order_by(Encoding.content_id)
        .with_for_update()
    )
    return {row.content_id: row for row in rows}


def _check(
    session: Session,
    packed: Sequence[PackedEncoding],
    read: Mapping[int, EncodingRef],
    encodings: Mapping[int, Encoding],
) -> None:
    """Look at everything again, now that it is locked."""
    refusals = _Refusals()
    new_deltas = {each.content_id: each.base_id for each in packed if each.base_id is not None}
    sound = set(
        session.scalars(
            select(Content.id).where(
                Content.id.in_(encodings), Content.state == "live", Content.health == "ok"
            )
        )
    )
    needed = set(
        session.scalars(select(Encoding.base_id).where(Encoding.base_id.in_(new_deltas)).distinct())
    )
    holders = load_holders(session, {*new_deltas, *new_deltas.values()})
    for each in packed:
        row, was = encodings.get(each.content_id), read[each.content_id]
        if row is None or (row.object_id, row.start) != (was.object_id, was.start):
            refusals.targets.add(each.content_id)
        if each.base_id is None:
            continue
        base = encodings.get(each.base_id)
        kept = row is not None and row.base_id == each.base_id
        if (
            base is None
            or base.base_id is not None
            or each.base_id in new_deltas
            or each.base_id not in sound
            or not (kept or holders[each.base_id].may_serve(holders[each.content_id]))
        ):
            refusals.bases.add(each.base_id)
        if each.content_id in needed:
            refusals.targets.add(each.content_id)
    if refusals.targets or refusals.bases:
        raise SwapRefused(refusals.targets, refusals.bases)


def _replace(session: Session, hub: Hub, row: Encoding, new: PackedEncoding) -> int:
    """Point the encoding to its new place; the object it left."""
    now = hub.clock.now()
    left = row.object_id
    session.add(
        FormerEncoding(
            content_id=row.content_id,
            codec=row.codec,
            base_id=row.base_id,
            object_id=row.object_id,
            start=row.start,
            nbytes=row.nbytes,
            checks=row.checks,
            replaced_at=now,
        )
    )
    if not row.final or row.checks != new.checks:  # else a copy: nobody decided anew
        row.encoder = ENCODER
    row.codec, row.base_id = new.codec, new.base_id
    row.object_id, row.start, row.nbytes, row.checks = (
        new.object_id,
        new.start,
        new.nbytes,
        new.checks,
    )
    row.final = True
    row.created_at = now
    session.get_one(Content, row.content_id).last_verified_at = now
    return left
