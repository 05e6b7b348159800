"""What choosing the bases around a repo's tensors anew would save, as sketches foretell it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.listing import list_files
from app.catalog.refs import resolve_revision
from app.db.tables import Repo, Segment, Sketch
from app.deltas.rebase import plan_regroupings
from app.hub import Hub

MOST_TENSORS = 1_000
"""Tensors planned around; the optimiser goes over all of them."""


def predict_rebase(hub: Hub, repo: Repo) -> int:
    """Stored bytes that the optimiser would save around the head of the default branch.

    Roughly: tensors of a family's root count as bases for a little less. For administrators: what
    is near to a tensor tells of others' work. Raises RevisionNotFound.
    """
    with hub.db.read() as session:
        tensors = _tensors(session, hub, repo)
    return sum(plan.regrouping.saving for plan in plan_regroupings(hub, tensors))


def _tensors(session: Session, hub: Hub, repo: Repo) -> list[int]:
    head = resolve_revision(session, repo, hub.settings.default_branch)
    files = {entry.file_id for entry in list_files(session, repo.id, head.tree_oid)}
    return list(
        session.scalars(
            select(Segment.content_id)
            .join(Sketch, Sketch.content_id == Segment.content_id)
            .where(Segment.file_id.in_([each for each in files if each is not None]))
            .distinct()
            .order_by(Segment.content_id)
            .limit(MOST_TENSORS)
        )
    )
