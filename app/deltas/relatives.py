"""Repositories that a model may derive from, as its card and its known family say.

Cards are written by strangers and are often missing or wrong, so they only propose; predicted bytes
decide (``app.deltas.choose``).
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from app.accounts.names import name_key
from app.catalog.listing import find_entry
from app.catalog.refs import resolve_revision
from app.contents.reading import read_whole
from app.contents.refs import load_refs
from app.db.tables import Family, FamilyMember, FormerName, Repo, Segment
from app.errors import HubError, RevisionNotFound
from app.formats.model_card import HEAD_NBYTES, ModelCard, parse_model_card
from app.hub import Hub

CARD = "README.md"

MOST = 64
"""Repositories proposed per way of finding them."""


def head_tree(session: Session, hub: Hub, repo: Repo) -> str | None:
    """Root tree of the default branch; None for a repository without one."""
    try:
        return resolve_revision(session, repo, hub.settings.default_branch).tree_oid
    except RevisionNotFound:
        return None


def read_card(hub: Hub, repo_id: int) -> ModelCard:
    """What the README of the default branch declares; an empty card if it cannot be read."""
    with hub.db.read() as session:
        repo = session.get(Repo, repo_id)
        tree = None if repo is None else head_tree(session, hub, repo)
        entry = None if tree is None else find_entry(session, repo_id, tree, CARD)
        if entry is None or entry.file_id is None:
            return ModelCard()
        parts = session.execute(
            select(Segment.content_id, Segment.start)
            .where(Segment.file_id == entry.file_id, Segment.start <= HEAD_NBYTES)
            .order_by(Segment.start)
        ).all()
        refs = load_refs(session, [content for content, _ in parts])
    try:
        pieces = read_whole(hub, [refs[content] for content, _ in parts])
    except (HubError, KeyError):
        return ModelCard()
    return parse_model_card(b"".join(pieces))


def declared_bases(session: Session, repo: Repo, names: Collection[str]) -> list[int]:
    """Repositories that a card names, by a name of today or before, and that may serve ``repo``."""
    keys = [f"model/{name_key(name)}" for name in names if "/" in name]
    may_serve = (
        Repo.id != repo.id,
        or_(Repo.private.is_(False), Repo.namespace_id == repo.namespace_id),
    )
    today = select(Repo.key, Repo.id).where(Repo.key.in_(keys), *may_serve)
    before = (
        select(FormerName.key, Repo.id)
        .join(Repo, Repo.id == FormerName.repo_id)
        .where(FormerName.key.in_(keys), *may_serve)
    )
    by_key = {row.key: row.id for row in session.execute(today.union_all(before))}
    return list(dict.fromkeys(by_key[key] for key in keys if key in by_key))


@dataclass(frozen=True, slots=True)
class Relatives:
    """Repositories worth looking into first for the bases of some repositories' tensors."""

    repos: frozenset[int] = frozenset()
    """All, with the repositories themselves: earlier revisions are the nearest relatives."""
    roots: frozenset[int] = frozenset()
    """Roots of their families; where none is known yet, what their cards declare."""


def family_roots(session: Session, repo_ids: Collection[int]) -> frozenset[int]:
    """Roots of the families of these repositories; a member alone is no root to speak of."""
    member, child = aliased(FamilyMember), aliased(FamilyMember)
    roots = session.scalars(
        select(Family.root_repo_id)
        .join(member, member.family_id == Family.id)
        .join(child, child.measured_parent_id == Family.root_repo_id)
        .where(member.repo_id.in_(sorted(repo_ids)))
        .distinct()
    )
    return frozenset(repo_id for repo_id in roots if repo_id is not None)


def find_relatives(hub: Hub, repo_ids: Collection[int]) -> Relatives:
    """What cards and families say about these repositories."""
    cards = {repo_id: read_card(hub, repo_id) for repo_id in sorted(repo_ids)[:MOST]}
    related, declared = set(repo_ids), set[int]()
    with hub.db.read() as session:
        for repo_id, card in cards.items():
            repo = session.get(Repo, repo_id)
            if repo is not None:
                declared.update(declared_bases(session, repo, card.base_models))
        related |= declared
        families = select(FamilyMember.family_id).where(FamilyMember.repo_id.in_(sorted(related)))
        related.update(
            session.scalars(
                select(FamilyMember.repo_id)
                .where(FamilyMember.family_id.in_(families))
                .order_by(FamilyMember.repo_id)
                .limit(MOST)
            )
        )
        known = family_roots(session, related)
    return Relatives(frozenset(related | known), known or frozenset(declared))
