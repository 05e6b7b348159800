"""What a file still lacks under one restore plan, as tasks: fetch, decode, verify, put in place.

Whatever goes wrong with a content's stored form (damage, a wrong base), its raw bytes are fetched
as a range of the file instead; only if these do not match their digest either is the download lost.
"""

import mmap
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from blake3 import blake3

import codec
from client.buffers import Buffers
from client.cache import RangeReader
from client.choice import Way, choose_ways
from client.errors import DamagedDownload, Refused, StaleLocation, Unreachable
from client.local import LocalContents
from client.plan import RAW, Extent, PlannedContent, PlannedSegment, RestorePlan
from client.unpack import unpack, windows_of

PLAIN_NBYTES = 8 << 20
"""Raw bytes fetched in one request."""

SPOOL_NBYTES = 64 << 20
"""An extent beyond this is fetched to disk rather than into memory."""

Task = Callable[[], None]


class FileSource(Protocol):
    """The hub, as far as one file needs it."""

    def read_extent(self, extent: Extent, start: int, sink: memoryview) -> None:
        """Fill ``sink`` with stored bytes."""
        ...

    def read_plain(self, start: int, sink: memoryview) -> None:
        """Fill ``sink`` with bytes of the file."""
        ...


class Part(Protocol):
    """What is being put together: a file, or some of one in memory."""

    done: set[int]
    """Segments that nothing is missing of."""

    def write(self, start: int, data: memoryview) -> None:
        """Put bytes of the file in place."""
        ...

    def view(self, segment: PlannedSegment) -> memoryview:
        """A segment's bytes as they are now."""
        ...


class Assembly:
    """One pass over the missing segments. Tasks may run in any order, on any threads."""

    def __init__(
        self,
        source: FileSource,
        plan: RestorePlan,
        part: Part,
        local: LocalContents,
        finish: Callable[[Sequence[int]], None],
        *,
        keep: bool = False,
    ) -> None:
        """``keep``: stored bytes that need no base go to the cache, as no file will hold them."""
        self._source = source
        self._plan = plan
        self._part = part
        self._local = local
        self._finish = finish
        self._keeps = keep
        self._missing: defaultdict[int, list[int]] = defaultdict(list)
        for number, segment in enumerate(plan.segments):
            if number not in part.done:
                self._missing[segment.content].append(number)
        self._buffers = Buffers()
        self._base_locks = [threading.Lock() for _ in plan.extents]

    def tasks(self) -> list[Task]:
        """Everything there is to do, roughly in the order of the file."""
        by_extent: defaultdict[int, list[int]] = defaultdict(list)
        plain: list[int] = []
        tasks: list[Task] = []
        ways = choose_ways(self._plan, self._missing, self._local.has)
        for number, way in ways.items():
            location = self._plan.contents[number].location
            if way is Way.LOCAL:
                tasks.append(lambda number=number: self._from_local(number))
            elif way is Way.PLAIN or location is None:
                plain.append(number)
            else:
                if location.extent not in by_extent:
                    tasks.append(
                        lambda extent=location.extent: self._from_extent(extent, by_extent[extent])
                    )
                by_extent[location.extent].append(number)
        return tasks + [lambda run=run: self._from_file(run) for run in self._plain_runs(plain)]

    def _from_local(self, number: int) -> None:
        content = self._plan.contents[number]
        read = self._local.open(content.digest, content.nbytes)
        if read is not None:
            if self._store(number, windows_of(content.nbytes, read)):
                return
            self._local.forget(content.digest)
        self._from_file([number])

    def _from_extent(self, extent: int, numbers: Sequence[int]) -> None:
        try:
            with self._fetched(extent, numbers) as stored_of:
                failed = [number for number in numbers if not self._decode(number, stored_of)]
        except StaleLocation:
            raise
        except (Unreachable, Refused):
            failed = [number for number in numbers if not self._is_placed(number)]
        for number in failed:
            self._from_file([number])

    def _from_file(self, numbers: Sequence[int]) -> None:
        """Contents whose first missing segments are neighbours: one request, or one per window."""
        at = self._plan.segments[self._missing[numbers[0]][0]].start
        nbytes = sum(self._plan.contents[number].nbytes for number in numbers)
        with self._buffers.lease(min(nbytes, PLAIN_NBYTES)) as buffer:
            if nbytes > PLAIN_NBYTES:
                [number] = numbers
                self._store_plain(number, self._plain_windows(at, nbytes, buffer))
                return
            self._source.read_plain(at, buffer)
            start = 0
            for number in numbers:
                stop = start + self._plan.contents[number].nbytes
                self._store_plain(number, [buffer[start:stop]])
                start = stop

    def _plain_windows(self, at: int, nbytes: int, buffer: memoryview) -> Iterator[memoryview]:
        for start in range(0, nbytes, len(buffer)):
            window = buffer[: min(len(buffer), nbytes - start)]
            self._source.read_plain(at + start, window)
            yield window

    def _store_plain(self, number: int, windows: Iterable[memoryview]) -> None:
        if not self._store(number, windows):
            raise DamagedDownload("the hub sent bytes that are not the file's")

    def _decode(self, number: int, stored_of: Callable[[int], memoryview]) -> bool:
        """Put a content in place; False if its stored form is no good."""
        content = self._plan.contents[number]
        location = content.location
        assert location is not None
        stored = stored_of(number)
        if location.codec == RAW:
            return self._store(number, [stored]) and self._kept(content, stored)
        read_base = None if location.base is None else self._base(location.base)
        try:
            windows = unpack(stored, content.nbytes, read_base, self._buffers)
            intact = self._store(number, windows)
        except codec.CodecError:
            intact = False
        if not intact and location.base is not None:
            self._local.forget(self._plan.contents[location.base].digest)
        return intact and self._kept(content, stored)

    def _store(self, number: int, windows: Iterable[memoryview]) -> bool:
        """Put raw bytes in place; False if they are not the content."""
        content = self._plan.contents[number]
        segments = self._missing[number]
        start = self._plan.segments[segments[0]].start
        hasher, at = blake3(), start
        for window in windows:
            if at + len(window) > start + content.nbytes:
                return False
            hasher.update(window)
            self._part.write(at, window)
            at += len(window)
        if hasher.digest() != content.digest:
            return False
        for other in segments[1:]:
            self._part.write(
                self._plan.segments[other].start, self._part.view(self._plan.segments[segments[0]])
            )
        self._finish(segments)
        return True

    def _base(self, number: int) -> RangeReader:
        """A reader of a base; fetched and kept if it is not at hand."""
        content = self._plan.contents[number]
        location = content.location
        assert location is not None
        with self._base_locks[location.extent]:
            read = self._local.open(content.digest, content.nbytes)
            if read is not None:
                return read
            with self._fetched(location.extent, self._in_extent(location.extent)) as stored_of:
                for other in self._in_extent(location.extent):
                    self._keep(self._plan.contents[other], stored_of(other))
                read = self._local.open(content.digest, content.nbytes)
                if read is not None:
                    return read
                stored = bytes(stored_of(number))  # nothing could be kept: the disk is full
        if location.codec == RAW:
            return lambda start, stop: memoryview(stored)[start:stop]
        return lambda start, stop: memoryview(codec.decode_range(stored, start, stop))

    def _kept(self, content: PlannedContent, stored: memoryview) -> bool:
        """True, after a content that is intact was kept if it is to be."""
        if self._keeps:
            self._keep(content, stored)
        return True

    def _keep(self, content: PlannedContent, stored: memoryview) -> None:
        assert content.location is not None
        if content.location.base is None:
            self._local.cache.put(content.digest, content.location.codec, stored)

    @contextmanager
    def _fetched(
        self, number: int, contents: Sequence[int]
    ) -> Iterator[Callable[[int], memoryview]]:
        """The stored bytes of some contents of an extent, in one request."""
        extent = self._plan.extents[number]
        locations = {
            content: location
            for content in contents
            if (location := self._plan.contents[content].location) is not None
        }
        start, stop = 0, extent.nbytes
        if not extent.headers:
            start = min(location.offset for location in locations.values())
            stop = max(at.offset + at.stored_nbytes for at in locations.values())
        with self._buffer(stop - start) as stored:
            self._source.read_extent(extent, start, stored)

            def stored_of(content: int) -> memoryview:
                offset = locations[content].offset - start
                return stored[offset : offset + locations[content].stored_nbytes]

            yield stored_of

    def _in_extent(self, extent: int) -> list[int]:
        return [
            number
            for number, content in enumerate(self._plan.contents)
            if content.location is not None and content.location.extent == extent
        ]

    def _plain_runs(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Contents grouped so that each group's first missing segments are adjacent."""
        run: list[int] = []
        end = nbytes = 0
        for number in sorted(numbers, key=lambda number: self._missing[number][0]):
            segment = self._plan.segments[self._missing[number][0]]
            if run and (segment.start != end or nbytes + segment.nbytes > PLAIN_NBYTES):
                yield run
                run, nbytes = [], 0
            run.append(number)
            nbytes += segment.nbytes
            end = segment.start + segment.nbytes
        if run:
            yield run

    @contextmanager
    def _buffer(self, nbytes: int) -> Iterator[memoryview]:
        if nbytes <= SPOOL_NBYTES:
            with self._buffers.lease(nbytes) as buffer:
                yield buffer
            return
        with tempfile.TemporaryFile() as spool:
            spool.truncate(nbytes)
            yield memoryview(mmap.mmap(spool.fileno(), nbytes))

    def _is_placed(self, number: int) -> bool:
        return self._missing[number][0] in self._part.done
