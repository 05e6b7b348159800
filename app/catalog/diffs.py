"""What a pull request changes, as text in the form of ``git diff``. Pure.

Source of the form: git's documentation, diff-format ("Generating patch text with -p"). Big files
show as binary: their pointers tell a reader nothing that the tree does not.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator

from app.catalog.changes import FileChange
from app.catalog.git_objects import FILE_MODE
from app.catalog.listing import Entry

MOST_FILES = 300
MOST_LINES = 5_000
"""Beyond them a diff says how much it leaves out."""

NO_OBJECT = "0" * 40

ReadText = Callable[[Entry], str | None]
"""The text of a file; None if it is none, or too long to be compared."""


def patch_text(changes: Iterable[FileChange], read: ReadText) -> str:
    """A patch of all changes, bounded."""
    lines: list[str] = []
    for index, change in enumerate(changes):
        if index == MOST_FILES or len(lines) > MOST_LINES:
            lines.append("# more files changed than are shown")
            break
        lines += _header(change)
        lines += _hunks(change, read)
    return "".join(f"{line}\n" for line in lines)


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


def _hunks(change: FileChange, read: ReadText) -> Iterator[str]:
    if change.old and change.new and change.old.oid == change.new.oid:
        return
    texts = [_text(entry, read) for entry in (change.old, change.new)]
    before = f"a/{change.path}" if change.old else "/dev/null"
    after = f"b/{change.path}" if change.new else "/dev/null"
    old, new = texts
    if old is None or new is None:
        yield f"Binary files {before} and {after} differ"
        return
    patch = difflib.unified_diff(_lines(old), _lines(new), before, after, lineterm="")
    for index, line in enumerate(patch):
        yield line.removesuffix("\n")
        is_content = index > 1 and line[0] in " +-"
        if is_content and line[-1] != "\n":
            yield "\\ No newline at end of file"


def _lines(text: str) -> list[str]:
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _text(entry: Entry | None, read: ReadText) -> str | None:
    if entry is None:
        return ""
    return None if entry.is_lfs else read(entry)


def _mode(entry: Entry | None) -> str:
    return entry.mode if entry else FILE_MODE
