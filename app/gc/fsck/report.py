"""What a check of the hub found, in words and places that people can act on."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.contents.findings import KINDS, LOST
from app.db.tables import Content, Encoding, Finding
from app.gc.naming import places_of_contents, places_of_dependents, places_of_file
from app.hub import Hub

MOST = 1000
"""Problems told one by one; of all others only the number is."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    kind: str
    """One of ``app.contents.findings.KINDS``."""
    detail: str
    places: list[str] = field(default_factory=list)
    """``type/namespace/name@revision:path`` of files that suffer."""
    dependents: list[str] = field(default_factory=list)
    """The same of files that suffer because a base of theirs does."""


@dataclass(slots=True)
class FsckReport:
    """What was looked at and what is wrong."""

    files: int = 0
    contents: int = 0
    objects: int = 0
    verified_nbytes: int = 0
    """Raw bytes of files that were read, decoded and hashed (deep only)."""
    problem_count: int = 0
    problems: list[Problem] = field(default_factory=list)
    """The first :data:`MOST`."""

    @property
    def clean(self) -> bool:
        """Nothing is wrong. Unknown objects waste space and lose nothing, yet count."""
        return self.problem_count == 0


def reload_problems(hub: Hub, report: FsckReport) -> None:
    """Fill in the findings that are open now, the gravest kinds first."""
    with hub.db.read() as session:
        report.problem_count = session.scalar(select(func.count()).select_from(Finding)) or 0
        rows = session.scalars(select(Finding).order_by(Finding.id).limit(MOST)).all()
        report.problems = [_problem(session, row) for row in sorted(rows, key=_gravity)]


def _gravity(row: Finding) -> tuple[int, int]:
    return KINDS.index(row.kind), row.id


def _problem(session: Session, row: Finding) -> Problem:
    if row.file_id is not None:
        return Problem(row.kind, row.detail, places_of_file(session, row.file_id))
    if row.content_id is not None:
        digest = session.get_one(Content, row.content_id).digest[1:].hex()
        return Problem(
            row.kind,
            f"content {digest}: {row.detail}",
            places_of_contents(session, [row.content_id]),
            places_of_dependents(session, row.content_id),
        )
    contents: Sequence[int] = ()
    if row.object_id is not None and row.kind in LOST:
        held = select(Encoding.content_id).where(Encoding.object_id == row.object_id)
        contents = session.scalars(held.order_by(Encoding.start).limit(MOST)).all()
    return Problem(
        row.kind,
        row.detail,
        places_of_contents(session, contents),
        sorted({place for content in contents for place in places_of_dependents(session, content)}),
    )
