"""Which commits a client lacks: the part of a repo's history between what it wants and has.

A walk goes from the wants down to what the client has, and no further.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from app.catalog.ancestry import Ancestry, Colouring, Step, is_ancestor
from app.errors import InvalidRequest
from app.git.asking import FetchRequest
from app.git.names import KnownRefs

WANTED, HAD = 1, 2
"""Colours of commits, see :class:`app.catalog.ancestry.Colouring`."""


@dataclass(frozen=True, slots=True)
class Missing:
    """What a fetch is to carry."""

    commits: tuple[str, ...]
    """New to the client, parents first."""
    boundary: tuple[str, ...]
    """Commits that the client has and the new ones stand on: their files it has as well."""
    tags: tuple[str, ...]
    """Tag objects that were asked for by their ids."""
    shallow: tuple[str, ...] = ()
    """Commits whose parents will be missing there from now on."""
    unshallow: tuple[str, ...] = ()
    """Commits whose parents were missing and will be there."""


@dataclass(frozen=True, slots=True)
class _Depth:
    """Where a client's history ends: so far, and after this fetch."""

    before: frozenset[str]
    after: frozenset[str]
    unshallow: frozenset[str] = frozenset()


class History:
    """The commits of a repo, of which those that its refs reach may be fetched."""

    def __init__(self, ancestry: Ancestry, known: KnownRefs) -> None:
        self._ancestry = ancestry
        self._known = known

    def common(self, haves: Iterable[str]) -> list[str]:
        """Those of the client's commits that are here, in its order."""
        asked = list(haves)
        self._ancestry.load(asked)
        return [oid for oid in asked if self._ancestry.find(oid) is not None]

    def is_ready(self, request: FetchRequest) -> bool:
        """Whether every want stands on something that the client has: no need to ask further."""
        commons = {oid: self._step(oid) for oid in self.common(request.haves)}
        if not commons:
            return False
        lowest = min(step.generation for step in commons.values())
        wants = dict.fromkeys(self._commit_of(want) for want in request.wants)
        walk = Colouring(self._ancestry, {1 << at: [oid] for at, oid in enumerate(wants)})
        based = 0
        for step, colours in walk:
            if step.oid in commons:
                based |= colours
            if walk.next_generation < lowest:
                break
        return based == (1 << len(wants)) - 1

    def missing(self, request: FetchRequest) -> Missing:
        """What to send. Raises InvalidRequest for a want that no ref reaches."""
        wants = list(dict.fromkeys(self._commit_of(want) for want in request.wants))
        depth = self._cut(wants, request)
        walk = Colouring(
            self._ancestry,
            {WANTED: wants, HAD: self.common(request.haves)},
            {WANTED: depth.after, HAD: depth.before},
        )
        # Below where the client's history ended it may lack what stands on something it has.
        deepest = min((self._step(oid).generation for oid in depth.unshallow), default=1 << 62)
        reached: list[str] = []
        for step, colours in walk:
            if colours == WANTED:
                reached.append(step.oid)
            if not walk.awaits(WANTED) and walk.next_generation < deepest:
                break
        parents = {parent for oid in reached for parent in self._step(oid).parents}
        return Missing(
            commits=tuple(reversed(reached)),
            boundary=tuple(sorted(oid for oid in parents if walk.colours.get(oid, 0) & HAD)),
            tags=tuple(sorted(self._known.tags.keys() & set(request.wants))),
            shallow=tuple(sorted(depth.after - request.shallow)),
            unshallow=tuple(sorted(depth.unshallow)),
        )

    def trees_of(self, commits: Iterable[str]) -> list[str]:
        """Root trees, each once."""
        asked = list(commits)
        self._ancestry.load(asked)
        return list(dict.fromkeys(self._step(oid).tree_oid for oid in asked))

    def _step(self, oid: str) -> Step:
        step = self._ancestry.find(oid)
        assert step is not None
        return step

    def _commit_of(self, want: str) -> str:
        named = self._known.commit_of(want)
        if named is not None:
            return named
        if not is_ancestor(self._ancestry, want, [ref.commit_oid for ref in self._known.refs]):
            raise InvalidRequest(f"upload-pack: not our ref {want}")
        return want

    def _cut(self, wants: Iterable[str], request: FetchRequest) -> _Depth:
        """Where the client's history ends; without a depth asked for, where it did."""
        before = frozenset(self.common(request.shallow))
        if request.depth is None:
            return _Depth(before, before)
        within = self._within(wants, self._depth(wants, request))
        cut = frozenset(oid for oid in within if not within.keys() >= set(self._step(oid).parents))
        return _Depth(before, cut, (before & within.keys()) - cut)

    def _depth(self, wants: Iterable[str], request: FetchRequest) -> int:
        assert request.depth is not None
        if not request.relative or not request.shallow:
            return request.depth
        present = self._within(wants, None, stop_at=request.shallow)
        return request.depth + max(
            (present[oid] for oid in request.shallow & present.keys()), default=0
        )

    def _within(
        self, wants: Iterable[str], depth: int | None, *, stop_at: Collection[str] = ()
    ) -> dict[str, int]:
        """Commits at most ``depth`` steps away and how many; the wants themselves are the first."""
        level = list(wants)
        found = dict.fromkeys(level, 1)
        number = 1
        while level and (depth is None or number < depth):
            number += 1
            level = [
                parent.oid
                for oid in level
                if oid not in stop_at
                for parent in self._ancestry.parents(self._step(oid))
                if found.setdefault(parent.oid, number) == number
            ]
            level = list(dict.fromkeys(level))
        return found
