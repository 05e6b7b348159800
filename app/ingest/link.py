"""Insert or link the contents of received files, and point the new ones at where they lie."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.accounts.domains import SHARED
from app.contents import objects
from app.contents.healing import declare_sound, mark_healed_files
from app.contents.objects import PendingObject
from app.db.inserting import batches, upsert
from app.db.tables import Content, Encoding, FormerEncoding
from app.hub import Hub
from app.ingest.files import ReceivedFile


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a content lies, raw: in the received object, or (``object_id``) in one that is live."""

    object_id: int | None
    start: int
    nbytes: int
    checks: bytes


class ContentLinker:
    """Contents of one publishing transaction. Used once."""

    def __init__(
        self,
        hub: Hub,
        session: Session,
        pending: PendingObject,
        object_nbytes: int,
        domain: int = SHARED,
    ) -> None:
        self._hub = hub
        self._session = session
        self._pending = pending
        self._object_nbytes = object_nbytes
        self._domain = domain
        self._healed: list[int] = []
        self.used_object = False
        """Whether a content lies in the received object now, which is live then."""

    def link(self, files: Iterable[ReceivedFile]) -> dict[bytes, int]:
        """Ids of all contents of ``files`` by digest; every one has a sound encoding afterwards.

        Contents are locked in the order of their digests, shared ones first. Raises ObjectLost.
        """
        places = _places(files)
        ids: dict[bytes, int] = {}
        damaged: set[int] = set()
        for digests in batches(sorted(places)):
            for content_id, digest, health in self._found_or_made(digests, places):
                ids[digest] = content_id
                if health != "ok":
                    damaged.add(content_id)
        # Only now, in statements after the locks, is it certain what the contents have.
        encoded = self._encoded(ids.values())
        missing = {
            content_id: places[digest]
            for digest, content_id in ids.items()
            if content_id in damaged or content_id not in encoded
        }
        if missing:
            objects.hold(
                self._session,
                {place.object_id for place in missing.values() if place.object_id is not None},
            )
            if any(place.object_id is None for place in missing.values()):
                objects.publish(self._session, self._pending, self._object_nbytes)
                self.used_object = True
            self._heal({i: missing[i] for i in missing if i in encoded})
            self._encode({i: missing[i] for i in missing if i not in encoded})
            self._declare_sound(sorted(damaged))
        return ids

    def mark_healed_files(self) -> None:
        """Give other files their health back whose damaged contents have all been healed."""
        mark_healed_files(self._session, self._healed)

    def _found_or_made(
        self, digests: Sequence[bytes], places: dict[bytes, _Place]
    ) -> Iterable[Any]:
        """Rows of (id, digest, health), locked and live: shared ones where there are."""
        shared = [] if self._domain == SHARED else self._shared(digests)
        known = {row.digest for row in shared}
        own = [digest for digest in digests if digest not in known]
        return [*shared, *(self._upsert(own, places) if own else ())]

    def _shared(self, digests: Sequence[bytes]) -> Sequence[Any]:
        here = (Content.domain == SHARED, Content.digest.in_(digests))
        locked = select(Content.id).where(*here).order_by(Content.digest).with_for_update()
        ids = self._session.scalars(locked).all()
        return self._session.execute(
            update(Content)
            .where(Content.id.in_(ids))
            .values(state="live", condemned_at=None)
            .returning(Content.id, Content.digest, Content.health)
            .execution_options(synchronize_session=False)
        ).all()

    def _upsert(self, digests: Sequence[bytes], places: dict[bytes, _Place]) -> Iterable[Any]:
        """Rows of (id, digest, health) of the own domain, locked and live."""
        statement = upsert(self._session, Content)
        statement = statement.on_conflict_do_update(
            index_elements=[Content.domain, Content.digest],
            set_={"state": "live", "condemned_at": None},
        ).returning(Content.id, Content.digest, Content.health)
        now = self._hub.clock.now()
        rows = [
            {
                "domain": self._domain,
                "digest": digest,
                "nbytes": places[digest].nbytes,
                "state": "live",
                "health": "ok",
                "created_at": now,
            }
            for digest in digests
        ]
        # One statement per page of rows, in their order, compiled once.
        return self._session.execute(statement, rows)

    def _encoded(self, content_ids: Iterable[int]) -> set[int]:
        encoded: set[int] = set()
        for ids in batches(sorted(content_ids)):
            encoded.update(
                self._session.scalars(
                    select(Encoding.content_id).where(Encoding.content_id.in_(ids))
                )
            )
        return encoded

    def _encode(self, places: dict[int, _Place]) -> None:
        """First encodings of contents: the bytes as they were received."""
        for ids in batches(sorted(places)):
            self._session.execute(
                insert(Encoding), [{"content_id": i, **self._raw(places[i])} for i in ids]
            )

    def _heal(self, places: dict[int, _Place]) -> None:
        """Replace the encodings of damaged contents; the old ones stay as spare copies."""
        if not places:
            return
        now = self._hub.clock.now()
        left_objects: set[int] = set()
        for ids in batches(sorted(places)):
            for old in self._session.scalars(
                select(Encoding).where(Encoding.content_id.in_(ids)).with_for_update()
            ).all():
                left_objects.add(old.object_id)
                self._session.add(
                    FormerEncoding(
                        content_id=old.content_id,
                        codec=old.codec,
                        base_id=old.base_id,
                        object_id=old.object_id,
                        start=old.start,
                        nbytes=old.nbytes,
                        checks=old.checks,
                        replaced_at=now,
                    )
                )
                for field, value in self._raw(places[old.content_id]).items():
                    setattr(old, field, value)
            self._session.flush()
        objects.retire_unreferenced(self._session, self._hub, left_objects)

    def _declare_sound(self, content_ids: list[int]) -> None:
        declare_sound(self._session, content_ids)
        self._healed = content_ids

    def _raw(self, place: _Place) -> dict[str, object]:
        return {
            "codec": "raw",
            "base_id": None,
            "object_id": self._pending.id if place.object_id is None else place.object_id,
            "start": place.start,
            "nbytes": place.nbytes,
            "checks": place.checks,
            "final": False,
            "created_at": self._hub.clock.now(),
        }


def _places(files: Iterable[ReceivedFile]) -> dict[bytes, _Place]:
    """One place per distinct content, the first; tied tensors have several segments."""
    places: dict[bytes, _Place] = {}
    for file in files:
        for part, object_id, start in file.placed():
            if part.digest not in places:
                places[part.digest] = _Place(object_id, start, part.segment.nbytes, part.checks)
    return places
