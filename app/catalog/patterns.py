"""Git's path patterns, as ``.gitattributes`` and ``.gitignore`` use them.

Source: gitignore(5), gitattributes(5). Each part of a path is matched on its own by ``fnmatch``,
whose expressions do not backtrack, and ``**`` by a table over parts, so a hostile pattern costs no
more than its length times the path's.
"""

import fnmatch
from dataclasses import dataclass
from functools import lru_cache

MAX_PATTERNS = 500
MAX_PATTERN_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, anchored to the root unless it has no slash but a trailing one."""

    parts: tuple[str, ...]
    negated: bool
    directory_only: bool

    def matches(self, parts: tuple[str, ...]) -> bool:
        """Whether the whole path, given as parts, matches."""
        reached = {0}
        for part in parts:
            reached = self._step(self._closure(reached), part)
            if not reached:
                return False
        return len(self.parts) in self._closure(reached)

    def _closure(self, reached: set[int]) -> set[int]:
        closed = set(reached)
        for start in reached:
            position = start
            # a trailing ** means everything inside, so it stands for at least one part
            while position < len(self.parts) - 1 and self.parts[position] == "**":
                position += 1
                closed.add(position)
        return closed

    def _step(self, reached: set[int], part: str) -> set[int]:
        after: set[int] = set()
        for position in reached:
            if position == len(self.parts):
                continue
            if self.parts[position] == "**":
                after.add(position)
                if position == len(self.parts) - 1:
                    after.add(position + 1)
            elif fnmatch.fnmatchcase(part, self.parts[position]):
                after.add(position + 1)
        return after


def parse_pattern(text: str) -> Pattern | None:
    """A pattern from its text; None for blank lines, comments and what is too long."""
    text = text.rstrip()
    if not text or text.startswith("#") or len(text) > MAX_PATTERN_LENGTH:
        return None
    negated = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\")
    directory_only = text.endswith("/")
    body = text.strip("/")
    if not body:
        return None
    anchored = "/" in text.rstrip("/")
    parts = tuple(body.split("/"))
    return Pattern(parts if anchored else ("**", *parts), negated, directory_only)


@lru_cache(maxsize=64)
def parse_ignore(text: str) -> tuple[Pattern, ...]:
    """The patterns of a ``.gitignore``."""
    parsed = (parse_pattern(line) for line in text.splitlines()[:MAX_PATTERNS])
    return tuple(pattern for pattern in parsed if pattern is not None)


def is_ignored(patterns: tuple[Pattern, ...], path: str) -> bool:
    """Whether a file is ignored: the last pattern that matches it, or a directory above it, says.

    As in git, a file inside an ignored directory cannot be re-included.
    """
    parts = tuple(path.split("/"))
    for depth in range(1, len(parts) + 1):
        is_file = depth == len(parts)
        verdict = False
        for pattern in patterns:
            if not (is_file and pattern.directory_only) and pattern.matches(parts[:depth]):
                verdict = not pattern.negated
        if verdict:
            return True
    return False


@lru_cache(maxsize=64)
def parse_attributes(text: str) -> tuple[tuple[Pattern, bool], ...]:
    """The lines of a ``.gitattributes`` that speak about the LFS filter: (pattern, tracked)."""
    rules: list[tuple[Pattern, bool]] = []
    for line in text.splitlines()[:MAX_PATTERNS]:
        words = line.split()
        pattern = parse_pattern(words[0]) if words else None
        if pattern is None or pattern.negated:
            continue
        rules += [
            (pattern, word == "filter=lfs")
            for word in words[1:]
            if word in {"filter", "-filter", "!filter"} or word.startswith("filter=")
        ]
    return tuple(rules)


def is_lfs_tracked(rules: tuple[tuple[Pattern, bool], ...], path: str) -> bool:
    """Whether the last rule that matches the path sends it through LFS."""
    parts = tuple(path.split("/"))
    tracked = False
    for pattern, verdict in rules:
        if pattern.matches(parts):
            tracked = verdict
    return tracked
