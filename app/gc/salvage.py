"""A damaged content stored anew, from whatever is left of it.

Its own encoding, replaced ones that are kept for a while and the xorbs it came in are tried window
by window, so that two copies damaged in different places make one that is whole. Nothing is
believed but the digest of all of it.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from blake3 import blake3
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.contents import objects
from app.contents.healing import declare_sound, mark_healed_files
from app.contents.packs import PackedEncoding, PackWriter
from app.contents.refs import RAW, EncodingRef, load_former_refs, load_refs
from app.contents.verifying import WINDOW_NBYTES, read_strictly, verify_content
from app.db.tables import Content, Encoding, FormerEncoding
from app.deltas.coding import ENCODER, STREAMED_NBYTES, Coded, code_whole
from app.deltas.tensors import load_tensors
from app.digest import content_id
from app.errors import Damaged
from app.hub import Hub
from app.xet.copies import load_xorb_copies

Copy = Callable[[int, int], bytes | memoryview]
"""Raw bytes of the content from start to stop; raises Damaged or StoreUnavailable."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Patient:
    """A content as it was found."""

    id: int
    digest: bytes
    nbytes: int
    domain: int
    dtype: str | None
    place: tuple[int, int] | None
    """Object and start of the current encoding; None if there is none."""
    current: EncodingRef | None
    copies: Sequence[Copy]


def salvage(hub: Hub, content: int) -> bool:
    """Give a content a sound encoding; False if no copies make it whole.

    Raises StoreUnavailable when the store does not answer.
    """
    patient = _load(hub, content)
    if patient is None:
        return False
    if patient.current is not None and _is_sound(hub, patient.current):
        return hub.db.run(lambda session: _declare(session, patient))
    with tempfile.TemporaryDirectory(prefix="clade-salvage-") as directory:
        raw = Path(directory) / "raw"
        if not _assemble(patient, raw):
            return False
        with PackWriter(hub) as writer:
            coded = _code(patient, raw)
            writer.add(content, coded.codec, None, coded.body)
            [packed] = writer.close()
            verify_content(hub, _ref(patient, packed))
            installed = hub.db.run(lambda session: _install(session, hub, patient, packed))
            if not installed:
                writer.abandon()
    if installed:
        log.info("salvaged", content_id=content, key=packed.pack.pending.key)
    return installed


def _load(hub: Hub, content: int) -> _Patient | None:
    with hub.db.read() as session:
        row = session.get(Content, content)
        if row is None:
            return None
        encoding = session.scalars(
            select(Encoding).where(Encoding.content_id == content)
        ).one_or_none()
        current = load_refs(session, [content]).get(content)
        refs = [*([current] if current else []), *load_former_refs(session, content)]
        xorbs = load_xorb_copies(session, hub, content)
        tensor = load_tensors(session, [content]).get(content)
    copies: list[Copy] = [
        lambda start, stop, ref=ref: read_strictly(hub, ref, start, stop) for ref in refs
    ]
    return _Patient(
        id=content,
        digest=row.digest,
        nbytes=row.nbytes,
        domain=row.domain,
        dtype=None if tensor is None else tensor.dtype,
        place=None if encoding is None else (encoding.object_id, encoding.start),
        current=current,
        copies=[*copies, *(each.read for each in xorbs)],
    )


def _is_sound(hub: Hub, ref: EncodingRef) -> bool:
    """Whether it decodes, and stands as an encoding must."""
    if ref.base is not None and ref.base.base is not None:
        return False
    with hub.db.read() as session:
        if not objects.is_live(session, ref.object_id):
            return False
    try:
        verify_content(hub, ref)
    except Damaged:
        return False
    return True


def _assemble(patient: _Patient, raw: Path) -> bool:
    """Write the raw bytes, each window from the first copy that has it; False if they are wrong."""
    hasher = blake3()
    with raw.open("wb") as file:
        for start in range(0, patient.nbytes, WINDOW_NBYTES):
            window = _window(patient, start, min(start + WINDOW_NBYTES, patient.nbytes))
            if window is None:
                return False
            hasher.update(window)
            file.write(window)
    return content_id(hasher.digest()) == patient.digest


def _window(patient: _Patient, start: int, stop: int) -> bytes | memoryview | None:
    for copy in patient.copies:
        try:
            return copy(start, stop)
        except Damaged:
            continue
    return None


def _code(patient: _Patient, raw: Path) -> Coded:
    if patient.nbytes > STREAMED_NBYTES:
        return Coded(RAW, None, raw, patient.nbytes)
    return code_whole(memoryview(raw.read_bytes()), patient.dtype)


def _ref(patient: _Patient, packed: PackedEncoding) -> EncodingRef:
    return EncodingRef(
        content_id=patient.id,
        object_id=packed.object_id,
        key=packed.pack.pending.key,
        start=packed.start,
        stored_nbytes=packed.nbytes,
        checks=packed.checks,
        digest=patient.digest,
        nbytes=patient.nbytes,
        codec=packed.codec,
        base=None,
        domain=patient.domain,
    )


def _declare(session: Session, patient: _Patient) -> bool:
    row = _locked(session, patient)
    if row is None:
        return False
    declare_sound(session, [patient.id])
    mark_healed_files(session, [patient.id])
    return True


def _install(session: Session, hub: Hub, patient: _Patient, packed: PackedEncoding) -> bool:
    """Make the new encoding current; False if the content was encoded anew meanwhile."""
    row = _locked(session, patient)
    if row is None and patient.place is not None:
        return False
    objects.publish(session, packed.pack.pending, packed.pack.nbytes)
    session.flush()
    left: list[int] = []
    if row is None:
        row = Encoding(content_id=patient.id)
        session.add(row)
    else:
        left = [row.object_id]
        # What lies there is no copy of the content; nobody shall take it for one.
        session.execute(
            delete(FormerEncoding).where(
                FormerEncoding.content_id == patient.id,
                FormerEncoding.object_id == row.object_id,
                FormerEncoding.start == row.start,
            )
        )
    row.codec, row.base_id, row.final = packed.codec, None, True
    row.object_id, row.start = packed.object_id, packed.start
    row.nbytes, row.checks = packed.nbytes, packed.checks
    row.encoder = 0 if packed.codec == RAW else ENCODER
    row.created_at = hub.clock.now()
    session.flush()
    objects.retire_unreferenced(session, hub, left)
    declare_sound(session, [patient.id])
    mark_healed_files(session, [patient.id])
    return True


def _locked(session: Session, patient: _Patient) -> Encoding | None:
    """The encoding, locked with its content, if it is the one that was found."""
    session.execute(select(Content.id).where(Content.id == patient.id).with_for_update()).all()
    row = session.scalars(
        select(Encoding).where(Encoding.content_id == patient.id).with_for_update()
    ).one_or_none()
    if row is not None and (row.object_id, row.start) == patient.place:
        return row
    return None
