"""The log of a revision: its history over all parents, newest first, read a page at a time.

As ``git log`` orders it: of the commits that are next on any line, the latest. Dates fall along
every line (``Commit.dated_at``), so a commit comes after all that descend from it even where clocks
went back, and the commits that are next are all that one page needs to know of those before it.
Source: git's corrected commit dates (gitformat-commit-graph).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalog.ancestry import Ancestry, Step
from app.db.tables import Commit
from app.errors import RevisionNotFound

MOST_HEADS = 100
"""Lines of history that a position names; of more, the position is counted from the start."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins."""

    heads: tuple[str, ...]
    """The commits that are next, each in a line of its own."""
    skipped: int = 0
    """Commits to pass over first."""


def read_log(
    session: Session, repo_id: int, start: Position, *, limit: int
) -> tuple[list[Commit], Position | None]:
    """At most ``limit`` commits, and where the next page begins; None if there is none.

    Raises RevisionNotFound for a head that is not, or no longer, a commit of the repo.
    """
    line = _Log(Ancestry(session, repo_id), start.heads)
    line.skip(start.skipped)
    oids = [step.oid for _ in range(limit) if (step := line.step()) is not None]
    found = session.scalars(select(Commit).where(Commit.repo_id == repo_id, Commit.oid.in_(oids)))
    by_oid = {commit.oid: commit for commit in found}
    heads = line.heads()
    following = Position(heads) if heads else None
    if len(heads) > MOST_HEADS:
        following = Position(start.heads, start.skipped + len(oids))
    return [by_oid[oid] for oid in oids], following


class _Log:
    """A walk from commit to commit, the latest first."""

    def __init__(self, ancestry: Ancestry, heads: Sequence[str]) -> None:
        self._ancestry = ancestry
        self._waiting: list[tuple[float, int, int, Step]] = []
        self._entered: set[str] = set()
        ancestry.load(heads)
        for oid in heads:
            step = ancestry.find(oid)
            if step is None:
                raise RevisionNotFound(f"Invalid rev id: {oid}")
            self._enter(step)

    def step(self) -> Step | None:
        """The next commit; None at the end."""
        if not self._waiting:
            return None
        *_, step = heapq.heappop(self._waiting)
        for parent in self._ancestry.parents(step):
            self._enter(parent)
        return step

    def skip(self, count: int) -> None:
        """Pass over so many commits, or all there are."""
        while count and self.step() is not None:
            count -= 1

    def heads(self) -> tuple[str, ...]:
        """Where to go on."""
        return tuple(step.oid for *_, step in sorted(self._waiting))

    def _enter(self, step: Step) -> None:
        if step.oid not in self._entered:
            self._entered.add(step.oid)
            # Of equal dates descendants go first, then what was met first, as git has it.
            place = (-step.dated_at.timestamp(), -step.generation, len(self._entered), step)
            heapq.heappush(self._waiting, place)
