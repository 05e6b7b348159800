"""Ingest one file of any size from a stream."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from app.contents import objects
from app.contents.objects import PendingObject
from app.contents.readback import Placement, read_back
from app.errors import HubError
from app.hub import Hub
from app.ingest.files import IngestedFile, ReceivedFile
from app.ingest.publish import publish_files
from app.ingest.receive import Receiver
from app.ingest.resting import NOTHING_RESTS, RestingFile


def ingest_stream(
    hub: Hub,
    chunks: Iterable[bytes | memoryview],
    *,
    nbytes: int | None,
    sha256: bytes | None,
    repo_id: int,
    resting: RestingFile = NOTHING_RESTS,
    proposer: int | None = None,
) -> IngestedFile:
    """Store the file that ``chunks`` make up; durable, read back and visible when this returns.

    ``nbytes`` and ``sha256`` are what the sender announced; without ``nbytes`` the file is stored
    as opaque bytes. The repository is granted the file and a lease holds it until a commit names
    it. Contents that are stored already are linked; ``resting`` segments are read from ``chunks``
    like all others, and stay in the objects where they lie. ``proposer``: the account that sends,
    if it may only propose to the repository.

    Raises :class:`~app.errors.IntegrityError` (other bytes than announced), LimitExceeded,
    RepoNotFound, QuotaExceeded, :class:`~app.contents.objects.ObjectLost` (took too long) or
    Unavailable. Nothing is visible then, and the same call may be made again.
    """
    pending = objects.begin(hub, "upload")
    try:
        beat = _Heartbeat(hub, pending)
        receiver = Receiver(
            hub.settings.limits, nbytes=nbytes, sha256=sha256, on_buffer=beat, resting=resting
        )
        stored_nbytes = hub.store.put(pending.key, receiver.verified(chunks))
        file = receiver.file
        read_back(hub, pending.key, placements(file))
        [ingested] = publish_files(
            hub, [file], pending, stored_nbytes, repo_id=repo_id, proposer=proposer
        )
        return ingested
    except BaseException:
        give_up(hub, pending)
        raise


def placements(file: ReceivedFile) -> Iterable[Placement]:
    """Where segments of a received file lie in its object."""
    return (
        Placement(start, part.segment.nbytes, part.checks)
        for part, object_id, start in file.placed()
        if object_id is None
    )


def give_up(hub: Hub, pending: PendingObject) -> None:
    """Abandon the object of a failed upload; if that fails too, the intent expires by itself."""
    with suppress(HubError, SQLAlchemyError):
        objects.abandon(hub, pending)


class _Heartbeat:
    """Extends the intent of an upload that goes on for long."""

    def __init__(self, hub: Hub, pending: PendingObject) -> None:
        self._hub = hub
        self._pending = pending
        self._every = timedelta(seconds=hub.settings.timers.intent_s / 4)
        self._due = hub.clock.now() + self._every

    def __call__(self) -> None:
        if self._hub.clock.now() >= self._due:
            objects.extend(self._hub, self._pending)
            self._due = self._hub.clock.now() + self._every
