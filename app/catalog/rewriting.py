"""Taking files out of history: every tree and commit that names them is written anew without them.

Commit ids change from the first commit that held such a file on; refs follow. What is not written
anew is dropped at once, so that the files are gone when this returns.
"""

import re
from collections.abc import Iterable, Mapping

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from app.accounts.audit import note
from app.accounts.proposing import mark_proposers_stale
from app.accounts.usage import mark_stale
from app.catalog.discussions import follow_rewrite
from app.catalog.git_objects import DIRECTORY_MODE, object_oid
from app.catalog.history import reached_from, whole_history
from app.catalog.indexing import owe_indexing
from app.catalog.pruning import prune_history, subdirectories
from app.catalog.trees import load_directory, store_directory
from app.db.inserting import batches, insert_if_absent
from app.db.tables import Commit, CutHistory, File, FileGrant, ProposedFile, Ref, Repo, TreeEntry
from app.hub import Hub
from app.jobs.outbox import enqueue

_SIGNATURE = re.compile(rb"^(gpgsig|gpgsig-sha256) .*\n(?: .*\n)*", re.MULTILINE)


def forget_files(hub: Hub, repo: Repo, digests: Iterable[bytes]) -> int:
    """Take big files, by SHA-256, out of every commit of a repo; returns how many were there.

    Nobody may copy them from here any more; the bytes go when no other repo holds them. Files the
    repo does not hold are passed over.
    """
    wanted = sorted(set(digests))

    def work(session: Session) -> int:
        ids = [
            file_id
            for some in batches(wanted)
            for file_id in session.scalars(_held_files(repo.id, some))
        ]
        if ids:
            _Rewriting(session, repo.id, ids).run()
            owe_indexing(session, hub, repo.id)
            if repo.type == "model":
                enqueue(session, hub, "family", key=f"repo:{repo.id}", payload={"repo_id": repo.id})
        mark_stale(session, [repo.id])
        for some in batches(ids):
            mark_proposers_stale(
                session, ProposedFile.repo_id == repo.id, ProposedFile.file_id.in_(some)
            )
            for table in (FileGrant, ProposedFile):
                session.execute(
                    delete(table).where(table.repo_id == repo.id, table.file_id.in_(some))
                )
        note(session, hub, "repo.forget", repo.key, f"{len(ids)} files")
        return len(ids)

    return hub.db.run(work)


def _held_files(repo_id: int, digests: Iterable[bytes]) -> Select[int]:
    return (
        select(File.id)
        .join(TreeEntry, TreeEntry.file_id == File.id)
        .where(TreeEntry.repo_id == repo_id, TreeEntry.is_lfs.is_(True), File.sha256.in_(digests))
        .distinct()
    )


class _Rewriting:
    """One run over the history of a repo, whose row is locked against writers."""

    def __init__(self, session: Session, repo_id: int, file_ids: Iterable[int]) -> None:
        self._session = session
        self._repo_id = repo_id
        self._gone = frozenset(file_ids)
        self._trees: dict[str, str | None] = {}
        """Old -> new id of directories that change; None: nothing is left in it."""

    def run(self) -> None:
        """Write the new history and drop the old."""
        session, repo_id = self._session, self._repo_id
        refs = session.scalars(
            select(Ref).where(Ref.repo_id == repo_id).order_by(Ref.name).with_for_update()
        ).all()
        session.execute(select(Repo.id).where(Repo.id == repo_id).with_for_update())
        affected = self._affected_trees()
        moved: dict[str, str] = {}
        steps = whole_history(session, repo_id)
        for oid in reached_from(steps, [ref.commit_oid for ref in refs]):
            if steps[oid].tree_oid in affected or not moved.keys().isdisjoint(steps[oid].parents):
                moved[oid] = self._rewrite_commit(oid, affected, moved)
        for ref in refs:
            if ref.commit_oid in moved:
                # An annotation names, and may sign, the commit that goes.
                ref.commit_oid, ref.tag_body = moved[ref.commit_oid], None
        follow_rewrite(session, repo_id, moved)
        session.flush()
        session.execute(delete(CutHistory).where(CutHistory.repo_id == repo_id))
        prune_history(session, repo_id)

    def _affected_trees(self) -> set[str]:
        """Directories that name such a file or lie above one that does."""
        above: dict[str, list[str]] = {}
        for tree_oid, inner in subdirectories(self._session, self._repo_id).items():
            for _, oid in inner:
                above.setdefault(oid, []).append(tree_oid)
        open_ends = [
            oid
            for some in batches(sorted(self._gone))
            for oid in self._session.scalars(
                select(TreeEntry.tree_oid)
                .where(TreeEntry.repo_id == self._repo_id, TreeEntry.file_id.in_(some))
                .distinct()
            )
        ]
        affected = set(open_ends)
        while open_ends:
            for oid in above.get(open_ends.pop(), ()):
                if oid not in affected:
                    affected.add(oid)
                    open_ends.append(oid)
        return affected

    def _rewrite_tree(self, oid: str, affected: set[str]) -> str | None:
        if oid not in affected:
            return oid
        if oid in self._trees:
            return self._trees[oid]
        entries = load_directory(self._session, self._repo_id, oid)
        for name, columns in list(entries.items()):
            if columns["file_id"] in self._gone:
                del entries[name]
            elif columns["mode"] == DIRECTORY_MODE:
                below = self._rewrite_tree(str(columns["oid"]), affected)
                if below is None:
                    del entries[name]
                else:
                    columns["oid"] = below
        new = store_directory(self._session, self._repo_id, entries) if entries else None
        self._trees[oid] = new
        return new

    def _rewrite_commit(self, oid: str, affected: set[str], moved: Mapping[str, str]) -> str:
        commit = self._session.get_one(Commit, (self._repo_id, oid))
        tree = self._rewrite_tree(commit.tree_oid, affected)
        tree = tree or store_directory(self._session, self._repo_id, {})
        body = _replaced(commit.body, tree, moved)
        row = {column.name: getattr(commit, column.key) for column in Commit.__table__.columns}
        row |= {
            "oid": object_oid("commit", body),
            "tree_oid": tree,
            "parent_oid": moved.get(commit.parent_oid or "", commit.parent_oid),
            "body": body,
            "request_digest": None,
        }
        insert_if_absent(self._session, Commit, row)
        return row["oid"]


def _replaced(body: bytes, tree: str, moved: Mapping[str, str]) -> bytes:
    """A commit object with another tree and moved parents; its signature would be a lie."""
    head, separator, message = body.partition(b"\n\n")
    lines: list[bytes] = []
    for line in _SIGNATURE.sub(b"", head + b"\n").splitlines():
        word, _, value = line.partition(b" ")
        if word == b"tree":
            value = tree.encode()
        elif word == b"parent":
            value = moved.get(value.decode(), value.decode()).encode()
        lines.append(word + b" " + value)
    return b"\n".join(lines) + separator + message
