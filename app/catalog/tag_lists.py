"""The tags in use, by what they are about: what somebody who looks for a repo may choose from.

Every tag of a repo is filed under who sees the repo. So each distinct tag is one step along an
index, whoever asks and however many repos have it; private repos of others cost nothing.
"""

from collections.abc import Collection, Sequence

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from app.accounts.permissions import single_repos_clause
from app.accounts.tokens import Principal
from app.catalog.naming import RepoType
from app.catalog.tags import DATASET_KEYS, FORMATS, CardFacts, texts
from app.db.tables import Repo, RepoTag

EVERYBODY = 0
"""Who sees a public repo; no account has this id."""

MOST = 1_000
"""Tags of a kind in one answer."""

BASE = "base_model"
"""A kind that is not listed: what derives from what is told by families."""

KINDS: dict[RepoType, tuple[str, ...]] = {
    "model": ("pipeline_tag", "library", "language", "dataset", "license", "other"),
    "dataset": (*DATASET_KEYS, "format", "license", "other"),
    "space": ("license", "other"),
}
"""What tags are about, as far as they are listed."""

_PREFIXED: dict[RepoType, Collection[str]] = {
    "model": ("dataset", "license", BASE),
    "dataset": (*DATASET_KEYS, "format", "license"),
    "space": ("license",),
}
"""Kinds whose tags begin with their name."""

_tag = RepoTag.__table__.c


def kind_of(repo_type: RepoType, tag: str, facts: CardFacts) -> str:
    """What a tag is about, by how the repo came to have it."""
    prefix, colon, _ = tag.partition(":")
    if colon and prefix in _PREFIXED[repo_type]:
        return prefix
    if repo_type != "model":
        return "other"
    if tag == facts.pipeline_tag:
        return "pipeline_tag"
    if tag == facts.library_name or tag in FORMATS:
        return "library"
    return "language" if tag in texts((facts.card_data or {}).get("language")) else "other"


def seen_by(repo: Repo) -> int:
    """The owner whose members alone see a repo, or :data:`EVERYBODY`."""
    return repo.namespace_id if repo.private else EVERYBODY


def show_tags(session: Session, repo: Repo) -> None:
    """File a repo's tags under who sees it now: its owner or its visibility has changed."""
    session.flush()
    session.execute(update(RepoTag).where(RepoTag.repo_id == repo.id).values(seen_by=seen_by(repo)))


def list_tags(
    session: Session, principal: Principal | None, repo_type: RepoType
) -> dict[str, list[str]]:
    """Kind -> tags, each once and in order, of what is public or of the principal's own namespaces.

    At most :data:`MOST` a kind. What is of a kind to some repo is not "other" as well.
    """
    found = {kind: _of_kind(session, principal, repo_type, kind) for kind in KINDS[repo_type]}
    found["other"] -= set().union(*(tags for kind, tags in found.items() if kind != "other"))
    return {kind: sorted(tags)[:MOST] for kind, tags in found.items()}


def _of_kind(
    session: Session, principal: Principal | None, repo_type: RepoType, kind: str
) -> set[str]:
    among = {"type": repo_type, "kind": kind, "most": MOST}
    found: set[str] = set()
    for seer in _seers(principal):
        found.update(session.scalars(_DISTINCT, among | {"seen_by": seer}))
    if principal is not None and principal.single_repos:
        single = select(RepoTag.tag).join(Repo, Repo.id == RepoTag.repo_id)
        of_kind = (RepoTag.type == repo_type) & (RepoTag.kind == kind)
        found.update(session.scalars(single.where(single_repos_clause(principal), of_kind)))
    return found


def _seers(principal: Principal | None) -> Sequence[int]:
    return [EVERYBODY, *(sorted(set(principal.namespaces)) if principal else ())]


def _distinct() -> Select[str]:
    """Each distinct tag of one stretch of the index: from each look for the next greater one."""
    stretch = [_tag[name] == bindparam(name) for name in ("type", "seen_by", "kind")]
    least = func.min(_tag.tag).label("tag")
    seen = select(least).where(*stretch).cte("seen", recursive=True)
    following = select(least).where(*stretch, _tag.tag > seen.c.tag).scalar_subquery()
    seen = seen.union_all(select(following).where(seen.c.tag.is_not(None)))
    return select(seen.c.tag).where(seen.c.tag.is_not(None)).limit(bindparam("most"))


_DISTINCT = _distinct()
