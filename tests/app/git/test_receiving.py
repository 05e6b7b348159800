"""Pushes as a hostile client writes them, over HTTP, and what is left behind: nothing."""

import gzip
import re

import httpx
from sqlalchemy import func, select

from app.catalog.git_objects import GitEntry, blob_oid, lfs_pointer, object_oid, tree_oid
from app.db.tables import Commit, Ref, Tree
from app.git.pkt import Mark, pkt
from tests.fixtures.api import LiveHub, add
from tests.fixtures.packs import NO_OID, commit, delta, pack, push, push_objects, tree, whole

BLOB = ("blob", b"hello")
BLOB_OID = object_oid(*BLOB)
TREE = ("tree", tree(("100644", "a.txt", BLOB_OID)))
COMMIT = ("commit", commit(object_oid(*TREE)))


def send(live: LiveHub, repo: str, body: bytes, token: str | None = "hf_alice") -> httpx.Response:
    return live.http(token).post(f"/{repo}.git/git-receive-pack", content=body)


def rows(live: LiveHub) -> tuple[int | None, ...]:
    with live.hub.db.read() as session:
        return tuple(
            session.scalar(select(func.count()).select_from(table)) for table in (Commit, Tree, Ref)
        )


def with_file(name: str, mode: str = "100644", body: bytes = b"hello") -> bytes:
    top = ("tree", tree((mode, name, blob_oid(body))))
    return push_objects(("blob", body), top, ("commit", commit(object_oid(*top))))


def test_an_honest_push_is_taken(live_hub: LiveHub, live_repo: str):
    answer = send(live_hub, live_repo, push_objects(BLOB, TREE, COMMIT))
    assert answer.content == pkt(b"unpack ok\n", b"ok refs/heads/pushed\n", Mark.FLUSH)
    again = send(live_hub, live_repo, push_objects(BLOB, TREE, COMMIT))
    assert b"ng refs/heads/pushed the ref was changed meanwhile" in again.content
    assert live_hub.http().get(f"/{live_repo}/raw/pushed/a.txt").content == b"hello"


def test_a_probe_of_git_is_answered_with_nothing(live_hub: LiveHub, live_repo: str):
    answer = send(live_hub, live_repo, pkt(Mark.FLUSH))
    assert (answer.status_code, answer.content) == (200, b"")


BAD_NAMES = [
    ("..", "100644", "no . or .."),
    (".git", "40000", ".git is git's own"),
    (".GIT", "100644", ".git is git's own"),
    ("git~1", "100644", ".git is git's own"),
    ("a/b", "100644", ""),
    ("a\\b", "100644", "use / and not"),
    ("nul.txt", "100644", "device names"),
    ("x\u202ey", "100644", "U+202E"),
    ("e\u0301", "100644", "NFC"),
    ("", "100644", ""),
    ("a", "40000", "is a blob where a tree was due"),
    ("n" * 300, "100644", "limits.path_part_nbytes"),
]


def test_names_that_could_escape_are_refused(live_hub: LiveHub, live_repo: str):
    before = rows(live_hub)
    for name, mode, fault in BAD_NAMES:
        answer = send(live_hub, live_repo, with_file(name, mode))
        assert b"ng refs/heads/pushed" in answer.content, name
        assert fault.encode() in answer.content, name
    assert rows(live_hub) == before


BAD_PUSHES = [
    (push_objects(TREE, COMMIT), "lacks a file that is not here either: a.txt"),
    (push_objects(BLOB, COMMIT), "lacks a tree"),
    (push_objects(BLOB, TREE, ("commit", commit(object_oid(*TREE), "ab" * 20))), "a commit"),
    (push("cd" * 20, pack([])), "the commit is not here"),
    (push_objects(BLOB), "is a blob where a commit was due"),
    (push_objects(COMMIT, BLOB, TREE), "is a tree where a commit was due"),
    (push_objects(("commit", commit(BLOB_OID)), BLOB, ("commit", commit(BLOB_OID))), "tree"),
    (push(BLOB_OID, b"no pack at all, but long enough"), "a git pack of version 2 was due"),
    (push(BLOB_OID, b""), "ends too early"),
    (push(object_oid(*COMMIT), pack([delta("ab" * 20, b"\1\1\1x")])), "not here"),
    (push(BLOB_OID, pack([]), ref="refs/pr/1"), "only branches and tags"),
    (push(BLOB_OID, pack([]), ref="HEAD"), "only branches and tags"),
    (push(BLOB_OID, pack([]), ref="refs/heads/a..b"), "Invalid reference name"),
    (push(BLOB_OID, pack([]), ref="refs/heads/"), "Invalid reference name"),
    (push(BLOB_OID, pack([]), ref=f"refs/heads/{BLOB_OID}"), "reads like the id of a commit"),
]


def test_pushes_that_do_not_hold_together_are_refused(live_hub: LiveHub, live_repo: str):
    before = rows(live_hub)
    for body, fault in BAD_PUSHES:
        answer = send(live_hub, live_repo, body)
        assert answer.status_code == 200, fault
        assert b"ng " in answer.content, fault
        assert fault.encode() in answer.content
    assert rows(live_hub) == before


def test_refs_that_git_could_not_keep_are_refused(live_hub: LiveHub, live_repo: str):
    """One below another: whoever clones them gets nothing at all."""
    assert b"ok " in send(live_hub, live_repo, push_objects(BLOB, TREE, COMMIT)).content
    head = object_oid(*COMMIT)

    def told(*names: str) -> list[bytes]:
        lines = [f"{NO_OID} {head} refs/heads/{name}".encode() for name in names]
        body = pkt(lines[0] + b"\0report-status", *lines[1:], Mark.FLUSH) + pack([])
        answer = send(live_hub, live_repo, body).content
        return [line[4:6] for line in re.findall(rb"[0-9a-f]{4}(?:ok|ng) refs", answer)]

    assert told("pushed/below", "main/x") == [b"ng", b"ng"]
    assert told("a/b", "a", "c") == [b"ok", b"ng", b"ok"]
    assert told("a/b/c", "a/d", "pushe") == [b"ng", b"ok", b"ok"]
    assert told("Pushed", "A/b", "new", "New") == [b"ok"] * 4


def test_requests_that_are_not_gits_are_refused(live_hub: LiveHub, live_repo: str):
    client = live_hub.http()
    for body in (b"zzzz", b"0003", b"ffff", b"0010abc", pkt(b"x y z\0"), b"\0" * 99):
        for service in ("git-receive-pack", "git-upload-pack"):
            assert client.post(f"/{live_repo}/{service}", content=body).status_code == 400
    assert client.get(f"/{live_repo}/info/refs").status_code == 400
    for depth in (b"0", b"-1", b"x", b"1" + b"0" * 5_000):
        body = pkt(b"command=fetch", Mark.DELIMITER, b"deepen " + depth, b"done", Mark.FLUSH)
        answer = client.post(
            f"/{live_repo}/git-upload-pack", content=body, headers={"Git-Protocol": "version=2"}
        )
        assert (answer.status_code, "a depth is" in answer.text) == (400, True)
    compressed = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b"0032want " + b"a" * 41 + b"0000" + b"0000" * 5_000_000)
    for body, status in ((b"no gzip", 400), (bomb, 413)):
        answer = client.post(f"/{live_repo}/git-upload-pack", content=body, headers=compressed)
        assert answer.status_code == status


def test_nobody_fetches_what_no_ref_reaches(live_hub: LiveHub, live_repo: str):
    send(live_hub, live_repo, push_objects(BLOB, TREE, COMMIT))
    client = live_hub.http()
    want = f"want {object_oid(*COMMIT)}".encode()
    question = pkt(b"command=fetch", Mark.DELIMITER, want, b"done", Mark.FLUSH)
    headers = {"Git-Protocol": "version=2"}

    def fetch() -> httpx.Response:
        return client.post(f"/{live_repo}/git-upload-pack", content=question, headers=headers)

    assert b"PACK" in fetch().content
    live_hub.api().delete_branch(live_repo, branch="pushed")
    refused = fetch()
    assert (refused.status_code, "not our ref" in refused.json()["error"]) == (400, True)


def test_lfs_objects_of_others_cannot_be_had_by_their_digest(live_hub: LiveHub, live_repo: str):
    bob = live_hub.api(live_hub.bob)
    bob.create_repo("bob/private", private=True)
    secret = b"secret weights" * 1_000
    bob.create_commit("bob/private", [add("w.bin", secret)], commit_message="mine")
    (entry,) = bob.get_paths_info("bob/private", ["w.bin"])
    pointer = lfs_pointer(bytes.fromhex(entry.lfs.sha256), len(secret))

    answer = send(live_hub, live_repo, with_file("w.bin", body=pointer))
    linked = send(live_hub, live_repo, with_file("w", "120000", pointer))

    assert b"LFS objects are missing: w.bin" in answer.content
    assert b"a symbolic link cannot be an LFS pointer" in linked.content


def test_a_tree_that_names_itself_often_is_counted_in_full(live_hub: LiveHub, live_repo: str):
    objects = [BLOB, TREE]
    oid = object_oid(*TREE)
    for _ in range(8):
        body = tree(*(("40000", f"d{number:02}", oid) for number in range(10)))
        objects.append(("tree", body))
        oid = object_oid("tree", body)
    before = rows(live_hub)

    answer = send(live_hub, live_repo, push_objects(*objects, ("commit", commit(oid))))

    assert b"limits.tree_files" in answer.content  # 100 million files out of 9 trees
    assert rows(live_hub) == before


def test_a_bomb_cannot_be_put_together_out_of_several_pushes(live_hub: LiveHub, live_repo: str):
    oid, parents, answer = object_oid(*TREE), [], b""
    objects = [BLOB, TREE]
    for number in range(8):
        body = tree(*(("40000", f"d{each:02}", oid) for each in range(10)))
        made = ("commit", commit(object_oid("tree", body), *parents))
        data = push_objects(*objects, ("tree", body), made)
        answer = send(live_hub, live_repo, data.replace(b"heads/pushed", b"heads/pushe%d" % number))
        objects, oid = [], object_oid("tree", body)
        parents = [object_oid(*made)]
        if b"limits.tree_files" in answer.content:
            break
    assert b"limits.tree_files" in answer.content


def test_a_push_needs_leave_to_write(live_hub: LiveHub, live_repo: str):
    body = push_objects(BLOB, TREE, COMMIT)
    assert send(live_hub, live_repo, body, None).status_code == 401
    assert send(live_hub, live_repo, body, live_hub.bob).status_code == 403
    assert send(live_hub, "alice/none", body).status_code == 404
    client = live_hub.http(None)
    asked = client.get(f"/{live_repo}.git/info/refs", params={"service": "git-receive-pack"})
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"].startswith("Basic")


def test_an_atomic_push_moves_all_refs_or_none(live_hub: LiveHub, live_repo: str):
    new = object_oid(*COMMIT)
    zero = "0" * 40
    commands = pkt(
        f"{zero} {new} refs/heads/one\0report-status atomic".encode(),
        f"{zero} {new} refs/heads/main".encode(),
        Mark.FLUSH,
    )
    data = commands + pack(whole(*each) for each in (BLOB, TREE, COMMIT))

    answer = send(live_hub, live_repo, data)
    apart = send(live_hub, live_repo, data.replace(b" atomic", b" qui3t0"))

    assert b"ng refs/heads/one atomic push failed" in answer.content
    assert b"ok refs/heads/one" in apart.content
    assert b"ng refs/heads/main" in apart.content


def test_a_commit_of_git_can_be_taken_up_by_the_api(live_hub: LiveHub, live_repo: str):
    send(live_hub, live_repo, push_objects(BLOB, TREE, COMMIT))
    api = live_hub.api()
    api.create_commit(live_repo, [add("b.txt", b"x")], commit_message="more", revision="pushed")
    assert set(api.list_repo_files(live_repo, revision="pushed")) == {"a.txt", "b.txt"}
    api.super_squash_history(live_repo, branch="pushed")
    assert tree_oid([GitEntry("a.txt", "100644", BLOB_OID)]) == object_oid(*TREE)
