"""One pass over the bytes of a file: SHA-256, git blob id and dissection, each on its own thread.

hashlib, blake3 and the store's writes release the interpreter lock, so the slowest of them sets
the pace, not their sum.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from app.errors import IntegrityError, LimitExceeded
from app.ingest.dissect import Dissector
from app.ingest.files import ReceivedFile
from app.ingest.lane import Lane, regroup
from app.ingest.resting import NOTHING_RESTS, RestingFile
from app.settings import Limits


class FileDigests:
    """SHA-256 of a stream and, for a file small enough for git, its blob id."""

    def __init__(self, nbytes: int | None, limits: Limits) -> None:
        self._sha256 = hashlib.sha256()
        self._git = None
        if nbytes is not None and nbytes <= limits.regular_nbytes:
            self._git = hashlib.sha1(b"blob %d\0" % nbytes, usedforsecurity=False)

    def feed(self, buffer: memoryview) -> None:
        """Take the next bytes."""
        self._sha256.update(buffer)
        if self._git is not None:
            self._git.update(buffer)

    @property
    def sha256(self) -> bytes:
        """SHA-256 of all bytes fed."""
        return self._sha256.digest()

    @property
    def git_oid(self) -> str | None:
        """Git blob id of all bytes fed; None for a file too big or of unknown size."""
        return self._git.hexdigest() if self._git is not None else None


class Receiver:
    """Passes a stream on to the store while it is hashed and taken apart.

    Bounded memory: a few buffers per thread, and the header of a file that has one.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        nbytes: int | None,
        sha256: bytes | None,
        on_buffer: Callable[[], None],
        resting: RestingFile = NOTHING_RESTS,
    ) -> None:
        if nbytes is not None and nbytes > limits.file_nbytes:
            raise _too_long(nbytes, limits)
        self._limits = limits
        self._nbytes = nbytes
        self._sha256 = sha256
        self._on_buffer = on_buffer
        self._resting = resting
        self._received: ReceivedFile | None = None

    @property
    def file(self) -> ReceivedFile:
        """What was received; only after :meth:`verified` ran to its end."""
        assert self._received is not None
        return self._received

    def verified(self, chunks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
        """The bytes of ``chunks``, less what rests, ending only if they are what was announced.

        Raises :class:`~app.errors.IntegrityError` for another size (as soon as one byte too many
        arrives) or another SHA-256, and LimitExceeded beyond ``limits.file_nbytes``: whoever
        stores the stream stores nothing then.
        """
        digests = FileDigests(self._nbytes, self._limits)
        dissector = Dissector(self._nbytes, self._limits, self._resting.layout)
        rest = self._resting.cutter()
        received_nbytes = 0
        with ExitStack() as stack:
            lanes = [
                stack.enter_context(Lane("sha256", digests.feed)),
                stack.enter_context(Lane("dissect", dissector.feed)),
            ]
            for buffer in regroup(chunks):
                received_nbytes += len(buffer)
                self._check_not_beyond(received_nbytes)
                for lane in lanes:
                    lane.push(buffer)
                yield from rest.without(buffer)
                self._on_buffer()
            if self._nbytes is not None and received_nbytes < self._nbytes:
                raise _wrong_size(self._nbytes, f"only {received_nbytes}")
            for lane in lanes:
                lane.finish()
        if self._sha256 is not None and digests.sha256 != self._sha256:
            raise IntegrityError(
                f"the received bytes have sha256 {digests.sha256.hex()},"
                f" announced was {self._sha256.hex()}"
            )
        self._received = ReceivedFile(
            sha256=digests.sha256,
            nbytes=received_nbytes,
            git_oid=digests.git_oid,
            dissection=dissector.finish(),
            resting=self._resting.places,
        )

    def _check_not_beyond(self, received_nbytes: int) -> None:
        if self._nbytes is not None and received_nbytes > self._nbytes:
            raise _wrong_size(self._nbytes, f"at least {received_nbytes}")
        if received_nbytes > self._limits.file_nbytes:
            raise _too_long(received_nbytes, self._limits)


def _wrong_size(announced: int, received: str) -> IntegrityError:
    return IntegrityError(f"{announced} bytes were announced, {received} arrived")


def _too_long(nbytes: int, limits: Limits) -> LimitExceeded:
    return LimitExceeded(
        f"a file of {nbytes} bytes is longer than {limits.file_nbytes}",
        setting="limits.file_nbytes",
    )
