"""Read stored bytes back and compare them with what was meant to be stored."""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from blake3 import blake3

from app.digest import CHECK_BYTES, PIECE_BYTES
from app.errors import Unavailable
from app.hub import Hub

RANGE_NBYTES = 8 << 20
"""Bytes read in one request."""

THREADS = 2

OPINIONS = 2
"""Reads that must all differ before the store is not believed: the wire may lie as well."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A run of bytes in an object and the piece checks it must have (see ``app.digest``)."""

    start: int
    nbytes: int
    checks: bytes


def read_back(hub: Hub, key: str, placements: Iterable[Placement]) -> None:
    """Read every placement of an object from the store and compare its pieces.

    ``placements`` come in order of start. Memory: a range per thread. Raises
    :class:`~app.errors.Unavailable` if the store does not return what it was given; does nothing
    if the setting ``verify_upload`` is off.
    """
    if hub.settings.verify_upload == "off":
        return
    groups = _groups(placements)
    turn = threading.Lock()

    def work() -> None:
        while True:
            with turn:
                group = next(groups, None)
            if group is None:
                return
            _check_group(hub, key, group)

    first = next(groups, None)
    if first is None:
        return
    with ThreadPoolExecutor(THREADS - 1, thread_name_prefix="readback") as pool:
        others = [pool.submit(work) for _ in range(THREADS - 1)]
        _check_group(hub, key, first)
        work()
        for other in others:
            other.result()


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    stop: int
    check: bytes


def _pieces(placements: Iterable[Placement]) -> Iterator[_Piece]:
    for placement in placements:
        stop = placement.start + placement.nbytes
        for number, start in enumerate(range(placement.start, stop, PIECE_BYTES)):
            check = placement.checks[number * CHECK_BYTES : (number + 1) * CHECK_BYTES]
            yield _Piece(start, min(start + PIECE_BYTES, stop), check)


def _groups(placements: Iterable[Placement]) -> Iterator[list[_Piece]]:
    """Runs of pieces that one request can fetch."""
    group: list[_Piece] = []
    for piece in _pieces(placements):
        if group and piece.stop - group[0].start > RANGE_NBYTES:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _check_group(hub: Hub, key: str, group: list[_Piece]) -> None:
    wrong: int | None = None
    for _ in range(OPINIONS):
        wrong = _first_wrong(hub, key, group)
        if wrong is None:
            return
    raise Unavailable(
        f"the store returned other bytes than it was given, at {wrong} of {key}; send them again"
    )


def _first_wrong(hub: Hub, key: str, group: list[_Piece]) -> int | None:
    start = group[0].start
    view = memoryview(hub.store.read(key, start, group[-1].stop))
    for piece in group:
        found = blake3(view[piece.start - start : piece.stop - start]).digest(length=CHECK_BYTES)
        if found != piece.check:
            return piece.start
    return None
