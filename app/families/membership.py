"""The family job: measure a repository against its likely relatives and give it its place."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.tables import Family, FamilyMember, Repo, Segment, TreeEntry
from app.deltas.relatives import declared_bases, read_card
from app.deltas.sketches import load_sketches
from app.families.candidates import MOST_RELATIVES, propose_relatives
from app.families.distance import Comparison, Distance, sample_names
from app.families.kinship import Descent, Kin, descent
from app.families.models import Model, load_model
from app.formats.model_card import ModelCard
from app.hub import Hub
from app.jobs.context import JobContext
from app.jobs.outbox import enqueue


@dataclass(frozen=True, slots=True)
class _Measured:
    model: Model
    card: ModelCard
    relatives: dict[int, Model]
    distances: dict[tuple[int, int], Distance]
    private: list[int]
    """Private repositories that may derive from a public one."""

    def near(self) -> list[int]:
        """Related repositories, nearest first."""
        me = self.model.repo.id
        bits = {other: each.bits for (one, other), each in self.distances.items() if one == me}
        return sorted(bits, key=lambda other: (bits[other], other))


def measure_membership(context: JobContext) -> None:
    """Handler of ``family`` jobs: payload ``repo_id``.

    Idempotent; the outcome depends on what is stored, not on the order of uploads: every member's
    place is worked out anew.
    """
    hub, repo_id = context.hub, int(context.payload["repo_id"])
    card = read_card(hub, repo_id)
    with hub.db.read() as session:
        measured = _measure(session, hub, repo_id, card)
    context.check()
    if measured is not None:
        hub.db.run(lambda session: _place(session, hub, measured))


def _measure(session: Session, hub: Hub, repo_id: int, card: ModelCard) -> _Measured | None:
    repo = session.get(Repo, repo_id)
    if repo is None or repo.type != "model":
        return None
    model = load_model(session, hub, repo)
    if not model.tensors:
        return None
    proposed = propose_relatives(session, model, declared_bases(session, repo, card.base_models))
    models = {repo_id: model}
    for other in session.scalars(select(Repo).where(Repo.id.in_(proposed.compared))):
        models[other.id] = load_model(session, hub, other)
    names = sample_names(model)
    compared = [m.tensors[name] for m in models.values() for name in names if name in m.tensors]
    sketches = load_sketches(session, {tensor.content_id for tensor in compared})
    comparison = Comparison(models.values(), names, sketches)
    distances: dict[tuple[int, int], Distance] = {}
    for first, second in combinations(sorted(models), 2):
        distance = comparison.distance(models[first], models[second])
        if distance is not None and distance.is_related:
            distances[first, second] = distances[second, first] = distance
    return _Measured(model, card, models, distances, proposed.private)


def _place(session: Session, hub: Hub, measured: _Measured) -> None:
    """Join the families of all relatives into one and work out everybody's place in it."""
    repo_id = measured.model.repo.id
    if session.get(Repo, repo_id) is None:
        return
    families = _related_families(session, measured)
    old = session.get(FamilyMember, repo_id, with_for_update=True)
    if old is not None and not families and _is_alone(session, old):
        families = {old.family_id}
    family_id = min(families) if families else _new_family(session, hub)
    _write_member(session, hub, measured, family_id)
    session.execute(
        update(FamilyMember)
        .where(FamilyMember.family_id.in_(families))
        .values(family_id=family_id)
        .execution_options(synchronize_session=False)
    )
    used = select(FamilyMember.family_id)
    session.execute(delete(Family).where(Family.id.not_in(used), Family.id != family_id))
    session.expire_all()
    _arrange(session, hub, measured, family_id)
    if old is None and _has_other_rows(measured):
        _owe_rebasing(session, hub, measured.model)
    if old is None or old.family_id != family_id:
        _owe_measuring(session, hub, measured.private)


def _related_families(session: Session, measured: _Measured) -> set[int]:
    """Families that this repository makes one; a private one joins one, and joins no others."""
    near = measured.near()
    rows = session.execute(
        select(FamilyMember.repo_id, FamilyMember.family_id)
        .where(FamilyMember.repo_id.in_(near))
        .order_by(FamilyMember.repo_id)
        .with_for_update()
    )
    family_of = {row.repo_id: row.family_id for row in rows}
    families = set(family_of.values())
    if not measured.model.repo.private or not _have_public(session, families):
        return families
    public = [each for each in near if not measured.relatives[each].repo.private]
    return {next(family_of[each] for each in [*public, *near] if each in family_of)}


def _have_public(session: Session, families: Collection[int]) -> bool:
    public = (
        select(Repo.id)
        .join(FamilyMember, FamilyMember.repo_id == Repo.id)
        .where(FamilyMember.family_id.in_(families), Repo.private.is_(False))
    )
    return session.scalar(public.limit(1)) is not None


def _is_alone(session: Session, member: FamilyMember) -> bool:
    others = select(FamilyMember.repo_id).where(
        FamilyMember.family_id == member.family_id, FamilyMember.repo_id != member.repo_id
    )
    return session.scalar(others.limit(1)) is None


def _new_family(session: Session, hub: Hub) -> int:
    family = Family(created_at=hub.clock.now())
    session.add(family)
    session.flush()
    return family.id


def _write_member(session: Session, hub: Hub, measured: _Measured, family_id: int) -> None:
    card = measured.card
    session.merge(
        FamilyMember(
            repo_id=measured.model.repo.id,
            family_id=family_id,
            signature=measured.model.signature,
            declared_base=card.base_models[0] if card.base_models else None,
            declared_relation=card.base_model_relation,
            measured_parent_id=None,
            bit_distance=None,
            measured_at=hub.clock.now(),
        )
    )
    session.flush()


def _arrange(session: Session, hub: Hub, measured: _Measured, family_id: int) -> None:
    """Root, parents and distances of those members that were measured."""
    rows = {
        row.repo_id: row
        for row in session.scalars(
            select(FamilyMember).where(FamilyMember.family_id == family_id).with_for_update()
        )
    }
    measured_rows = {repo: row for repo, row in rows.items() if repo in measured.relatives}
    is_private = measured.model.repo.private
    public = {repo for repo in measured_rows if not measured.relatives[repo].repo.private}
    kin = _kin(session, measured_rows, measured.relatives)
    bits = {
        pair: distance.bits
        for pair, distance in measured.distances.items()
        if pair[0] in rows and pair[1] in rows
    }
    found: Descent = descent(kin, bits)
    family = session.get_one(Family, family_id)
    # What others see of a family a private repository has no say in.
    if family.root_repo_id != found.root and not (is_private and public):
        family.root_repo_id = found.root
        if len(rows) > 1:
            _owe_rebasing(session, hub, measured.relatives[found.root])
    for repo_id, row in measured_rows.items():
        if is_private and repo_id in public:
            continue
        parent, distance = found.parents.get(repo_id, (None, None))
        row.measured_parent_id, row.bit_distance = parent, distance
        row.measured_at = hub.clock.now()
    _owe_another_look(session, hub, measured, rows)


def _has_other_rows(measured: _Measured) -> bool:
    """Whether a tensor has more or fewer rows than a relative's: only families find these."""
    mine = measured.model.tensors
    return any(
        each.shape[1:] == mine[name].shape[1:] and each.shape != mine[name].shape
        for model in measured.relatives.values()
        for name, each in model.tensors.items()
        if name in mine and len(each.shape) > 1
    )


def _owe_rebasing(session: Session, hub: Hub, model: Model) -> None:
    """Look around each tensor of a model again: its place in the family is new."""
    contents = {tensor.content_id for tensor in model.tensors.values()}
    for file_id in session.scalars(
        select(Segment.file_id)
        .join(TreeEntry, TreeEntry.file_id == Segment.file_id)
        .where(TreeEntry.repo_id == model.repo.id, Segment.content_id.in_(contents))
        .distinct()
        .order_by(Segment.file_id)
    ):
        payload: dict[str, int | str] = {"file_id": file_id}
        enqueue(session, hub, "rebase", key=f"file:{file_id}", payload=payload, priority=10)


def _owe_measuring(session: Session, hub: Hub, repo_ids: Collection[int]) -> None:
    for repo_id in repo_ids:
        payload: dict[str, int | str] = {"repo_id": repo_id}
        enqueue(session, hub, "family", key=f"repo:{repo_id}", payload=payload, priority=30)


def _owe_another_look(
    session: Session, hub: Hub, measured: _Measured, rows: Mapping[int, FamilyMember]
) -> None:
    """Who joined while this measurement was under way is in no comparison of it."""
    unseen = rows.keys() - measured.relatives.keys()
    if not unseen or len(rows) > MOST_RELATIVES // 2:
        return
    public = select(Repo.id).where(Repo.id.in_(unseen), Repo.private.is_(False)).limit(1)
    if session.scalar(public) is not None:
        _owe_measuring(session, hub, [measured.model.repo.id])


def _kin(
    session: Session, rows: Mapping[int, FamilyMember], models: Mapping[int, Model]
) -> list[Kin]:
    repos = session.scalars(select(Repo).where(Repo.id.in_(rows)).order_by(Repo.id)).all()
    kin = []
    for repo in repos:
        declared = rows[repo.id].declared_base
        bases = declared_bases(session, repo, [declared]) if declared else []
        kin.append(
            Kin(
                repo_id=repo.id,
                namespace_id=repo.namespace_id,
                private=repo.private,
                declares=frozenset(bases),
                declares_any=declared is not None,
                dtype=models[repo.id].dtype,
            )
        )
    return kin
