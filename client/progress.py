"""How far a pull is, as a value, and as a bar for people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


@dataclass(frozen=True, slots=True)
class PullProgress:
    """A moment of a pull. Sizes in bytes on disk, except ``wire_nbytes``."""

    files: int = 0
    files_done: int = 0
    nbytes: int = 0
    nbytes_done: int = 0
    wire_nbytes: int = 0

    def advanced(self, nbytes: int, *, files: int, wire_nbytes: int) -> Self:
        """A moment later."""
        return replace(
            self,
            files_done=self.files_done + files,
            nbytes_done=self.nbytes_done + nbytes,
            wire_nbytes=max(self.wire_nbytes, wire_nbytes),
        )


Progress = Callable[[PullProgress], None]
"""Called from several threads, one at a time; must be quick."""


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress]:
    """A bar on ``console``, gone when left; nothing where that is no terminal."""
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[wire]} on the wire"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("files", total=None, wire="0")

        def show(state: PullProgress) -> None:
            bar.update(
                task,
                description=f"{state.files_done}/{state.files} files",
                total=state.nbytes,
                completed=state.nbytes_done,
                wire=format_nbytes(state.wire_nbytes),
            )

        yield show


def format_nbytes(nbytes: int) -> str:
    """A byte count for people: ``12.3 MB``."""
    size = float(nbytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
