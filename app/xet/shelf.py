"""The xorbs that one upload names: their chunk tables, and the files that hold their chunks."""

import uuid
from collections import OrderedDict
from datetime import timedelta

import numpy as np
from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.db.tables import File, Lease
from app.errors import ContentNotFound
from app.hub import Hub
from app.restore.plan import FilePlan, load_plan
from app.xet.hashing import term_digest
from app.xet.shard import ShardInvalid, Term
from app.xet.staging import StagedXorb, load_xorb
from app.xet.terms import held_chunks

XORBS_KEPT = 64
"""Chunk tables in memory per upload."""

PLANS_KEPT = 8


class XorbShelf:
    """The xorbs of one account that one upload names, as loaded last; used by one thread.

    Files that chunks are read from are held by leases until :meth:`close`.
    """

    def __init__(self, hub: Hub, account_id: int) -> None:
        self._hub = hub
        self._account_id = account_id
        self._xorbs: OrderedDict[bytes, StagedXorb] = OrderedDict()
        self._held: dict[bytes, np.ndarray] = {}
        self._plans: OrderedDict[int, FilePlan] = OrderedDict()
        self._owner = f"upload:{uuid.uuid4()}"

    def xorb(self, digest: bytes) -> tuple[StagedXorb, np.ndarray]:
        """A xorb, and per chunk whether a file is known to hold it (shared and mutable)."""
        xorb = self._xorbs.get(digest)
        if xorb is None:
            with self._hub.db.read() as session:
                xorb = load_xorb(session, self._account_id, digest)
            self._xorbs[digest] = xorb
            if len(self._xorbs) > XORBS_KEPT:
                self._xorbs.popitem(last=False)
        self._xorbs.move_to_end(digest)
        if digest not in self._held:
            self._held[digest] = held_chunks(xorb.holders, len(xorb.table))
        return xorb, self._held[digest]

    def plan(self, file_id: int) -> FilePlan:
        """The plan of a file that holds chunks, held by a lease from now on."""
        plan = self._plans.get(file_id)
        if plan is None:
            self._hub.db.run(lambda session: self._lease(session, file_id))
            plan = self._plans[file_id] = load_plan(self._hub, file_id)
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plan

    def close(self) -> None:
        """Drop the leases."""

        def work(session: Session) -> None:
            session.execute(delete(Lease).where(Lease.owner == self._owner))

        self._hub.db.run(work)

    def _lease(self, session: Session, file_id: int) -> None:
        if session.get(File, file_id, with_for_update=True) is None:
            raise ContentNotFound("a file that held chunks was deleted; upload it again")
        expires_at = self._hub.clock.now() + timedelta(seconds=self._hub.settings.timers.lease_s)
        session.add(Lease(file_id=file_id, owner=self._owner, expires_at=expires_at))


def checked_rows(xorb: StagedXorb, term: Term) -> np.ndarray:
    """Rows of the chunk table that a term means. Raises ShardInvalid if it contradicts them."""
    if not 0 <= term.start < term.stop <= len(xorb.table):
        raise ShardInvalid("a term names chunks that its xorb does not have")
    rows = xorb.table[term.start : term.stop]
    if int(rows["nbytes"].sum(dtype=np.uint64)) != term.nbytes:
        raise ShardInvalid("a term declares another length than its chunks have")
    if term.check is not None and term_digest(rows["digest"].tobytes()) != term.check:
        raise ShardInvalid("a term's verification digest is not that of its chunks")
    return rows


def raw_nbytes(xorb: StagedXorb, start: int, stop: int) -> int:
    """Raw bytes of chunks ``[start, stop)``."""
    return int(xorb.table["nbytes"][start:stop].sum(dtype=np.uint64))
