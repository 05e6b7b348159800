"""What a fetch asks for by id: commits and tags, and trees and blobs that a partial clone lacks.

An id opens only what some ref of the repo reaches, as ``uploadpack.allowReachableSHA1InWant`` of
git-config(1) has it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.ancestry import Ancestry, Colouring
from app.db.inserting import batches
from app.db.tables import CutHistory, Tree
from app.errors import InvalidRequest
from app.git.names import KnownRefs
from app.git.objects import find_blobs
from app.git.selection import Blob, Selection, walk_trees


@dataclass(frozen=True, slots=True)
class Wants:
    """The ids that were asked for, by kind; each is in the repo."""

    commits: tuple[str, ...]
    """And annotated tags."""
    trees: tuple[str, ...]
    blobs: tuple[Blob, ...]


def read_wants(
    session: Session, repo_id: int, ancestry: Ancestry, known: KnownRefs, wants: Iterable[str]
) -> Wants:
    """Sort them. Commits are yet to be checked; raises InvalidRequest for what no ref reaches."""
    asked = list(dict.fromkeys(wants))
    ancestry.load(asked)
    commits = [
        oid for oid in asked if known.commit_of(oid) is not None or ancestry.find(oid) is not None
    ]
    rest = sorted(set(asked) - set(commits))
    if not rest:
        return Wants(tuple(commits), (), ())
    trees = [
        oid
        for some in batches(rest)
        for oid in session.scalars(
            select(Tree.oid).where(Tree.repo_id == repo_id, Tree.oid.in_(some))
        )
    ]
    blobs = find_blobs(session, repo_id, [oid for oid in rest if oid not in set(trees)])
    _check_reached(session, repo_id, ancestry, known, rest, {*trees, *blobs})
    return Wants(tuple(commits), tuple(trees), tuple(blobs.values()))


def _check_reached(
    session: Session,
    repo_id: int,
    ancestry: Ancestry,
    known: KnownRefs,
    asked: Iterable[str],
    here: Collection[str],
) -> None:
    """All that is here is reached, unless history was cut and what fell off is not dropped yet."""
    reached = here
    if session.get(CutHistory, repo_id) is not None:
        heads = {1: [ref.commit_oid for ref in known.refs]}
        roots = [step.tree_oid for step, _ in Colouring(ancestry, heads)]
        alive = walk_trees(session, repo_id, roots, Selection())
        reached = alive.trees.keys() | alive.blobs.keys()
    lost = next((oid for oid in asked if oid not in here or oid not in reached), None)
    if lost is not None:
        raise InvalidRequest(f"upload-pack: not our ref {lost}")
