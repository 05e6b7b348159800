"""A file as a stream: fetched and decoded in parallel, delivered in order, in bounded memory."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future

from blake3 import blake3

from app.contents.reading import mark_damaged, read_content, read_whole
from app.digest import content_id
from app.errors import Damaged, HubError
from app.hub import Hub
from app.restore.plan import Cutter, FilePlan, Slice, Whole, renewed
from app.restore.pool import shared_pool

FIRST_NBYTES = 1 << 20
"""The first item is small, so that the first byte is fast; each next one doubles."""

ITEM_NBYTES = 8 << 20
"""Largest item: big enough to amortise a store request, small enough to balance threads."""

YIELD_NBYTES = 256 << 10
"""Buffers below this are joined: a write per norm and bias would cost more than the copy."""

Work = Whole | Slice


class ReaderClosed(HubError):
    """The reader was closed while its stream was read."""


class FileReader:
    """Reads one file by its plan. ``close`` may be called from any thread."""

    def __init__(self, hub: Hub, plan: FilePlan) -> None:
        self._hub = hub
        self._plan = plan
        self._pool = shared_pool(hub.settings.restore_threads)
        self._changed = threading.Condition()
        self._renewing = threading.Lock()
        self._pending: deque[tuple[Work, Future[list[memoryview]]]] = deque()
        self._closed = False
        self._taken_nbytes = 0

    def stream(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes ``[start, stop)`` of the file, in order, in buffers of some 256 KiB to 8 MiB.

        Every byte was checked before it is yielded, and the last part of each content only once the
        whole content matches its digest. Raises :class:`Damaged` when no readable copy is left,
        StoreUnavailable when the store does not answer, :class:`ReaderClosed` after ``close``.

        What is decoded ahead grows with what was taken, as TCP's slow start has it (RFC 5681,
        section 3.1): who asks for a file and takes nothing of it costs the first item and no more.
        """
        cutter = Cutter(self._plan, start, stop)
        verifier = _FlowingDigest(self._hub)
        self._pool.enter()
        try:
            item_nbytes = FIRST_NBYTES
            while True:
                item_nbytes = self._top_up(cutter, item_nbytes)
                if not self._pending:
                    return
                work, future = self._pending[0]
                buffers = self._wait(future)
                if isinstance(work, Slice):
                    verifier.feed(self._plan, work, buffers)
                yield from self._hand_over(buffers)
                del buffers, future
                self._drop_first()
        finally:
            self._cancel_pending()
            self._pool.leave()

    def close(self) -> None:
        """Cancel what was not begun and wake a waiting stream. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for _, future in tuple(self._pending):
            future.cancel()

    def _top_up(self, cutter: Cutter, item_nbytes: int) -> int:
        """Submit items until the window is full; returns the size of the next one."""
        held = sum(work.nbytes for work, _ in self._pending)
        while not self._closed:
            window = self._pool.window(self._hub.settings.restore_window_nbytes)
            window = min(window, FIRST_NBYTES + 2 * self._taken_nbytes)
            limit = min(item_nbytes, max(FIRST_NBYTES, window // 4))
            if not self._pool.hold(limit, window=window, held=held):
                break
            work = cutter.take(limit)
            self._pool.release(limit if work is None else limit - work.nbytes)
            if work is None:
                break
            future = self._pool.submit(lambda work=work: self._perform(work))
            future.add_done_callback(self._notify)
            self._pending.append((work, future))
            held += work.nbytes
            item_nbytes = min(item_nbytes * 2, ITEM_NBYTES)
        return item_nbytes

    def _hand_over(self, buffers: Sequence[memoryview]) -> Iterator[memoryview]:
        for buffer in buffers:
            yield buffer
            self._taken_nbytes += len(buffer)

    def _wait(self, future: Future[list[memoryview]]) -> list[memoryview]:
        with self._changed:
            self._changed.wait_for(lambda: future.done() or self._closed)
            if self._closed:
                raise ReaderClosed("the download was closed")
        return future.result()

    def _notify(self, _future: Future[list[memoryview]]) -> None:
        with self._changed:
            self._changed.notify_all()

    def _drop_first(self) -> None:
        work, future = self._pending.popleft()
        future.cancel()
        self._pool.release(work.nbytes)

    def _cancel_pending(self) -> None:
        while self._pending:
            self._drop_first()

    def _perform(self, work: Work) -> list[memoryview]:
        """On a thread of the pool: the buffers of one item."""
        if self._closed:
            raise CancelledError
        refs = self._young_plan().refs
        if isinstance(work, Slice):
            return [read_content(self._hub, refs[work.content_id], work.start, work.stop)]
        return _joined(read_whole(self._hub, [refs[id_] for id_ in work.content_ids]))

    def _young_plan(self) -> FilePlan:
        with self._renewing:
            self._plan = renewed(self._hub, self._plan)
            return self._plan


class _FlowingDigest:
    """BLAKE3 over the slices of one content after the other."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._hasher: blake3 | None = None

    def feed(self, plan: FilePlan, work: Slice, buffers: Sequence[memoryview]) -> None:
        """Take the next slice in; raises Damaged when a content that ends with it is not itself."""
        if work.start == 0:
            self._hasher = blake3() if work.to_end else None
        if self._hasher is None:
            return
        for buffer in buffers:
            self._hasher.update(buffer)
        ref = plan.refs[work.content_id]
        if work.stop == ref.nbytes:
            digest, self._hasher = self._hasher.digest(), None
            if content_id(digest) != ref.digest:
                mark_damaged(self._hub, ref, "decoded bytes fail the digest")
                raise Damaged("the file's stored bytes are damaged")


def _joined(buffers: Sequence[memoryview]) -> list[memoryview]:
    """The same bytes with runs of small buffers joined."""
    joined: list[memoryview] = []
    small: list[memoryview] = []
    held = 0
    for buffer in buffers:
        if len(buffer) < YIELD_NBYTES:
            small.append(buffer)
            held += len(buffer)
        if small and (held >= YIELD_NBYTES or len(buffer) >= YIELD_NBYTES):
            joined.append(memoryview(b"".join(small)) if len(small) > 1 else small[0])
            small, held = [], 0
        if len(buffer) >= YIELD_NBYTES:
            joined.append(buffer)
    if small:
        joined.append(memoryview(b"".join(small)) if len(small) > 1 else small[0])
    return joined
