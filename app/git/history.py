"""Which commits a client lacks: the part of a repo's history between what it wants and has."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from app.catalog.history import Step, reached_from
from app.errors import InvalidRequest
from app.git.asking import FetchRequest
from app.git.names import KnownRefs


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


class History:
    """The commits of a repo that its refs reach."""

    def __init__(self, steps: Mapping[str, Step], known: KnownRefs) -> None:
        heads = [ref.commit_oid for ref in known.refs]
        self._steps = {oid: steps[oid] for oid in reached_from(steps, heads)}
        self._known = known

    def common(self, haves: Iterable[str]) -> list[str]:
        """Those of the client's commits that are known here, in its order."""
        return [oid for oid in haves if oid in self._steps]

    def is_ready(self, request: FetchRequest) -> bool:
        """Whether every want stands on something that the client has: no need to ask further."""
        commons = set(self.common(request.haves))
        return bool(commons) and all(
            not commons.isdisjoint(reached_from(self._steps, [self._commit_of(want)]))
            for want in dict.fromkeys(request.wants)
        )

    def missing(self, request: FetchRequest) -> Missing:
        """What to send. Raises InvalidRequest for a want that no ref reaches."""
        wants = list(dict.fromkeys(self._commit_of(want) for want in request.wants))
        there = set(reached_from(self._cut(request.shallow), self.common(request.haves)))
        shallow, unshallow = request.shallow & self._steps.keys(), set[str]()
        if request.depth is not None:
            within = self._within(wants, self._depth(wants, request))
            cut = {oid for oid in within if not within.keys() >= set(self._steps[oid].parents)}
            unshallow = (shallow & within.keys()) - cut
            shallow, newly = cut, cut - request.shallow
        else:
            newly = set[str]()
        reached = reached_from(self._cut(shallow), wants)
        commits = tuple(oid for oid in reached if oid not in there)
        parents = {parent for oid in commits for parent in self._steps[oid].parents}
        return Missing(
            commits=commits,
            boundary=tuple(sorted(parents & there)),
            tags=tuple(sorted(self._known.tags.keys() & set(request.wants))),
            shallow=tuple(sorted(newly)),
            unshallow=tuple(sorted(unshallow)),
        )

    def trees_of(self, commits: Iterable[str]) -> list[str]:
        """Root trees, each once."""
        return list(dict.fromkeys(self._steps[oid].tree_oid for oid in commits))

    def _commit_of(self, want: str) -> str:
        oid = self._known.commit_of(want) or want
        if oid not in self._steps:
            raise InvalidRequest(f"upload-pack: not our ref {want}")
        return oid

    def _cut(self, shallow: Collection[str]) -> dict[str, Step]:
        """The history as somebody sees it who lacks the parents of these."""
        cut = {oid: replace(self._steps[oid], parents=()) for oid in shallow if oid in self._steps}
        return {**self._steps, **cut}

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
                parent
                for oid in level
                if oid not in stop_at
                for parent in self._steps[oid].parents
                if parent in self._steps and found.setdefault(parent, number) == number
            ]
            level = list(dict.fromkeys(level))
        return found
