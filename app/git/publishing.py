"""The transaction of a push: refs compared and moved, with everything that they need made visible.

Locks are those of a commit by the API (:mod:`app.catalog.commits`): refs in order, the repo's row,
then files by id.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.tokens import Principal
from app.catalog.ancestry import Ancestry, is_ancestor
from app.catalog.cuts import hold_history, owe_pruning
from app.catalog.owing import owe_jobs
from app.catalog.ref_names import BRANCH, RefNames
from app.db.inserting import batches, insert_if_absent
from app.db.tables import Ref, Repo
from app.git.checking import Pushed
from app.git.names import NO_OID, oid_of
from app.git.storing import Storing, claim_pushed
from app.hub import Hub
from app.ingest.files import IngestedFile

Faults = dict[str, str | None]
"""By ref: why it was not moved; None: it was."""


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """What a client asks for one ref; ids as git has them."""

    name: str
    old: str
    new: str

    @property
    def is_deletion(self) -> bool:
        """Whether the ref is to go."""
        return self.new == NO_OID

    @property
    def is_creation(self) -> bool:
        """Whether the ref is to be made."""
        return self.old == NO_OID and not self.is_deletion


def publish_push(
    hub: Hub,
    principal: Principal,
    repo: Repo,
    updates: Sequence[RefUpdate],
    pushed: Pushed,
    plain: Mapping[str, IngestedFile],
    *,
    atomic: bool,
) -> Faults:
    """Move the refs that may be moved; all or none of them, with ``atomic``.

    ``plain`` are the plain files of the push, stored, by blob id. Raises MissingUploads for LFS
    objects that were not sent, InvalidRequest for a push that lacks objects.
    """

    def work(session: Session) -> Faults:
        refs = _lock_refs(session, repo, updates)
        hold_history(session, repo.id)
        ancestry = with_pushed(Ancestry(session, repo.id), pushed)
        judge = _Judge(hub, ancestry, pushed)
        faults = {each.name: judge.fault(each, refs.get(each.name)) for each in updates}
        if created := [each for each in updates if each.is_creation]:
            _judge_names(session, repo, faults, created)
        if atomic and any(faults.values()):
            return {name: fault or "atomic push failed" for name, fault in faults.items()}
        accepted = [each for each in updates if faults[each.name] is None]
        if not accepted:
            return faults
        files = claim_pushed(session, principal, repo, pushed, plain)
        storing = Storing(session, repo, pushed, plain, files, ancestry)
        storing.store(hub.settings.limits)
        for each in accepted:
            faults[each.name] = _move(session, hub, repo, each, refs.get(each.name), pushed)
        session.flush()
        # Commits that only refused refs wanted are cut off from the start.
        if judge.cuts or (any(faults.values()) and pushed.commits):
            owe_pruning(session, hub, repo.id)
        owe_jobs(session, hub, repo, files.by_id, storing.pickles)
        moved = [each.name for each in accepted if faults[each.name] is None]
        note(session, hub, "repo.push", repo.key, " ".join(moved))
        return faults

    return hub.db.run(work)


def _lock_refs(session: Session, repo: Repo, updates: Iterable[RefUpdate]) -> dict[str, Ref]:
    return {
        ref.name: ref
        for some in batches(sorted(each.name for each in updates))
        for ref in session.scalars(
            select(Ref)
            .where(Ref.repo_id == repo.id, Ref.name.in_(some))
            .order_by(Ref.name)
            .with_for_update()
        )
    }


def with_pushed(ancestry: Ancestry, pushed: Pushed) -> Ancestry:
    """The history with the pushed commits in it."""
    ancestry.load(pushed.outside.commits)
    for commit in pushed.commits:
        ancestry.add(commit.oid, commit.parents, commit.tree, commit.committed_at)
    return ancestry


class _Judge:
    """Which refs may be moved, seeing the history with the pushed commits in it."""

    def __init__(self, hub: Hub, ancestry: Ancestry, pushed: Pushed) -> None:
        self._settings = hub.settings
        self._pushed = pushed
        self._ancestry = ancestry
        self.cuts = False
        """Whether an update that was allowed cuts commits off."""

    def fault(self, wanted: RefUpdate, ref: Ref | None) -> str | None:
        """Why a ref may not be moved as asked; None if it may."""
        if (NO_OID if ref is None else oid_of(ref)) != wanted.old:
            return "the ref was changed meanwhile; fetch first"
        is_default = wanted.name == BRANCH + self._settings.default_branch
        if wanted.is_deletion:
            if is_default or ref is None:
                return "the default branch stays" if is_default else "there is no such ref"
            self.cuts = True
            return None
        target = _commit_of(wanted, self._pushed)
        if self._ancestry.find(target) is None:
            return "the commit is not here"
        if ref is None or is_ancestor(self._ancestry, ref.commit_oid, [target]):
            return None
        force = self._settings.force_push
        if force == "none" or (force == "branches" and is_default):
            return "non-fast-forward: this hub refuses forced pushes here (setting: force_push)"
        self.cuts = True
        return None


def _judge_names(
    session: Session, repo: Repo, faults: Faults, created: Iterable[RefUpdate]
) -> None:
    """Add a fault for every new ref that cannot be beside those there are, or those before it."""
    names = RefNames(session, repo.id)
    for each in created:
        clashing = names.clashing(each.name)
        if clashing:
            faults[each.name] = faults[each.name] or f"it cannot be beside {clashing}"
        else:
            names.add(each.name)


def _commit_of(wanted: RefUpdate, pushed: Pushed) -> str:
    return pushed.tags[wanted.new][0] if wanted.new in pushed.tags else wanted.new


def _move(
    session: Session, hub: Hub, repo: Repo, wanted: RefUpdate, ref: Ref | None, pushed: Pushed
) -> str | None:
    """Do what was allowed; the fault, if somebody else made the same ref just now."""
    if wanted.is_deletion:
        session.delete(ref)
        return None
    _, tag_body = pushed.tags.get(wanted.new, ("", None))
    if ref is not None:
        ref.commit_oid, ref.tag_body = _commit_of(wanted, pushed), tag_body
    else:
        row = {
            "repo_id": repo.id,
            "name": wanted.name,
            "commit_oid": _commit_of(wanted, pushed),
            "tag_body": tag_body,
        }
        if not insert_if_absent(session, Ref, row):
            return "somebody else made it meanwhile; fetch first"
    if wanted.name == BRANCH + hub.settings.default_branch:
        changed = update(Repo).where(Repo.id == repo.id)
        session.execute(changed.values(updated_at=hub.clock.now()))
    return None
