"""Small files of repositories that the API reads itself: cards, configurations, attributes.

Parsed results are kept by file id: a file never changes, so neither does what it says.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from app.catalog.listing import Entry
from app.hub import Hub
from app.restore.bulk import read_file

T = TypeVar("T")

MAX_NBYTES = 1 << 20
"""Longer files are treated as empty: nobody writes cards like that."""

KEPT_NBYTES = 8 << 20
"""Of the files whose results are kept, each with ``ENTRY_NBYTES`` for itself: some thousand cards.
What is parsed takes several times as much memory as its text."""

ENTRY_NBYTES = 1 << 10


class SmallFiles:
    """Reads and parses small files, remembering the latest results. Thread-safe."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lock = threading.Lock()
        self._parsed: OrderedDict[tuple[int, Callable[[bytes], Any]], tuple[Any, int]] = (
            OrderedDict()
        )
        self.kept_nbytes = 0
        """Counted as ``KEPT_NBYTES`` bounds it."""

    def parse(self, file_id: int, nbytes: int, parser: Callable[[bytes], T]) -> T:
        """``parser`` applied to the bytes of a file. Not inside a transaction: it reads the store.

        ``parser`` is a module-level function: it is part of the key.
        """
        key = (file_id, parser)
        with self._lock:
            if key in self._parsed:
                self._parsed.move_to_end(key)
                return self._parsed[key][0]
        is_read = 0 < nbytes <= MAX_NBYTES
        value = parser(read_file(self._hub, file_id, nbytes) if is_read else b"")
        self._keep(key, value, ENTRY_NBYTES + (nbytes if is_read else 0))
        return value

    def text_of(self, entry: Entry) -> str | None:
        """The text of a file; None if it is none, or too long to be shown. Reads as ``parse``."""
        if entry.file_id is None or entry.nbytes > MAX_NBYTES:
            return None
        return self.parse(entry.file_id, entry.nbytes, _as_text)

    def _keep(self, key: tuple[int, Callable[[bytes], Any]], value: Any, cost: int) -> None:
        with self._lock:
            _, before = self._parsed.pop(key, (None, 0))
            self._parsed[key] = value, cost
            self.kept_nbytes += cost - before
            while self.kept_nbytes > KEPT_NBYTES:
                _, (_, freed) = self._parsed.popitem(last=False)
                self.kept_nbytes -= freed


def _as_text(data: bytes) -> str | None:
    if b"\x00" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


async def get_small_files(request: Request) -> SmallFiles:
    """The app's reader of small files."""
    return request.app.state.small_files


SmallFilesDep = Annotated[SmallFiles, Depends(get_small_files)]
