"""A wrapper that asks again after a transient failure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from app.store.contract import ObjectStat, ObjectStore, StoreUnavailable, UnfinishedPut
from app.store.retry import RetryPolicy
from app.store.wrapper import StoreWrapper

REPLAY_NBYTES = 4 << 20
"""A stream up to this size is held in memory so that its put can be repeated."""


class RetryingStore(StoreWrapper):
    """Retries what can be repeated. Keys are unique, so a put or delete may be done twice.

    A put of a longer stream is not repeated here: its bytes are gone. Stores that send it in parts
    retry the parts.
    """

    def __init__(self, inner: ObjectStore, policy: RetryPolicy | None = None) -> None:
        super().__init__(inner)
        self._policy = policy or RetryPolicy()

    def put(self, key: str, chunks: Iterable[bytes | memoryview]) -> int:
        """Retried if ``chunks`` is a sequence or short."""
        if not isinstance(chunks, Sequence):
            head, rest = _split(chunks)
            if rest is not None:
                return self.inner.put(key, chain(head, rest))
            chunks = head
        return self._policy.call(lambda: self.inner.put(key, chunks))

    def put_file(self, key: str, path: Path) -> int:
        """Retried; a file that a failed try already moved into the store is found there."""
        nbytes = path.stat().st_size

        def attempt() -> int:
            if path.exists():
                return self.inner.put_file(key, path)
            stat = self.inner.stat(key)
            if stat is None or stat.nbytes != nbytes:
                raise FileNotFoundError(path)
            return nbytes

        return self._policy.call(attempt)

    def read(self, key: str, start: int, stop: int) -> bytes:
        """Retried; an answer of the wrong length is a failure."""

        def attempt() -> bytes:
            data = self.inner.read(key, start, stop)
            if len(data) != stop - start:
                raise StoreUnavailable(f"short answer for {key}: {len(data)} of {stop - start}")
            return data

        return self._policy.call(attempt)

    def stat(self, key: str) -> ObjectStat | None:
        """Retried."""
        return self._policy.call(lambda: self.inner.stat(key))

    def delete(self, key: str) -> None:
        """Retried."""
        self._policy.call(lambda: self.inner.delete(key))

    def give_up(self, unfinished: UnfinishedPut) -> None:
        """Retried."""
        self._policy.call(lambda: self.inner.give_up(unfinished))

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Retried from the last key that was given out: ``tries`` counts failures in a row."""
        last = ""
        failures = 0
        while True:
            try:
                for stat in self.inner.list(prefix):
                    if stat.key > last:
                        yield stat
                        last, failures = stat.key, 0
            except StoreUnavailable as error:
                failures += 1
                if not error.transient or failures >= self._policy.tries:
                    raise
                self._policy.sleep(self._policy.wait_before(failures + 1))
            else:
                return


def _split(
    chunks: Iterable[bytes | memoryview],
) -> tuple[list[bytes], Iterator[bytes | memoryview] | None]:
    """The first chunks as own copies, and the rest of the stream (None if that was all)."""
    stream = iter(chunks)
    head: list[bytes] = []
    nbytes = 0
    for chunk in stream:
        head.append(bytes(chunk))
        nbytes += len(head[-1])
        if nbytes > REPLAY_NBYTES:
            return head, stream
    return head, None
