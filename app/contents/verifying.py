"""Proof that one encoding of a content is sound: read from the store, decoded, hashed again.

Unlike a reader, a proof follows nothing: no former encoding stands in, and nothing is marked. So it
also serves for encodings that are not published yet.
"""

from collections.abc import Iterator

from blake3 import blake3

from app.contents import frames
from app.contents.checked import read_checked
from app.contents.refs import RAW, EncodingRef
from app.digest import content_id
from app.errors import Damaged
from app.hub import Hub
from app.store.contract import ObjectMissing

WINDOW_NBYTES = 16 << 20
"""Raw bytes decoded at a time."""


def verify_content(hub: Hub, ref: EncodingRef) -> None:
    """Prove that an encoding decodes to the digest; raises :class:`Damaged` if it does not.

    Raises StoreUnavailable when the store does not answer: then nothing is known.
    """
    hasher = blake3()
    for window in stream_strictly(hub, ref):
        hasher.update(window)
    if content_id(hasher.digest()) != ref.digest:
        raise Damaged(f"content {ref.content_id} decodes to other bytes than its digest says")


def stream_strictly(hub: Hub, ref: EncodingRef, start: int = 0) -> Iterator[memoryview]:
    """Raw bytes of exactly this encoding, in windows; raises as :func:`verify_content` does."""
    for at in range(start, ref.nbytes, WINDOW_NBYTES):
        yield read_strictly(hub, ref, at, min(at + WINDOW_NBYTES, ref.nbytes))


def read_strictly(hub: Hub, ref: EncodingRef, start: int, stop: int) -> memoryview:
    """Raw bytes ``[start, stop)`` of exactly this encoding; raises as :func:`verify_content` does.

    Stored bytes are checked; what they decode to is the caller's to compare with the digest.
    """
    if start == stop:
        return memoryview(b"")
    if ref.codec == RAW:
        return _read(hub, ref, start, stop)
    try:
        head = frames.head_of(ref, lambda begin, end: _read(hub, ref, begin, end))
        span = frames.span_of(head, start, stop)
        stored = _read(hub, ref, *span.stored)
        base = None if ref.base is None else read_strictly(hub, ref.base, *span.base)
        return frames.cut(head, span, frames.decode_span(head, span, stored, base), start, stop)
    except frames.BadFrame as error:
        raise Damaged(f"frame of content {ref.content_id} does not decode: {error}") from error


def _read(hub: Hub, ref: EncodingRef, start: int, stop: int) -> memoryview:
    try:
        return read_checked(hub, ref, start, stop)
    except ObjectMissing as error:
        raise Damaged(f"object {ref.key} of content {ref.content_id} is missing") from error
