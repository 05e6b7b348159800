import pytest

from app.catalog.git_objects import blob_oid, lfs_pointer, object_oid
from app.errors import HubError, InvalidRequest
from app.git.reading import Pointer, read_commit, read_pointer, read_tag, read_tree
from app.settings import Limits
from tests.fixtures.packs import commit, tree

LIMITS = Limits()
BLOB = blob_oid(b"x")


def read(body: bytes):
    return read_commit(object_oid("commit", body), body, LIMITS)


def test_a_commit_is_read_in_its_own_encoding():
    who = b"J\xf6rg <j@example.org> 1700000000 -0330"
    head = b"tree %b\nparent %b\nauthor %b\ncommitter %b\nencoding ISO-8859-1\n"
    body = head % (BLOB.encode(), BLOB.encode(), who, who) + b"\nGr\xfc\xdfe\n\nmore\n"
    made = read(body)
    assert (made.title, made.message, made.author) == ("Grüße", "more", "Jörg")
    assert (made.tree, made.parents, made.body) == (BLOB, (BLOB,), body)
    assert made.committed_at.isoformat() == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"tree",
        b"\n\n",
        commit(BLOB)[5:],
        commit("xyz"),
        commit(BLOB, "short"),
        commit(BLOB).replace(b"committer", b"comitter"),
        commit(BLOB).replace(b"1700000000", b"99999999999999999999999"),
        commit(BLOB).replace(b"<eve@example.org>", b"eve"),
        commit(BLOB).replace(b"author", b"mergetag x\nauthor").replace(b"tree", b"author x\ntree"),
        commit(BLOB, message="a\0b"),
        commit(BLOB, message="m" * 200_000),
        commit(BLOB).replace(b"\n\n", b"\nparent " + BLOB.encode() + b"\n\n"),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_commits_that_are_none_are_refused(body: bytes):
    with pytest.raises(HubError):
        read(body)


def test_a_commit_of_any_time_can_be_dated():
    for seconds in (b"0", b"253402300799", b"9007199254740000"):
        assert read(commit(BLOB).replace(b"1700000000", seconds)).committed_at.year >= 1970


@pytest.mark.parametrize(
    "body",
    [
        tree(("100644", "b", BLOB), ("100644", "a", BLOB)),
        tree(("100644", "a", BLOB), ("100644", "a", BLOB)),
        tree(("100644", "a", BLOB), ("40000", "a", BLOB)),
        tree(("100644", "a", BLOB))[:-1],
        tree(("100664", "a", BLOB)),
        tree(("040000", "a", BLOB)),
        tree(("160000", "a", BLOB)),
        b"100644 \xff\0" + bytes.fromhex(BLOB),
        b"100644 a",
        b"1006440000000 a\0" + bytes.fromhex(BLOB),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_trees_that_git_would_not_make_are_refused(body: bytes):
    with pytest.raises(InvalidRequest):
        read_tree("id", body)


def test_pointers_are_known_in_their_one_form():
    pointer = lfs_pointer(b"\xab" * 32, 12)
    assert read_pointer(pointer) == Pointer(b"\xab" * 32, 12)
    assert read_pointer(b"version 1\n") is None
    assert read_pointer(pointer + b"x" * 2_000) is None
    for form in (pointer[:-1], pointer + b"\n", pointer.replace(b"size 12", b"size 012")):
        with pytest.raises(InvalidRequest, match="canonical"):
            read_pointer(form)


def test_only_commits_can_be_tagged():
    who = "Eve <eve@example.org> 1700000000 +0000"
    text = f"object {BLOB}\ntype commit\ntag v1\ntagger {who}\n\nnote\n"
    assert read_tag("id", text.encode(), LIMITS) == BLOB
    for broken in (text.replace("commit", "tree"), text.replace("object", "objekt"), ""):
        with pytest.raises(InvalidRequest):
            read_tag("id", broken.encode(), LIMITS)
