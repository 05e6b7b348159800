"""Files taken out of history, and listed before: true trees, moved refs, on both databases."""

import hashlib
import itertools

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tokens import Principal, authenticate
from app.accounts.users import create_user
from app.catalog.commits import apply_commit, record_commit
from app.catalog.copies import grant_copies
from app.catalog.git_objects import blob_oid, commit_parents, object_oid
from app.catalog.lfs_files import list_lfs_files
from app.catalog.listing import list_files
from app.catalog.logs import Position, read_log
from app.catalog.operations import AddFile, AddLfsFile
from app.catalog.refs import create_branch, create_tag, delete_branch, resolve_revision
from app.catalog.rewriting import forget_files
from app.db.tables import Commit, File, Ref, Repo, TreeEntry
from app.errors import MissingUploads, RevisionNotFound
from app.gc.collect import collect
from app.hub import Hub
from app.ingest.creation import create_repo
from app.ingest.inline import ingest_inline

MAIN = "refs/heads/main"


@pytest.fixture
def ada(any_hub: Hub) -> Principal:
    return principal(any_hub, "ada")


@pytest.fixture
def repo(any_hub: Hub, ada: Principal) -> Repo:
    return create_repo(any_hub, ada, "model", None, "m")


def principal(hub: Hub, name: str) -> Principal:
    token = create_user(hub, name).token
    with hub.db.read() as session:
        return authenticate(session, token)


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def push(hub: Hub, who: Principal, repo: Repo, ref: str, *paths: str) -> Commit:
    """Files whose content is their path; those that end in .bin are LFS files."""
    operations = []
    for path in paths:
        [file] = ingest_inline(hub, [path.encode()], repo_id=repo.id)
        operations.append(
            AddLfsFile(path, sha256(path), len(path))
            if path.endswith(".bin")
            else AddFile(path, file.file_id, blob_oid(path.encode()))
        )
    hub.clock.advance(1)
    return apply_commit(hub, who, repo, ref, operations, title=f"add {paths}")


def paths(hub: Hub, repo: Repo, revision: str = "main") -> list[str]:
    with hub.db.read() as session:
        tree = resolve_revision(session, repo, revision).tree_oid
        return [each.path for each in list_files(session, repo.id, tree)]


def listed(hub: Hub, repo: Repo, **page: int):
    with hub.db.read() as session:
        return list_lfs_files(session, repo, MAIN, **page)


def test_big_files_are_listed_with_how_they_came(any_hub: Hub, ada: Principal, repo: Repo):
    first = push(any_hub, ada, repo, MAIN, "a.bin", "deep/er/b.bin", "text")
    create_branch(any_hub, repo, "side", None)
    second = push(any_hub, ada, repo, "refs/heads/side", "c.bin")
    push(any_hub, ada, repo, MAIN, "other")
    files, following = listed(any_hub, repo)
    assert following is None
    assert {(each.path, each.ref, each.pushed_at, each.sha256) for each in files} == {
        ("a.bin", MAIN, first.created_at, sha256("a.bin")),
        ("deep/er/b.bin", MAIN, first.created_at, sha256("deep/er/b.bin")),
        ("c.bin", "refs/heads/side", second.created_at, sha256("c.bin")),
    }
    names, after = [], 0
    while after is not None:
        page, after = listed(any_hub, repo, after=after, limit=1)
        names += [each.path for each in page]
    assert names == [each.path for each in files]
    delete_branch(any_hub, repo, "side")
    assert "c.bin" not in {each.path for each in listed(any_hub, repo)[0]}


def test_forgotten_files_are_in_no_commit(any_hub: Hub, ada: Principal, repo: Repo):
    old = push(any_hub, ada, repo, MAIN, "a.bin", "deep/b.bin", "deep/c.bin", "text")
    create_tag(any_hub, repo, "v1", None)
    create_branch(any_hub, repo, "side", None)
    push(any_hub, ada, repo, MAIN, "later")
    push(any_hub, ada, repo, "refs/heads/side", "side.bin")
    doomed = [sha256("a.bin"), sha256("deep/b.bin"), sha256("not here")]
    assert forget_files(any_hub, repo, doomed) == 2
    assert paths(any_hub, repo) == [".gitattributes", "deep/c.bin", "later", "text"]
    assert paths(any_hub, repo, "v1") == [".gitattributes", "deep/c.bin", "text"]
    assert paths(any_hub, repo, "side") == [".gitattributes", "deep/c.bin", "side.bin", "text"]
    with pytest.raises(RevisionNotFound):
        paths(any_hub, repo, old.oid)
    with any_hub.db.read() as session:
        head = resolve_revision(session, repo, "main")
        line, _ = read_log(session, repo.id, Position((head.oid,)), limit=10)
        assert [each.title for each in line][1:] == [old.title, "initial commit"]
        assert all(object_oid("commit", each.body) == each.oid for each in line)
        assert all(commit_parents(a.body) == (b.oid,) for a, b in itertools.pairwise(line))
        named = select(File.sha256).join(TreeEntry, TreeEntry.file_id == File.id)
        assert set(doomed).isdisjoint(session.scalars(named))
    assert forget_files(any_hub, repo, doomed) == 0
    assert collect(any_hub, now=True).files_deleted == 2


def test_a_repo_may_be_left_with_nothing(any_hub: Hub, ada: Principal, repo: Repo):
    create_branch(any_hub, repo, "side", None)
    push(any_hub, ada, repo, MAIN, "d/a.bin")
    assert forget_files(any_hub, repo, [sha256("d/a.bin")]) == 1
    assert paths(any_hub, repo) == [".gitattributes"]
    push(any_hub, ada, repo, MAIN, "d/a.bin")
    assert paths(any_hub, repo) == [".gitattributes", "d/a.bin"]


def test_a_merge_keeps_both_its_parents(any_hub: Hub, ada: Principal, repo: Repo):
    push(any_hub, ada, repo, MAIN, "a.bin")
    create_branch(any_hub, repo, "side", None)
    right = push(any_hub, ada, repo, "refs/heads/side", "side")
    left = push(any_hub, ada, repo, MAIN, "left")
    body = left.body.replace(b"\nauthor", b"\nparent " + right.oid.encode() + b"\nauthor", 1)

    def merge(session: Session) -> None:
        made = record_commit(session, any_hub, repo, ada, left.tree_oid, left, "m", "")
        made.body, made.oid = body, object_oid("commit", body)
        session.flush()
        session.get_one(Ref, (repo.id, MAIN)).commit_oid = made.oid

    any_hub.db.run(merge)
    forget_files(any_hub, repo, [sha256("a.bin")])
    with any_hub.db.read() as session:
        parents = commit_parents(resolve_revision(session, repo, "main").body)
        assert len(parents) == 2
        assert right.oid not in parents
        assert all(session.get(Commit, (repo.id, parent)) for parent in parents)


def test_forgotten_files_must_be_sent_again_to_be_used(any_hub: Hub, ada: Principal, repo: Repo):
    push(any_hub, ada, repo, MAIN, "a.bin")
    forget_files(any_hub, repo, [sha256("a.bin")])
    with pytest.raises(MissingUploads):
        apply_commit(
            any_hub, ada, repo, MAIN, [AddLfsFile("a.bin", sha256("a.bin"), 5)], title="again"
        )


def test_copies_are_granted_for_what_the_source_holds(any_hub: Hub, ada: Principal, repo: Repo):
    bob = principal(any_hub, "bob")
    target = create_repo(any_hub, bob, "dataset", None, "copy")
    push(any_hub, ada, repo, MAIN, "a.bin", "b.bin")
    asked = [sha256("a.bin"), sha256("a.bin"), sha256("nowhere")]
    assert grant_copies(any_hub, repo, target, asked) == {sha256("a.bin")}
    assert grant_copies(any_hub, repo, target, asked) == {sha256("a.bin")}
    forget_files(any_hub, repo, [sha256("a.bin")])
    collect(any_hub, now=True)
    apply_commit(any_hub, bob, target, MAIN, [AddLfsFile("x", sha256("a.bin"), 5)], title="copy")
    assert paths(any_hub, target) == [".gitattributes", "x"]
