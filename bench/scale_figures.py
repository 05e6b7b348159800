"""What was read of hubs of several sizes, kept from run to run, and told as tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import scale_rows
from bench.report import median, percentile, print_table


@dataclass
class AtSize:
    """One size; what was not read yet is empty."""

    latencies: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Seconds, by kind of request."""
    pages: Mapping[str, float] = field(default_factory=dict)
    """Database pages that one touches."""
    whole: Mapping[str, float] = field(default_factory=dict)
    """Seconds of work over the whole hub."""
    tables: Mapping[str, int] = field(default_factory=dict)
    """Bytes of tables with their indexes."""


class Figures:
    """By number of files; kept in a directory if one is given."""

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / "figures.json"
        self.by_size: dict[int, AtSize] = {}
        if self._path is not None and self._path.exists():
            kept = json.loads(self._path.read_text())
            self.by_size = {int(size): AtSize(**each) for size, each in kept.items()}

    def has(self, files: int, part: str) -> bool:
        """Whether a part was read at a size."""
        return files in self.by_size and bool(getattr(self.by_size[files], part))

    def add(self, files: int, **parts: Mapping[str, Any]) -> None:
        """Take in what was read at a size."""
        at_size = self.by_size.setdefault(files, AtSize())
        for part, read in parts.items():
            setattr(at_size, part, read)
        if self._path is not None:
            kept = {size: asdict(each) for size, each in self.by_size.items()}
            self._path.write_text(json.dumps(kept))

    def tell(self, kinds: Sequence[str]) -> None:
        """Print all; ``kinds`` of requests in their order."""
        sizes = sorted(self.by_size)
        asked = [size for size in sizes if self.has(size, "latencies") and self.has(size, "pages")]
        if asked:
            self._tell_requests(kinds, asked)
        self._tell_whole([size for size in sizes if self.has(size, "whole")])
        largest = self.by_size[sizes[-1]]
        print_table(
            "Bytes in PostgreSQL per file, indexes included",
            ["table", "bytes"],
            [[table, f"{nbytes / sizes[-1]:.0f}"] for table, nbytes in largest.tables.items()],
            "One content a file here; a file of n tensors has n + 1 segments, contents, encodings.",
        )

    def _tell_requests(self, kinds: Sequence[str], sizes: Sequence[int]) -> None:
        columns = (cell for size in sizes for cell in (f"{size:,} p50", "p99", "pages"))
        rows = []
        for kind in kinds:
            row: list[object] = [kind]
            for size in sizes:
                seconds = list(self.by_size[size].latencies[kind])
                row += [f"{median(seconds) * 1e3:.1f}", f"{percentile(seconds, 99) * 1e3:.1f}"]
                row.append(f"{self.by_size[size].pages[kind]:.0f}")
            growth = self.by_size[sizes[-1]].pages[kind] / self.by_size[sizes[0]].pages[kind]
            rows.append([*row, f"{growth:.2f}"])
        print_table(
            f"Requests, ms, by files in the hub ({scale_rows.FILES_PER_REPO} per repository)",
            ["request", *columns, "pages, largest / smallest"],
            rows,
            "Should be flat, but for the depth of indexes: nothing depends on what else there is.",
        )

    def _tell_whole(self, sizes: Sequence[int]) -> None:
        rows = [
            [
                f"{files:,}",
                f"{files // scale_rows.CONTENTS_PER_OBJECT:,}",
                *(
                    cell
                    for seconds in self.by_size[files].whole.values()
                    for cell in (f"{seconds:.1f}", f"{files / seconds / 1e3:.0f}")
                ),
            ]
            for files in sizes
        ]
        print_table(
            "Work over the whole hub: seconds, and thousands of files per second",
            ["files", "objects", "collect", "k/s", "fsck", "k/s", "measure", "k/s"],
            rows,
            "Linear by nature: the rate should stay. Nothing is to be collected, nothing wrong.",
        )
