"""What a file still lacks under one restore plan, as tasks: fetch, decode, verify, put in place.

Whatever goes wrong with a content's stored form (damage, a wrong base), its raw bytes are fetched
as a range of the file instead; only if these do not match their digest either is the download lost.
"""

import mmap
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from blake3 import blake3

import codec
from client.cache import RangeReader
from client.choice import Way, choose_ways
from client.errors import DamagedDownload, Refused, StaleLocation, Unreachable
from client.local import LocalContents
from client.part import PartFile
from client.plan import RAW, Extent, PlannedContent, RestorePlan

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


class Assembly:
    """One pass over the missing segments. Tasks may run in any order, on any threads."""

    def __init__(
        self,
        source: FileSource,
        plan: RestorePlan,
        part: PartFile,
        local: LocalContents,
        finish: Callable[[Sequence[int]], None],
    ) -> None:
        self._source = source
        self._plan = plan
        self._part = part
        self._local = local
        self._finish = finish
        self._missing: defaultdict[int, list[int]] = defaultdict(list)
        for number, segment in enumerate(plan.segments):
            if number not in part.done:
                self._missing[segment.content].append(number)
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
            data = read(0, content.nbytes)
            if len(data) == content.nbytes and blake3(data).digest() == content.digest:
                self._out(number)[:] = data
                self._place(number)
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
        """Contents whose first missing segments are neighbours, in one request."""
        segments = [self._plan.segments[self._missing[number][0]] for number in numbers]
        start, stop = segments[0].start, segments[-1].start + segments[-1].nbytes
        self._source.read_plain(start, self._part.bytes[start:stop])
        for number in numbers:
            if blake3(self._out(number)).digest() != self._plan.contents[number].digest:
                raise DamagedDownload("the hub sent bytes that are not the file's")
            self._place(number)

    def _decode(self, number: int, stored_of: Callable[[int], memoryview]) -> bool:
        """Put a content in place; False if its stored form is no good."""
        content = self._plan.contents[number]
        location = content.location
        assert location is not None
        base = None if location.base is None else self._plan.contents[location.base]
        out = self._out(number)
        try:
            if location.codec == RAW:
                out[:] = stored_of(number)
            else:
                read_base = None if location.base is None else self._base(location.base)
                codec.decode(stored_of(number), base=read_base, out=out)
        except codec.CodecError:
            intact = False
        else:
            intact = blake3(out).digest() == content.digest
        if intact:
            self._place(number)
        elif base is not None:
            self._local.forget(base.digest)
        return intact

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
        with _buffer(stop - start) as stored:
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

    def _out(self, number: int) -> memoryview:
        """Where a content's bytes go first."""
        return self._part.view(self._plan.segments[self._missing[number][0]])

    def _place(self, number: int) -> None:
        """A content is verified in its first segment: copy it to the others and note them all."""
        segments = self._missing[number]
        for other in segments[1:]:
            self._part.view(self._plan.segments[other])[:] = self._out(number)
        self._finish(segments)

    def _is_placed(self, number: int) -> bool:
        return self._missing[number][0] in self._part.done


@contextmanager
def _buffer(nbytes: int) -> Iterator[memoryview]:
    if nbytes <= SPOOL_NBYTES:
        yield memoryview(bytearray(nbytes))
        return
    with tempfile.TemporaryFile() as spool:
        spool.truncate(nbytes)
        yield memoryview(mmap.mmap(spool.fileno(), nbytes))
