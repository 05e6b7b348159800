"""Walking from commits to their ancestors, reading no more of a repo's history than is walked over.

Source: git's commit-graph (generation numbers, gitformat-commit-graph) and its ``commit-reach.c``.
A commit's generation is greater than that of all its ancestors, so a walk in falling generations
meets children before parents: what it says of a commit is final when it comes to it.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from app.catalog.git_objects import commit_parents
from app.db.inserting import batches
from app.db.tables import Commit

FIRST_BAND = 32
LAST_BAND = 4_096
"""Generations read at a time: few at first, twice as many with every reading."""


@dataclass(frozen=True, slots=True)
class Step:
    """A commit as part of a history: where it comes from and what it holds."""

    oid: str
    parents: tuple[str, ...]
    tree_oid: str
    created_at: datetime
    dated_at: datetime
    generation: int


def select_steps(repo_id: int) -> Select[str, bytes, str, datetime, datetime, int]:
    """The columns that :func:`read_step` reads."""
    return select(
        Commit.oid,
        Commit.body,
        Commit.tree_oid,
        Commit.created_at,
        Commit.dated_at,
        Commit.generation,
    ).where(Commit.repo_id == repo_id)


def read_step(row: Row[str, bytes, str, datetime, datetime, int]) -> Step:
    """A row of :func:`select_steps`."""
    oid, body, tree_oid, created_at, dated_at, generation = row
    return Step(oid, commit_parents(body), tree_oid, created_at, dated_at, generation)


class Ancestry:
    """The commits of a repo, read when a walk comes near them and kept. Lives in one session."""

    def __init__(self, session: Session, repo_id: int) -> None:
        self._session = session
        self._repo_id = repo_id
        self._steps: dict[str, Step] = {}
        self._read = range(0)
        """Generations of which all commits are known."""
        self._band = FIRST_BAND

    def find(self, oid: str) -> Step | None:
        """A commit; None if it is not in this repo."""
        self.load([oid])
        return self._steps.get(oid)

    def load(self, oids: Iterable[str]) -> None:
        """Read those of these commits that are not known yet, in as few queries as may be."""
        wanted = sorted(set(oids) - self._steps.keys())
        for some in batches(wanted):
            self._keep(select_steps(self._repo_id).where(Commit.oid.in_(some)))

    def add(self, oid: str, parents: tuple[str, ...], tree_oid: str, created_at: datetime) -> Step:
        """Know a commit that is not in the database yet; its parents come before it."""
        self.load(parents)
        below = [self._steps[parent] for parent in parents if parent in self._steps]
        dated_at = max([created_at, *(each.dated_at for each in below)])
        generation = 1 + max((each.generation for each in below), default=0)
        step = Step(oid, parents, tree_oid, created_at, dated_at, generation)
        return self._steps.setdefault(oid, step)

    def parents(self, step: Step) -> list[Step]:
        """The parents of a commit, with which those of its neighbours are read."""
        if not self._steps.keys() >= set(step.parents):
            self._read_down(step.generation - 1)
            self.load(step.parents)
        return [self._steps[oid] for oid in step.parents if oid in self._steps]

    def _read_down(self, top: int) -> None:
        if top in self._read:
            return
        bottom = max(1, top - self._band + 1)
        self._keep(select_steps(self._repo_id).where(Commit.generation.between(bottom, top)))
        is_next = self._read.start == top + 1
        self._read = range(bottom, self._read.stop if is_next else top + 1)
        self._band = min(2 * self._band, LAST_BAND)

    def _keep(self, query: Select[str, bytes, str, datetime, datetime, int]) -> None:
        for row in self._session.execute(query):
            self._steps.setdefault(row.oid, read_step(row))


class Colouring:
    """Commits that hand their colours (bits) down to their ancestors, children before parents.

    Iterating goes one commit on and tells its colours, all of them; the walk goes no further than
    it is iterated.
    """

    def __init__(
        self,
        ancestry: Ancestry,
        heads: Mapping[int, Iterable[str]],
        stops: Mapping[int, Collection[str]] | None = None,
    ) -> None:
        """``heads``: colour -> where it begins; what is not in the repo is passed over.

        ``stops``: colour -> commits that keep it to themselves.
        """
        self._ancestry = ancestry
        self._stops = stops or {}
        self._waiting: list[tuple[int, str]] = []
        self._waiting_colours: Counter[int] = Counter()
        self.colours: dict[str, int] = {}
        """Of the commits that were met so far; final for those that were iterated over."""
        begin = {colour: list(oids) for colour, oids in heads.items()}
        ancestry.load(oid for oids in begin.values() for oid in oids)
        for colour, oids in begin.items():
            for oid in oids:
                step = ancestry.find(oid)
                if step is not None:
                    self._paint(step, colour)

    def __iter__(self) -> Iterator[tuple[Step, int]]:
        while self._waiting:
            _, oid = heapq.heappop(self._waiting)
            colours = self.colours[oid]
            self._waiting_colours[colours] -= 1
            step = self._ancestry.find(oid)
            assert step is not None
            handed = colours
            for colour, kept in self._stops.items():
                if oid in kept:
                    handed &= ~colour
            if handed:
                for parent in self._ancestry.parents(step):
                    self._paint(parent, handed)
            yield step, colours

    def awaits(self, colours: int) -> bool:
        """Whether a commit of exactly these colours, so far, is still to come."""
        return self._waiting_colours[colours] > 0

    @property
    def next_generation(self) -> int:
        """Of the commit that is next; 0 if there is none."""
        return -self._waiting[0][0] if self._waiting else 0

    def _paint(self, step: Step, colours: int) -> None:
        before = self.colours.get(step.oid)
        after = colours | (before or 0)
        self.colours[step.oid] = after
        if before is None:
            heapq.heappush(self._waiting, (-step.generation, step.oid))
        else:
            self._waiting_colours[before] -= 1
        self._waiting_colours[after] += 1


def latest_common(ancestry: Ancestry, one: str, other: str) -> Step | None:
    """A commit in the history of both that none other such descends from; None without any."""
    for step, colours in Colouring(ancestry, {1: [one], 2: [other]}):
        if colours == 3:
            return step
    return None


def is_ancestor(ancestry: Ancestry, old: str, heads: Iterable[str]) -> bool:
    """Whether one of the heads is this commit or descends from it."""
    sought = ancestry.find(old)
    if sought is None:
        return False
    walk = Colouring(ancestry, {1: heads})
    for step, _ in walk:
        if step.oid == old:
            return True
        if walk.next_generation < sought.generation:
            return False
    return False


def between(ancestry: Ancestry, base: str, head: str) -> list[Step]:
    """The commits that ``head`` reaches and ``base`` does not, parents first."""
    walk = Colouring(ancestry, {1: [head], 2: [base]})
    found: list[Step] = []
    for step, colours in walk:
        if colours == 1:
            found.append(step)
        if not walk.awaits(1):
            break
    return found[::-1]
