"""Stored bytes held against the checks of their pieces, read again before they count as damaged."""

from dataclasses import dataclass

from blake3 import blake3

from app.digest import CHECK_BYTES, PIECE_BYTES
from app.errors import Damaged
from app.hub import Hub
from app.store.contract import StoreUnavailable

OPINIONS = 3
"""Reads that must all fail before stored bytes are called damaged: the wire may lie as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRange:
    """A range of an object and the checks of its pieces."""

    key: str
    start: int
    """Offset in the object."""
    stored_nbytes: int
    checks: bytes
    """16 bytes for every started MiB of the range, see ``app.digest``."""


def read_checked(hub: Hub, ref: CheckedRange, start: int, stop: int) -> memoryview:
    """Bytes ``[start, stop)`` of a range, counted from its start, verified.

    Raises :class:`~app.store.contract.ObjectMissing` when the object is gone,
    :class:`StoreUnavailable` when the store does not answer, and :class:`Damaged` when every one
    of several reads fails its checks.
    """
    first = start // PIECE_BYTES * PIECE_BYTES
    last = min(-(-stop // PIECE_BYTES) * PIECE_BYTES, ref.stored_nbytes)
    for _ in range(OPINIONS):
        data = fetch(hub, ref.key, ref.start + first, ref.start + last)
        if data is not None and is_intact(ref, first, data):
            return data[start - first : stop - first]
    raise Damaged(f"stored bytes at {ref.start + first} of {ref.key} fail their checks")


def fetch(hub: Hub, key: str, start: int, stop: int) -> memoryview | None:
    """Bytes of an object, unchecked; None for one that ends before ``stop``: damage, not weather.

    Raises ObjectMissing or StoreUnavailable.
    """
    try:
        return memoryview(hub.store.read(key, start, stop))
    except StoreUnavailable:
        stat = hub.store.stat(key)
        if stat is not None and stat.nbytes < stop:
            return None
        raise


def is_intact(ref: CheckedRange, first: int, data: memoryview) -> bool:
    """Whether pieces from offset ``first`` of a range on match their checks."""
    place = first // PIECE_BYTES * CHECK_BYTES
    for start in range(0, len(data), PIECE_BYTES):
        piece = data[start : start + PIECE_BYTES]
        if blake3(piece).digest(length=CHECK_BYTES) != ref.checks[place : place + CHECK_BYTES]:
            return False
        place += CHECK_BYTES
    return True
