"""Bytes of files that still lie in the xorbs they came in: a second copy, while it is there."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.contents.checked import fetch
from app.db.tables import Segment, StoredObject, Xorb, XorbTerm
from app.errors import Damaged
from app.hub import Hub
from app.store.contract import ObjectMissing
from app.xet.runs import read_run
from app.xet.xorb import TABLE, XorbInvalid


@dataclass(frozen=True, slots=True)
class _Term:
    """Chunks of a stored xorb and where in the content the first of them begins."""

    key: str
    table: np.ndarray
    """Rows of :data:`app.xet.xorb.TABLE`: of these chunks only."""
    at: int
    """May be negative: the content begins inside."""

    @property
    def stop(self) -> int:
        return self.at + int(self.table["nbytes"].sum())


class XorbCopy:
    """Reads a content out of the xorbs that a file of it came in."""

    def __init__(self, hub: Hub, terms: list[_Term]) -> None:
        self._hub = hub
        self._terms = terms

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``[start, stop)`` of the content, every chunk checked, again before it is blamed.

        Raises Damaged where a chunk is damaged or in no xorb, StoreUnavailable.
        """
        parts: list[bytes | memoryview] = []
        while start < stop:
            term = next((each for each in self._terms if each.at <= start < each.stop), None)
            if term is None:
                raise Damaged("these bytes lie in no xorb")
            end = min(stop, term.stop)
            parts.append(self._read(term, start - term.at, end - term.at))
            start = end
        return b"".join(parts)

    def _read(self, term: _Term, start: int, stop: int) -> bytes | memoryview:
        ends = np.cumsum(term.table["nbytes"])
        first, last = (int(np.searchsorted(ends, at, "right")) for at in (start, stop - 1))
        rows = term.table[first : last + 1]
        low = int(rows["offset"][0])
        high = int(rows["offset"][-1]) + int(rows["nbytes"][-1])
        try:
            run = read_run(lambda: self._fetch(term.key, low, high), rows)
        except (XorbInvalid, ObjectMissing) as error:
            raise Damaged("a chunk of a xorb is damaged or gone") from error
        skipped = start - (int(ends[first]) - int(rows["nbytes"][0]))
        return run[skipped : skipped + stop - start]

    def _fetch(self, key: str, start: int, stop: int) -> memoryview:
        data = fetch(self._hub, key, start, stop)
        if data is None:
            raise Damaged("a xorb lost its end")
        return data


def load_xorb_copies(session: Session, hub: Hub, content_id: int) -> list[XorbCopy]:
    """One reader for each file that holds the content and came in xorbs which are stored still."""
    rows = session.execute(
        select(
            Segment.file_id,
            Segment.start,
            XorbTerm.file_start,
            XorbTerm.chunk_start,
            XorbTerm.chunk_stop,
            Xorb.chunks,
            StoredObject.key,
        )
        .join(XorbTerm, XorbTerm.file_id == Segment.file_id)
        .join(Xorb, Xorb.id == XorbTerm.xorb_id)
        .join(StoredObject, StoredObject.id == Xorb.object_id)
        .where(
            Segment.content_id == content_id, XorbTerm.file_start < Segment.start + Segment.nbytes
        )
    )
    found: dict[tuple[int, int], list[_Term]] = {}
    for file_id, start, file_start, first, last, chunks, key in rows:
        table = np.frombuffer(chunks, TABLE)[first:last]
        found.setdefault((file_id, start), []).append(_Term(key, table, file_start - start))
    return [XorbCopy(hub, terms) for terms in found.values()]
