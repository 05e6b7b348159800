"""What a pull request changes, as text in the form of ``git diff``. Pure.

Source of the form: git's documentation, diff-format ("Generating patch text with -p"). Big files
show as binary: their pointers tell a reader nothing that the tree does not.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from app.catalog.changes import FileChange
from app.catalog.git_objects import FILE_MODE
from app.catalog.listing import Entry

MOST_FILES = 300
MOST_LINES = 5_000
MOST_NBYTES = 16 << 20
"""Of text that is read. Beyond any of them a diff says that it leaves something out."""

MOST_PAIRS = 10**9
"""Lines of one side times lines of the other, of all files together: files can be made so that
looking for a short change takes hours. Beyond it all that both do not begin or end with changes."""

CONTEXT = 3
NO_OBJECT = "0" * 40

ReadText = Callable[[Entry], str | None]
"""The text of a file; None if it is none, or too long to be compared."""

Opcode = tuple[Literal["replace", "delete", "insert", "equal"], int, int, int, int]
"""What becomes of a range of old lines, that range, and the range of new lines."""


def patch_text(changes: Iterable[FileChange], read: ReadText) -> str:
    """A patch of all changes, bounded."""
    lines: list[str] = []
    nbytes, pairs = 0, MOST_PAIRS
    for index, change in enumerate(changes):
        if index == MOST_FILES or len(lines) > MOST_LINES or nbytes > MOST_NBYTES:
            lines.append("# more files changed than are shown")
            break
        lines += _header(change)
        if change.old and change.new and change.old.oid == change.new.oid:
            continue
        old, new = (_text(entry, read) for entry in (change.old, change.new))
        nbytes += len(old or "") + len(new or "")
        before = f"a/{change.path}" if change.old else "/dev/null"
        after = f"b/{change.path}" if change.new else "/dev/null"
        if old is None or new is None:
            lines.append(f"Binary files {before} and {after} differ")
            continue
        matcher = _Matcher(_lines(old), _lines(new), pairs)
        pairs -= matcher.pairs
        hunks = [
            line for group in matcher.get_grouped_opcodes(CONTEXT) for line in _hunk(matcher, group)
        ]
        lines += [f"--- {before}", f"+++ {after}", *hunks] if hunks else []
    return "".join(f"{line}\n" for line in lines)


class _Matcher(difflib.SequenceMatcher[str]):
    """Compares what lies between the lines that two files begin and end with alike.

    ``pairs``: how many may be compared at most; then, how many were.
    """

    def __init__(self, old: list[str], new: list[str], pairs: int) -> None:
        head = _common(old, new)
        tail = _common(old[head:][::-1], new[head:][::-1])
        self.old, self.new, self._head, self._tail = old, new, head, tail
        middles = old[head : len(old) - tail], new[head : len(new) - tail]
        self.pairs = len(middles[0]) * len(middles[1])
        self._is_compared = self.pairs <= pairs
        if not self._is_compared:
            self.pairs = 0
        super().__init__(None, *middles)

    def get_opcodes(self) -> list[Opcode]:
        """As the base class has them, for the whole files."""
        head, tail = self._head, self._tail
        olds, news = len(self.old), len(self.new)
        middle: list[Opcode] = [("replace", 0, olds - head - tail, 0, news - head - tail)]
        if self._is_compared:
            middle = super().get_opcodes()
        found: list[Opcode] = [("equal", 0, head, 0, head)] if head else []
        for tag, old, old_stop, new, new_stop in middle:
            found.append((tag, old + head, old_stop + head, new + head, new_stop + head))
        if tail:
            found.append(("equal", olds - tail, olds, news - tail, news))
        return found


def _header(change: FileChange) -> Iterator[str]:
    old, new = change.old, change.new
    yield f"diff --git a/{change.path} b/{change.path}"
    if old is None:
        yield f"new file mode {_mode(new)}"
    elif new is None:
        yield f"deleted file mode {_mode(old)}"
    elif old.mode != new.mode:
        yield f"old mode {old.mode}"
        yield f"new mode {new.mode}"
    yield f"index {old.oid if old else NO_OBJECT}..{new.oid if new else NO_OBJECT}"


def _hunk(matcher: _Matcher, group: list[tuple[str, int, int, int, int]]) -> Iterator[str]:
    first, last = group[0], group[-1]
    yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
    for tag, old_start, old_stop, new_start, new_stop in group:
        if tag == "equal":
            yield from _signed(" ", matcher.old[old_start:old_stop])
        else:
            yield from _signed("-", matcher.old[old_start:old_stop])
            yield from _signed("+", matcher.new[new_start:new_stop])


def _signed(sign: str, lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield sign + line.removesuffix("\n")
        if not line.endswith("\n"):
            yield "\\ No newline at end of file"


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1 if length else start},{length}"


def _common(old: list[str], new: list[str]) -> int:
    """How many lines both begin with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(old), len(new)))


def _lines(text: str) -> list[str]:
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _text(entry: Entry | None, read: ReadText) -> str | None:
    if entry is None:
        return ""
    return None if entry.is_lfs else read(entry)


def _mode(entry: Entry | None) -> str:
    return entry.mode if entry else FILE_MODE
