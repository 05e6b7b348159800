"""The repack job: what is left of a sparsely used object moves, as it is, to a new one.

After a regrouping an object may hold little that is current; it can only be deleted as a whole. One
that holds contents of several dedup domains, since some were shared, is parted in the same way.
Frames are copied without being decoded, then proven and swapped like any new encoding.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog
from sqlalchemy import select

from app.contents.reading import read_stored
from app.contents.refs import EncodingRef, load_refs
from app.db.tables import Encoding
from app.deltas.coding import STREAMED_NBYTES, Coded
from app.deltas.recode import Recoder
from app.deltas.swap import SwapRefused
from app.errors import Damaged
from app.hub import Hub
from app.jobs.context import JobContext

WINDOW_NBYTES = 8 << 20

log = structlog.get_logger(__name__)


def repack(context: JobContext) -> None:
    """Handler of ``repack`` jobs: payload ``object_id``. Idempotent."""
    repack_objects(context, [int(context.payload["object_id"])])


def repack_objects(context: JobContext, object_ids: Sequence[int]) -> None:
    """Copy what is current in some objects to new ones. What moves away meanwhile is left."""
    hub = context.hub
    with hub.db.read() as session:
        ids = session.scalars(
            select(Encoding.content_id)
            .where(Encoding.object_id.in_(object_ids), Encoding.final.is_(True))
            .order_by(Encoding.object_id, Encoding.start)
        ).all()
        refs = load_refs(session, ids)
    total = sum(ref.stored_nbytes for ref in refs.values())
    done = 0
    try:
        with Recoder(context) as recoder:
            for content_id in ids:
                ref = refs.get(content_id)
                if ref is None:
                    continue
                context.check()
                recoder.add(ref, _copy(hub, ref, recoder.directory))
                done += ref.stored_nbytes
                context.progress(done, total)
            recoder.flush()
    except (SwapRefused, Damaged) as error:
        log.info("repack.stopped", object_ids=list(object_ids), error=str(error))


def _copy(hub: Hub, ref: EncodingRef, directory: Path) -> Coded:
    base_id = None if ref.base is None else ref.base.content_id
    nbytes = ref.stored_nbytes
    if nbytes <= STREAMED_NBYTES:
        return Coded(ref.codec, base_id, bytes(read_stored(hub, ref, 0, nbytes)), nbytes)
    with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
        for start in range(0, nbytes, WINDOW_NBYTES):
            file.write(read_stored(hub, ref, start, min(start + WINDOW_NBYTES, nbytes)))
    return Coded(ref.codec, base_id, Path(file.name), nbytes)
