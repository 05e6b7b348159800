"""Pushed objects as rows: files claimed, what the push left out found, trees and commits written.

Runs inside the transaction of a push, after the refs are locked and history is held.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal
from app.accounts.usage import count_entering
from app.catalog.ancestry import Ancestry, Step
from app.catalog.claims import ClaimedFiles, claim_files, drop_upload_leases
from app.catalog.git_objects import DIRECTORY_MODE, LINK_MODE, GitEntry
from app.catalog.operations import AddFile, AddLfsFile
from app.catalog.scanning import pickles_among
from app.db.inserting import batches, upsert
from app.db.tables import Commit, Repo, Tree, TreeEntry
from app.errors import InvalidRequest, MissingUploads
from app.git.checking import Pushed, check_shapes
from app.git.objects import find_blobs
from app.git.selection import TREES_AT_ONCE, Blob
from app.ingest.files import IngestedFile
from app.settings import Limits

SHOWN_PATHS = 10

Row = dict[str, str | int | bool | None]


class Storing:
    """The objects of one push on their way into the tables."""

    def __init__(
        self,
        session: Session,
        repo: Repo,
        pushed: Pushed,
        plain: Mapping[str, IngestedFile],
        files: ClaimedFiles,
        ancestry: Ancestry,
    ) -> None:
        """``ancestry`` knows the pushed commits."""
        self._session = session
        self._repo = repo
        self._pushed = pushed
        self._plain = plain
        self._files = files
        self._ancestry = ancestry
        self._outside: dict[str, Blob] = {}
        self.pickles: set[int] = set()
        """Files that may be some, by their names in the trees that were written."""

    def store(self, limits: Limits) -> None:
        """Write everything. Raises InvalidRequest for what is lacking.

        Entries of big files that were not claimed get no file: a mirror awaits them.
        """
        drop_upload_leases(self._session, self._files.by_id)
        self._find_outside(limits)
        self._write_trees()
        self._write_commits()

    def _find_outside(self, limits: Limits) -> None:
        """What the push does not bring is here, and the whole is of a size that can be used."""
        outside = self._pushed.outside
        commits = select(Commit.oid).where(Commit.repo_id == self._repo.id)
        trees = select(Tree.oid).where(Tree.repo_id == self._repo.id)
        for what, table, oids, query in (
            ("commit", Commit, outside.commits, commits),
            ("tree", Tree, outside.trees, trees),
        ):
            for some in batches(sorted(oids)):
                lacking = set(some) - set(self._session.scalars(query.where(table.oid.in_(some))))
                if lacking:
                    _refuse_lack(what, min(lacking))
        self._outside = find_blobs(self._session, self._repo.id, sorted(outside.blobs))
        for oid, path in outside.blobs.items():
            blob = self._outside.get(oid)
            if blob is None:
                _refuse_lack("file", f"{path} ({oid})")
            if oid in self._pushed.links and blob.sha256 is not None:
                raise InvalidRequest(f"{path}: a symbolic link cannot be an LFS pointer")
        roots = {commit.tree for commit in self._pushed.commits} & self._pushed.trees.keys()
        if roots:
            below = _entries_below(self._session, self._repo.id, outside.trees)
            check_shapes({**below, **self._pushed.trees}, sorted(roots), limits)

    def _write_trees(self) -> None:
        trees = self._pushed.trees
        for some in batches(list(trees)):
            rows = [{"repo_id": self._repo.id, "oid": oid} for oid in some]
            query = upsert(self._session, Tree).on_conflict_do_nothing().returning(Tree.oid)
            inserted = self._session.scalars(query, rows).all()
            entries = [self._row(oid, entry) for oid in inserted for entry in trees[oid]]
            count_entering(self._session, self._repo.id, (row["file_id"] for row in entries))
            self.pickles |= pickles_among(_named_files(entries))
            for columns in batches(entries):
                self._session.execute(insert(TreeEntry), list(columns))

    def _write_commits(self) -> None:
        for some in batches(self._pushed.commits):
            steps = [self._step(commit.oid) for commit in some]
            rows = [
                {
                    "repo_id": self._repo.id,
                    "oid": commit.oid,
                    "tree_oid": commit.tree,
                    "parent_oid": commit.parents[0] if commit.parents else None,
                    "body": commit.body,
                    "title": commit.title,
                    "message": commit.message,
                    "author_id": None,
                    "author_name": commit.author,
                    "request_digest": None,
                    "created_at": commit.committed_at,
                    "dated_at": step.dated_at,
                    "generation": step.generation,
                }
                for commit, step in zip(some, steps, strict=True)
            ]
            self._session.execute(upsert(self._session, Commit).on_conflict_do_nothing(), rows)

    def _step(self, oid: str) -> Step:
        step = self._ancestry.find(oid)
        assert step is not None
        return step

    def _row(self, tree: str, entry: GitEntry) -> Row:
        row: Row = {
            "repo_id": self._repo.id,
            "tree_oid": tree,
            "name": entry.name,
            "mode": entry.mode,
            "oid": entry.oid,
            "file_id": None,
            "size": 0,
            "is_lfs": False,
        }
        if entry.mode == DIRECTORY_MODE:
            return row
        pointer = self._pushed.pointers.get(entry.oid)
        if pointer is not None:
            file = self._files.by_sha256.get(pointer.sha256)
            file_id = None if file is None else file.id
            return row | {"file_id": file_id, "size": pointer.nbytes, "is_lfs": True}
        stored = self._plain.get(entry.oid)
        if stored is not None:
            return row | {"file_id": stored.file_id, "size": stored.nbytes}
        blob = self._outside[entry.oid]
        is_lfs = blob.sha256 is not None and entry.mode != LINK_MODE
        return row | {"file_id": blob.file_id, "size": blob.nbytes, "is_lfs": is_lfs}


def claim_pushed(
    session: Session,
    principal: Principal,
    repo: Repo,
    pushed: Pushed,
    plain: Mapping[str, IngestedFile],
) -> ClaimedFiles:
    """The files of a push, held. Raises MissingUploads for big ones that were not sent."""
    operations = [
        *(
            AddLfsFile(pushed.paths[pointer.sha256], pointer.sha256, pointer.nbytes)
            for pointer in pushed.pointers.values()
        ),
        *(AddFile(pushed.plain[oid], file.file_id, oid) for oid, file in plain.items()),
    ]
    try:
        return claim_files(session, principal, repo, operations)
    except MissingUploads as error:
        raise _missing_objects(error, pushed.paths) from None


def _entries_below(
    session: Session, repo_id: int, roots: Iterable[str]
) -> dict[str, list[GitEntry]]:
    """Directories of the repo from these down, by id."""
    found: dict[str, list[GitEntry]] = {oid: [] for oid in roots}
    level = list(found)
    while level:
        below: list[str] = []
        for some in batches(level, TREES_AT_ONCE):
            rows = session.execute(
                select(TreeEntry.tree_oid, TreeEntry.name, TreeEntry.mode, TreeEntry.oid).where(
                    TreeEntry.repo_id == repo_id, TreeEntry.tree_oid.in_(some)
                )
            )
            for tree, name, mode, oid in rows:
                found[tree].append(GitEntry(name, mode, oid))
                if mode == DIRECTORY_MODE and oid not in found:
                    found[oid] = []
                    below.append(oid)
        level = below
    return found


def _named_files(rows: Iterable[Row]) -> Iterator[tuple[str, int, int]]:
    """Name, id and size of each file that is here."""
    for row in rows:
        match row:
            case {"name": str(name), "file_id": int(file_id), "size": int(nbytes)}:
                yield name, file_id, nbytes
            case _:
                pass


def _refuse_lack(what: str, which: str) -> NoReturn:
    raise InvalidRequest(f"the push lacks a {what} that is not here either: {which}")


def _missing_objects(error: MissingUploads, paths: Mapping[bytes, str]) -> MissingUploads:
    named = [f"{paths.get(bytes.fromhex(oid), '?')} ({oid[:12]})" for oid in error.oids]
    shown = ", ".join(named[:SHOWN_PATHS]) or "some files"
    more = f" and {len(named) - SHOWN_PATHS} more" if len(named) > SHOWN_PATHS else ""
    return MissingUploads(
        f"LFS objects are missing: {shown}{more}; send them by: git lfs push --all origin",
        oids=error.oids,
    )
