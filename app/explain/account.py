"""What a repo stores and what removing some of it would free, as its reader is told."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.db.inserting import batches
from app.db.tables import File, Repo
from app.deltas.handover import predict_handover
from app.explain.bucket import BucketForecast, forecast_bucket
from app.explain.fates import (
    Dependent,
    contents_of,
    dependents_of,
    foresee,
)
from app.explain.removals import HeldFiles
from app.explain.weights import Weights, weigh
from app.restore.homes import Home, first_holders, shown_contents

MOST_LINKS = 100
"""Repos named per list, those with the most bytes first."""


@dataclass(frozen=True, slots=True)
class Link:
    """Tensors of another repo that this one's depend on, or the other way round."""

    home: Home | None
    """None: bases that no repo shows any more; they live for their deltas."""
    tensors: int
    nbytes: int
    """Stored bytes of the deltas."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What all commits of a repo hold, each content once."""

    files: int
    """Versions of files."""
    logical_nbytes: int
    stored_nbytes: int
    shared_nbytes: int
    """Of the stored bytes, those that other repos hold as well."""
    bases: list[Link]
    """What its deltas are taken against."""
    dependents: list[Link]
    """Whose deltas are taken against its tensors."""


@dataclass(frozen=True, slots=True)
class Freed:
    """What a removal would free, when the grace periods are over."""

    files: int
    """Versions of files that go."""
    logical_nbytes: int
    freed_nbytes: int
    """Stored bytes that nothing needs any more."""
    kept_nbytes: int
    """Stored bytes that what is left of the repo needs."""
    shared_nbytes: int
    """Stored bytes that other repos hold."""
    pinned_nbytes: int
    """Stored bytes of bases that deltas need."""
    pinned_by: list[Link]
    """Whose deltas; they are handed over to another base in time."""
    waiting_nbytes: int
    """Freed without it: what was cut off before and waits for its grace period."""
    bucket: BucketForecast | None
    """For administrators, what was cut off before included."""
    handover_nbytes: int | None
    """For administrators: what handing the pinned bases' deltas over saves, as predicted."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What both answers stand on, looked up once."""

    repo: Repo
    files: HeldFiles
    shown: frozenset[int]
    """Contents of the files that refs lead to."""
    elsewhere: frozenset[int]
    """Contents, of all files, that other repos hold whose files the principal may read."""
    weights: Weights
    """Of the contents of all files."""


def survey(session: Session, principal: Principal | None, repo: Repo, files: HeldFiles) -> Ground:
    """Look up what a repo holds."""
    shown = contents_of(session, files.shown)
    contents = shown | contents_of(session, files.cut)
    elsewhere = shown_contents(session, principal, contents, besides=repo.id)
    weights = weigh(session, principal, contents)
    return Ground(repo, files, frozenset(shown), frozenset(elsewhere), weights)


def hold(session: Session, principal: Principal | None, ground: Ground) -> Holding:
    """Account for what a repo stores."""
    contents, weights = ground.shown, ground.weights
    count, logical = _sizes(session, ground.files.shown)
    deltas = [d for d in dependents_of(session, contents) if d.content_id not in contents]
    return Holding(
        files=count,
        logical_nbytes=logical,
        stored_nbytes=weights.total(contents),
        shared_nbytes=weights.total(contents & ground.elsewhere),
        bases=_bases(weights, contents),
        dependents=_links(session, principal, ground.repo, deltas),
    )


def forecast(session: Session, principal: Principal | None, ground: Ground) -> Freed:
    """What the removal that the files are held for would free."""
    repo, files, elsewhere = ground.repo, ground.files, ground.elsewhere
    fates = foresee(session, principal, repo, files.going | files.cut, files.left, elsewhere)
    weights = ground.weights | weigh(session, principal, fates.released)
    freed = fates.freed | fates.released
    waiting = 0
    if files.cut:
        before = foresee(session, principal, repo, files.cut, files.shown, elsewhere)
        waiting = weights.total(before.freed | before.released)
    count, logical = _sizes(session, files.going)
    pins = [delta for deltas in fates.pinned.values() for delta in deltas]
    sees_all = principal is not None and principal.is_admin
    return Freed(
        files=count,
        logical_nbytes=logical,
        freed_nbytes=weights.total(freed) - waiting,
        kept_nbytes=weights.total(fates.used_here),
        shared_nbytes=weights.total(fates.shared),
        pinned_nbytes=weights.total(fates.pinned),
        pinned_by=_links(session, principal, repo, pins),
        waiting_nbytes=waiting,
        bucket=forecast_bucket(session, freed) if sees_all else None,
        handover_nbytes=predict_handover(session, fates.pinned) if sees_all else None,
    )


def _sizes(session: Session, file_ids: Collection[int]) -> tuple[int, int]:
    """How many files, and their bytes."""
    total = 0
    for ids in batches(sorted(file_ids)):
        total += session.scalar(select(func.sum(File.size)).where(File.id.in_(ids))) or 0
    return len(file_ids), int(total)


def _bases(weights: Weights, content_ids: Collection[int]) -> list[Link]:
    """By repo that shows them."""
    deltas: dict[Home | None, list[int]] = defaultdict(list)
    for weight in (weights.by_id[content_id] for content_id in content_ids):
        if weight.base_id is not None:
            deltas[weights.base_homes.get(weight.base_id)].append(weight.nbytes)
    return _heaviest(deltas)


def _links(
    session: Session, principal: Principal | None, repo: Repo, deltas: Collection[Dependent]
) -> list[Link]:
    """Other repos that hold the deltas and whose files the principal may read.

    Of a delta that more repos hold than are named, the oldest count: copies of one file, which
    would tell no more about what depends on it, are not all looked at.
    """
    nbytes = {delta.content_id: delta.nbytes for delta in deltas}
    holders: dict[Home | None, list[int]] = defaultdict(list)
    found = first_holders(session, principal, nbytes, most=MOST_LINKS, besides=repo.id)
    for content_id, homes in found.items():
        for home in homes:
            holders[home].append(nbytes[content_id])
    return _heaviest(holders)


def _heaviest(deltas: Mapping[Home | None, Sequence[int]]) -> list[Link]:
    links = [Link(home, len(sizes), sum(sizes)) for home, sizes in deltas.items()]
    return sorted(links, key=lambda link: (-link.nbytes, link.home or ("", "")))[:MOST_LINKS]
