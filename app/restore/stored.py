"""Stored bytes as they lie: where the encodings of a file are, and how to hand them out.

A client that decodes for itself fetches extents: ranges of objects that hold nothing but encodings
it was given. Neighbours in a pack may belong to others, so an extent never spans a gap.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.contents.reading import read_runs, read_stored
from app.contents.refs import EncodingRef, StoredRange, load_object_ranges
from app.digest import PIECE_BYTES
from app.errors import ContentNotFound
from app.hub import Hub
from app.restore.plan import FilePlan
from app.restore.pool import shared_pool
from app.restore.reader import ReaderClosed

EXTENT_NBYTES = 8 << 20
"""Encodings are bundled up to this size; a longer one has an extent of its own."""

WINDOW_NBYTES = 4 << 20
"""Stored bytes read at a time, once a client has shown that it takes them."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A range of an object that consists of encodings."""

    object_id: int
    key: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Bundles:
    """Extents in the order of first use, and where each encoding lies: extent and offset in it."""

    extents: tuple[Extent, ...]
    place_of: dict[int, tuple[int, int]]
    """By content id."""


def bundle(plan: FilePlan, refs: Sequence[EncodingRef]) -> Bundles:
    """Extents that hold ``refs``, which are contents of the file or bases of such."""
    first_use = {ref.content_id: number for number, ref in enumerate(refs)}
    own = {segment.content_id for segment in plan.segments}
    # Bases apart from the file's own contents: a client that has the bases skips whole extents.
    in_place = sorted(refs, key=lambda ref: (ref.content_id not in own, ref.key, ref.start))
    groups: list[list[EncodingRef]] = []
    for ref in in_place:
        if groups and _continues(groups[-1], ref, own):
            groups[-1].append(ref)
        else:
            groups.append([ref])
    groups.sort(key=lambda group: min(first_use[ref.content_id] for ref in group))
    return Bundles(
        extents=tuple(
            Extent(
                object_id=group[0].object_id,
                key=group[0].key,
                start=group[0].start,
                stop=group[-1].start + group[-1].stored_nbytes,
            )
            for group in groups
        ),
        place_of={
            ref.content_id: (number, ref.start - group[0].start)
            for number, group in enumerate(groups)
            for ref in group
        },
    )


class ExtentReader:
    """Reads one extent, every piece checked before it is handed out."""

    def __init__(self, hub: Hub, object_id: int, start: int, stop: int) -> None:
        self._hub = hub
        self._pool = shared_pool(hub.settings.restore_threads)
        self._start = start
        self._taken_nbytes = 0
        self._closed = False
        with hub.db.read() as session:
            self._parts = load_object_ranges(session, object_id, start, stop)
        at = start
        for part in self._parts:
            if part.start > at:
                break
            at = max(at, part.start + part.stored_nbytes)
        if at < stop:
            raise ContentNotFound("these bytes were stored anew; ask for a new plan")

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """Bytes ``[start, stop)`` of the extent. Raises as ``read_stored`` does.

        As in a :class:`FileReader`, who takes nothing costs a piece and no more.
        """
        at, end = self._start + start, self._start + stop
        touched = [
            part
            for part in self._parts
            if part.start < end and at < part.start + part.stored_nbytes
        ]
        self._pool.enter()
        try:
            for group in _windows(touched, self._window):
                whole = read_runs(self._hub, group) if len(group) > 1 else {}
                for part in group:
                    while part.start <= at < min(end, part.start + part.stored_nbytes):
                        if self._closed:
                            raise ReaderClosed("the download was closed")
                        first = at - part.start
                        last = min(end - part.start, part.stored_nbytes, self._ahead_of(first))
                        data = whole.get((part.key, part.start))
                        yield (
                            read_stored(self._hub, part, first, last)
                            if data is None
                            else data[first:last]
                        )
                        self._taken_nbytes += last - first
                        at = part.start + last
        finally:
            self._pool.leave()

    def close(self) -> None:
        """Stop before the next window."""
        self._closed = True

    def _window(self) -> int:
        """What may be read ahead of the client, a piece at least."""
        return min(self._pool.window(WINDOW_NBYTES), PIECE_BYTES + 2 * self._taken_nbytes)

    def _ahead_of(self, first: int) -> int:
        """Where a read from ``first`` may end: pieces are read, and checked, as wholes."""
        return (first + self._window()) // PIECE_BYTES * PIECE_BYTES


def _continues(group: list[EncodingRef], ref: EncodingRef, own: set[int]) -> bool:
    last = group[-1]
    return (
        (last.content_id in own) == (ref.content_id in own)
        and last.key == ref.key
        and last.start + last.stored_nbytes == ref.start
        and ref.start + ref.stored_nbytes - group[0].start <= EXTENT_NBYTES
    )


def _windows(parts: Sequence[StoredRange], room: Callable[[], int]) -> Iterator[list[StoredRange]]:
    """Runs of parts that together fit the window as it is by then; a longer part alone."""
    group: list[StoredRange] = []
    nbytes = 0
    for part in parts:
        if group and nbytes + part.stored_nbytes > room():
            yield group
            group, nbytes = [], 0
        group.append(part)
        nbytes += part.stored_nbytes
    if group:
        yield group
