"""The refs of a repo as git is told of them."""

from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.git_objects import object_oid
from app.catalog.refs import BRANCH
from app.db.tables import Ref

NO_OID = "0" * 40
"""What git writes for a ref that does not exist."""


@dataclass(frozen=True, slots=True)
class NamedOid:
    """A ref and the object it names."""

    name: str
    oid: str
    """Of the tag object, for an annotated tag."""
    commit_oid: str

    @property
    def peeled(self) -> str | None:
        """The commit behind an annotated tag; None for every other ref."""
        return self.commit_oid if self.oid != self.commit_oid else None


@dataclass(frozen=True)
class KnownRefs:
    """All refs of a repo by name, in the order of their names."""

    refs: tuple[NamedOid, ...]
    tags: dict[str, bytes]
    """Tag objects by id."""
    default: str
    """Full name of the default branch, whether or not it exists."""

    @property
    def head(self) -> NamedOid | None:
        """The default branch; None in a repo without it."""
        return next((ref for ref in self.refs if ref.name == self.default), None)

    def commit_of(self, oid: str) -> str | None:
        """The commit that an advertised id leads to; None for an id no ref has."""
        return self._commits.get(oid)

    @cached_property
    def _commits(self) -> dict[str, str]:
        return {ref.oid: ref.commit_oid for ref in self.refs}


def known_refs(session: Session, repo_id: int, default_branch: str) -> KnownRefs:
    """What there is to fetch from a repo."""
    rows = session.execute(
        select(Ref.name, Ref.commit_oid, Ref.tag_body).where(Ref.repo_id == repo_id)
    )
    refs: list[NamedOid] = []
    tags: dict[str, bytes] = {}
    for name, commit_oid, tag_body in rows:
        oid = _oid(commit_oid, tag_body)
        if tag_body is not None:
            tags[oid] = tag_body
        refs.append(NamedOid(name, oid, commit_oid))
    refs.sort(key=lambda ref: ref.name)
    return KnownRefs(tuple(refs), tags, BRANCH + default_branch)


def oid_of(ref: Ref) -> str:
    """The object that a ref names."""
    return _oid(ref.commit_oid, ref.tag_body)


def _oid(commit_oid: str, tag_body: bytes | None) -> str:
    return commit_oid if tag_body is None else object_oid("tag", tag_body)
