"""git objects made from rows, by id and in batches: commits, trees, blobs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.catalog.git_objects import DIRECTORY_MODE, GitEntry, lfs_pointer, tree_body
from app.catalog.mirrored import awaited_clause
from app.db.inserting import batches
from app.db.tables import AwaitedFile, Commit, File, Tree, TreeEntry
from app.git.selection import TREES_AT_ONCE, Blob
from app.hub import Hub
from app.restore.bulk import read_files

BLOBS_NBYTES = 8 << 20
"""Bytes of files held at a time; a longer one alone."""

BLOBS_AT_ONCE = 1_000
COMMITS_AT_ONCE = 1_000


class GitObject(NamedTuple):
    """One object, whole."""

    kind: str
    """commit | tree | blob | tag"""
    oid: str
    body: bytes


def commits(hub: Hub, repo_id: int, oids: Sequence[str]) -> Iterator[GitObject]:
    """Those commits that exist, in any order."""
    for some in batches(oids, COMMITS_AT_ONCE):
        with hub.db.read() as session:
            rows = session.execute(
                select(Commit.oid, Commit.body).where(
                    Commit.repo_id == repo_id, Commit.oid.in_(some)
                )
            ).all()
        yield from (GitObject("commit", oid, body) for oid, body in rows)


def trees(hub: Hub, repo_id: int, oids: Sequence[str]) -> Iterator[GitObject]:
    """Those directories that exist, in any order."""
    for some in batches(oids, TREES_AT_ONCE):
        with hub.db.read() as session:
            found = _directories(session, repo_id, some)
        yield from (GitObject("tree", oid, tree_body(found[oid])) for oid in found)


def blobs(hub: Hub, wanted: Iterable[Blob]) -> Iterator[GitObject]:
    """Files as git has them: their bytes, or the pointer of an LFS file."""
    for some in _groups(wanted):
        plain = {blob.file_id for blob in some if blob.file_id is not None and not blob.sha256}
        data = read_files(hub, plain)
        for blob in some:
            if blob.sha256 is not None:
                yield GitObject("blob", blob.oid, lfs_pointer(blob.sha256, blob.nbytes))
            elif blob.file_id is not None:
                yield GitObject("blob", blob.oid, data[blob.file_id])


def find_objects(hub: Hub, repo_id: int, oids: Iterable[str]) -> Iterator[GitObject]:
    """Those objects of a repo that exist, whatever they are; tags are not looked for."""
    wanted = sorted(set(oids))
    with hub.db.read() as session:
        files = find_blobs(session, repo_id, wanted)
    yield from blobs(hub, files.values())
    rest = [oid for oid in wanted if oid not in files]
    yield from trees(hub, repo_id, rest)
    yield from commits(hub, repo_id, rest)


def find_blobs(session: Session, repo_id: int, oids: Sequence[str]) -> dict[str, Blob]:
    """Files that some tree of the repo has, by the ids of their blobs."""
    found: dict[str, Blob] = {}
    for some in batches(oids):
        rows = session.execute(
            select(
                TreeEntry.oid,
                TreeEntry.file_id,
                TreeEntry.size,
                TreeEntry.is_lfs,
                func.coalesce(File.sha256, AwaitedFile.sha256),
            )
            .outerjoin(File, File.id == TreeEntry.file_id)
            .outerjoin(AwaitedFile, awaited_clause())
            .where(TreeEntry.repo_id == repo_id, TreeEntry.oid.in_(some))
            .where(TreeEntry.mode != DIRECTORY_MODE)
            .distinct()
        )
        for oid, file_id, nbytes, is_lfs, sha256 in rows:
            found[oid] = Blob(oid, file_id, nbytes, sha256 if is_lfs else None)
    return found


def _directories(session: Session, repo_id: int, oids: Sequence[str]) -> dict[str, list[GitEntry]]:
    there = select(Tree.oid).where(Tree.repo_id == repo_id, Tree.oid.in_(oids))
    found: dict[str, list[GitEntry]] = {oid: [] for oid in session.scalars(there)}
    rows = session.execute(
        select(TreeEntry.tree_oid, TreeEntry.name, TreeEntry.mode, TreeEntry.oid).where(
            TreeEntry.repo_id == repo_id, TreeEntry.tree_oid.in_(oids)
        )
    )
    for tree, name, mode, oid in rows:
        found[tree].append(GitEntry(name, mode, oid))
    return found


def _groups(wanted: Iterable[Blob]) -> Iterator[list[Blob]]:
    group: list[Blob] = []
    nbytes = 0
    for blob in wanted:
        read_nbytes = 0 if blob.sha256 else blob.nbytes
        if group and (nbytes + read_nbytes > BLOBS_NBYTES or len(group) == BLOBS_AT_ONCE):
            yield group
            group, nbytes = [], 0
        group.append(blob)
        nbytes += read_nbytes
    if group:
        yield group
