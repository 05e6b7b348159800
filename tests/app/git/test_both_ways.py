"""A push and a fetch below HTTP, on both databases and stores."""

import pytest

from app.accounts.tokens import authenticate
from app.accounts.users import create_user
from app.catalog.git_objects import object_oid
from app.db.tables import Job
from app.errors import InvalidRequest
from app.git.asking import FetchRequest
from app.git.objects import GitObject
from app.git.pkt import PktReader
from app.git.receiving import receive_push
from app.git.sending import answer_fetch
from app.git.unpacking import UnpackedObjects
from app.hub import Hub
from app.ingest.creation import create_repo
from tests.fixtures.packs import commit, push_objects, tree


def fetched(hub: Hub, repo, *wants: str, haves: tuple[str, ...] = ()) -> dict[str, GitObject]:
    """All objects of a fetch by id."""
    request = FetchRequest(wants=list(wants), haves=list(haves), done=True)
    data = b"".join(pack_band(hub, repo, request))
    with UnpackedObjects(hub.settings.limits) as unpacked:
        unpacked.read_pack(PktReader([data]), lambda _oids: iter([]))
        oids = list(unpacked.oids())
        return {oid: GitObject(unpacked.kind(oid) or "", oid, unpacked.body(oid)) for oid in oids}


def pack_band(hub: Hub, repo, request: FetchRequest):
    reader = PktReader(answer_fetch(hub, repo, request))
    while head := reader.read(4):
        payload = reader.read(int(head, 16) - 4) if head > b"0004" else b""
        if payload[:1] == b"\1":
            yield payload[1:]


def test_what_was_pushed_is_fetched(any_hub: Hub):
    create_user(any_hub, "alice", token="hf_alice")
    with any_hub.db.read() as session:
        alice = authenticate(session, "hf_alice")
    repo = create_repo(any_hub, alice, "model", None, "model")
    objects = [("blob", b"one"), ("blob", b"")]
    ids = [object_oid(*each) for each in objects]
    inner = ("tree", tree(("100644", "empty", ids[1]), ("100644", "one", ids[0])))
    top = ("tree", tree(("40000", "in", object_oid(*inner)), ("100755", "run", ids[0])))
    first = ("commit", commit(object_oid(*top)))
    second = ("commit", commit(object_oid(*inner), object_oid(*first)))
    data = push_objects(*objects, inner, top, first, second)

    report = receive_push(any_hub, alice, repo, [data[:100], data[100:]])

    assert b"ok refs/heads/pushed" in report
    oids = [object_oid(*each) for each in (*objects, inner, top, first, second)]
    got = fetched(any_hub, repo, oids[-1])
    assert {oid: (each.kind, each.body) for oid, each in got.items()} == dict(
        zip(oids, (*objects, inner, top, first, second), strict=True)
    )
    assert fetched(any_hub, repo, oids[-1], haves=(oids[-2],)).keys() == {oids[-1]}
    with any_hub.db.read() as session:
        kinds = {job.kind for job in session.query(Job)}
    assert {"encode", "index", "family"} <= kinds
    with pytest.raises(InvalidRequest, match="not our ref"):
        fetched(any_hub, repo, "ab" * 20)
