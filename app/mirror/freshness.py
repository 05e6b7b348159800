"""Keeping a mirrored repo as the upstream has it: whether to ask, asking once, and what it means.

A repo is asked about when it is not here, when what was said has aged (``mirror.fresh_s``), and
when a revision is asked for that is not here. Many who need the same at once wait for one answer.
If the upstream cannot say, what is here is served.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from app.accounts.names import check_name
from app.accounts.permissions import can_read
from app.accounts.tokens import Principal
from app.catalog.naming import RepoType, find_by_former_name, repo_key
from app.catalog.refs import resolve_revision
from app.db.tables import MirroredRepo, Ref, Repo
from app.errors import (
    Forbidden,
    HubError,
    InvalidRequest,
    RepoMoved,
    RepoNotFound,
    RevisionNotFound,
    Unavailable,
    UpstreamLied,
)
from app.git.checking import check_push
from app.git.names import oid_of
from app.git.objects import find_objects
from app.git.receiving import store_plain
from app.git.unpacking import UnpackedObjects
from app.hub import Hub
from app.mirror import policy, publishing
from app.mirror.door import Door
from app.mirror.remote_git import RemoteRef, fetch_objects, list_remote_refs
from app.mirror.upstream import RemoteRepo, RepoAddress, Upstream

REMEMBERED = 10_000
"""Refusals and failures that are remembered, and locks kept."""

AGED = "it has aged"
LACKING = "the revision is not here"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Freshness:
    """How a mirrored repo stands to the upstream's."""

    url: str
    checked_at: datetime | None
    stale: str = ""
    """Why what is here may be old; empty if it is not."""


class Mirror:
    """Mirrors one upstream into one hub. Thread-safe; one per process."""

    def __init__(self, hub: Hub, door: Door) -> None:
        self._hub = hub
        self._door = door
        self._base = door.base
        self._lock = threading.Lock()
        self._locks: OrderedDict[str, threading.Lock] = OrderedDict()
        self._faults: OrderedDict[str, tuple[datetime, HubError]] = OrderedDict()

    @property
    def name(self) -> str:
        """What this hub is called in the list of hubs that a request came through."""
        return hashlib.sha256(b"mirror" + self._hub.secret).hexdigest()[:16]

    def close(self) -> None:
        """Close the connections to the upstream."""
        self._door.close()

    def look(
        self, address: RepoAddress, revision: str | None
    ) -> tuple[Repo | None, Freshness | None]:
        """The repo of this name if it is here, and how it stands; None: nothing is to be asked.

        A repo that is here and has no :class:`Freshness` is this hub's own.
        """
        key = repo_key(address.repo_type, address.namespace, address.name)
        with self._hub.db.read() as session:
            repo = session.scalar(select(Repo).where(Repo.key == key))
            if repo is None:
                former = find_by_former_name(session, key)
                return former, None
            row = session.get(MirroredRepo, repo.id)
            if row is None:
                return repo, None
            stale = self._age(row)
            if not stale and revision is not None:
                try:
                    resolve_revision(session, repo, revision)
                except RevisionNotFound:
                    stale = LACKING
        return repo, Freshness(row.url, row.checked_at, stale)

    def keep(
        self,
        address: RepoAddress,
        revision: str | None,
        principal: Principal | None,
        *,
        via: str = "",
        force: bool = False,
    ) -> Freshness | None:
        """See to it that a repo is here and fresh, if it may be; None for what is no mirror.

        Raises RepoMoved, RepoNotFound, GatedRepo, and UpstreamDown, -Slow or -Lied if nothing is
        here that could be served instead.
        """
        repo, state = self.look(address, revision)
        if (repo is not None and state is None) or (state and not state.stale and not force):
            return state
        if not policy.is_allowed(self._hub.settings, address):
            return state
        if self._hub.settings.mirror.offline:
            if state is not None:
                return Freshness(state.url, state.checked_at, "the mirror is offline")
            raise RepoNotFound("Repository not found here, and this mirror is offline")
        if self.name in via.split(","):
            return state
        if repo is None:
            policy.check_may_fetch(self._hub.settings, principal)
        elif not self._may_see(repo, principal):
            return state
        key = repo_key(address.repo_type, address.namespace, address.name)
        can_wait = state is None or state.stale != AGED or force
        with self._one_at_a_time(key, wait=can_wait) as is_mine:
            if not is_mine:
                return state and replace(state, stale="")  # somebody is asking just now
            repo, state = self.look(address, revision)  # somebody may have asked meanwhile
            if (repo is not None and state is None) or (state and not state.stale and not force):
                return state
            question = f"{key}@{revision if repo else ''}"
            try:
                self._raise_remembered(question, force=force)
                return self._ask(address, revision, principal, repo, via)
            except HubError as error:
                self._remember(question, error)
                return self._instead(repo, state, error)

    def find_short(
        self, repo_type: RepoType, name: str, principal: Principal | None
    ) -> RepoAddress:
        """The repo that the upstream knows by a name without owner. Raises as :meth:`keep`."""
        try:
            check_name(name, "repository name")
        except InvalidRequest:
            raise RepoNotFound(f"Repository not found: {name}") from None
        if self._hub.settings.mirror.offline:
            raise RepoNotFound(f"Repository not found: {name}, and this mirror is offline")
        policy.check_may_fetch(self._hub.settings, principal)
        key = f"{repo_type}/{name}"
        try:
            self._raise_remembered(key, force=False)
            upstream = Upstream(self._door, self.name)
            return upstream.find_short(repo_type, name)
        except HubError as error:
            self._remember(key, error)
            raise

    def _ask(
        self,
        address: RepoAddress,
        revision: str | None,
        principal: Principal | None,
        repo: Repo | None,
        via: str,
    ) -> Freshness:
        upstream = Upstream(self._door, f"{via},{self.name}".strip(","))
        with self._hub.db.read() as session:
            row = None if repo is None else session.get(MirroredRepo, repo.id)
        remote = upstream.describe(address, None if row is None else row.etag)
        if remote is not None:
            if remote.address.page.lower() != address.page.lower():
                raise RepoMoved(remote.address.full_name)
            with self._hub.db.read() as session:
                policy.check_may_copy(session, self._hub.settings, remote, principal)
            address = remote.address
        extra = [revision] if revision and revision.startswith("refs/") else []
        present = self._present_refs(repo)
        extra += [name for name in present if name.startswith("refs/pr/")]
        refs = list_remote_refs(upstream, address, extra=extra)
        if repo is not None and {ref.name: ref.oid for ref in refs} == present:
            publishing.note_unchanged(self._hub, repo, remote)
        else:
            remote = remote or upstream.describe(address)
            assert remote is not None
            page = self._base + remote.address.page
            made = publishing.reserve_mirror(self._hub, remote, page)
            try:
                self._take_over(upstream, made, remote, refs, present)
            except BaseException:
                with suppress(HubError):
                    publishing.drop_if_empty(self._hub, made)
                raise
        if revision is not None and not self._has(address, revision):
            raise RevisionNotFound(f"Invalid rev id: {revision}")
        return Freshness(self._base + address.page, self._hub.clock.now())

    def _has(self, address: RepoAddress, revision: str) -> bool:
        _, state = self.look(address, revision)
        return state is not None and state.stale != LACKING

    def _take_over(
        self,
        upstream: Upstream,
        repo: Repo,
        remote: RemoteRepo,
        refs: list[RemoteRef],
        present: dict[str, str],
    ) -> None:
        """Fetch what is new and publish it."""
        hub = self._hub
        known = set(present.values())
        wants = sorted({ref.oid for ref in refs} - known)
        try:
            with UnpackedObjects(hub.settings.limits) as unpacked:
                if wants:
                    fetch_objects(
                        upstream,
                        remote.address,
                        unpacked,
                        lambda oids: find_objects(hub, repo.id, oids),
                        wants=wants,
                        haves=sorted(known),
                    )
                pushed = check_push(unpacked, wants, hub.settings.limits)
                plain = store_plain(hub, repo, unpacked, pushed)
            publishing.publish_mirror(hub, repo, remote, refs, pushed, plain)
        except InvalidRequest as error:
            raise UpstreamLied(
                f"{remote.address.full_name} cannot be mirrored: {error.message}"
            ) from error
        log.info("mirror.updated", repo=remote.address.full_name, commits=len(pushed.commits))

    def _present_refs(self, repo: Repo | None) -> dict[str, str]:
        if repo is None:
            return {}
        with self._hub.db.read() as session:
            rows = session.scalars(select(Ref).where(Ref.repo_id == repo.id)).all()
        return {ref.name: oid_of(ref) for ref in rows}

    def _instead(self, repo: Repo | None, state: Freshness | None, error: HubError) -> Freshness:
        """What is served though the upstream did not say how it stands."""
        if repo is None or state is None or state.checked_at is None:
            raise error
        if isinstance(error, RevisionNotFound):
            return replace(state, stale="")
        if isinstance(error, RepoNotFound | Forbidden) and not isinstance(error, RepoMoved):
            publishing.note_refused(self._hub, repo)
        log.warning("mirror.stale", url=state.url, fault=error.message)
        return Freshness(state.url, state.checked_at, error.message)

    def _age(self, row: MirroredRepo) -> str:
        fresh_for = timedelta(seconds=self._hub.settings.mirror.fresh_s)
        if row.checked_at is None:
            return "it was never fetched"
        if self._hub.clock.now() - row.checked_at >= fresh_for:
            return AGED
        return ""

    def _may_see(self, repo: Repo, principal: Principal | None) -> bool:
        with self._hub.db.read() as session:
            return can_read(session, principal, repo)

    @contextmanager
    def _one_at_a_time(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Hold what only one may do for a key; False if somebody does and we do not ``wait``."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
            self._locks.move_to_end(key)
            while len(self._locks) > REMEMBERED:
                self._locks.popitem(last=False)
        is_mine = lock.acquire(blocking=wait)
        try:
            yield is_mine
        finally:
            if is_mine:
                lock.release()

    def _raise_remembered(self, key: str, *, force: bool) -> None:
        with self._lock:
            until, error = self._faults.get(key, (None, None))
        if until is not None and error is not None and not force and self._hub.clock.now() < until:
            raise error

    def _remember(self, key: str, error: HubError) -> None:
        if not isinstance(error, RepoNotFound | RevisionNotFound | Forbidden | Unavailable):
            return
        now = self._hub.clock.now()
        with self._lock:
            known = self._faults.get(key)
            if known is None or known[0] <= now:
                until = now + timedelta(seconds=self._hub.settings.mirror.negative_s)
                self._faults[key] = until, error
            while len(self._faults) > REMEMBERED:
                self._faults.popitem(last=False)
