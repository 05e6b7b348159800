"""Xet uploads: by the real client, and by hand what it would never send."""

import http.client
import json
import random
import struct
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from sqlalchemy import delete, select

from app.api.hf import shard_events
from app.clock import ManualClock
from app.db.tables import Encoding, File, FileGrant, Segment, StoredObject, Xorb, XorbTerm
from app.xet import xorb
from app.xet.epoch import bump_cas_epoch
from tests.fixtures.xorbs import build_shard, build_xorb, content_of, file_block


def some_bytes(nbytes, seed=0):
    return random.Random(seed).randbytes(nbytes)


def safetensors(nbytes, seed=0):
    values = np.random.default_rng(seed).normal(size=nbytes // 4).astype("<f4").tobytes()
    entry = {"dtype": "F32", "shape": [len(values) // 4], "data_offsets": [0, len(values)]}
    header = json.dumps({"weight": entry}).encode()
    return struct.pack("<Q", len(header)) + header + values


def rows(lanes, *columns):
    with lanes.hub.db.read() as session:
        return session.execute(select(*columns)).all()


def token_of(lanes, user, repo):
    with lanes.http(user) as client:
        answer = client.get(f"/api/models/{repo}/xet-write-token/main")
    assert answer.status_code == 200, answer.text
    return answer


class Cas:
    """The CAS routes with a token, without a client."""

    def __init__(self, lanes, user, repo):
        facts = token_of(lanes, user, repo).json()
        self.client = lanes.http()
        self.client.headers["Authorization"] = f"Bearer {facts['accessToken']}"
        self.url = facts["casUrl"]

    def send(self, built, body=None):
        content = built.stored if body is None else body
        return self.client.post(f"{self.url}/v1/xorbs/default/{built.text}", content=content)

    def register(self, shard, version="v2"):
        answer = self.client.post(f"{self.url}/{version}/shards", content=shard)
        if version == "v1" or answer.status_code != 200:
            return answer
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture
def cas(lanes):
    made = Cas(lanes, lanes.alice, lanes.repo(lanes.alice))
    yield made
    made.client.close()


def test_real_client_uploads_and_downloads_a_model(lanes, tmp_path):
    data = safetensors(20_000_000)
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    api = lanes.api(lanes.alice)
    api.create_repo("alice/big")
    lanes.upload_file(lanes.alice, "alice/big", path)
    assert lanes.stored(data) == data
    with lanes.http() as client:
        assert client.get("/alice/big/resolve/main/model.safetensors").content == data
    assert len(rows(lanes, XorbTerm.id)) >= 1, "it went the Xet way"


def test_real_client_without_xet_uses_lfs(lanes, tmp_path):
    data = safetensors(20_000_000)
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    lanes.api(lanes.alice).create_repo("alice/big")
    lanes.upload_file(lanes.alice, "alice/big", path, HF_HUB_DISABLE_XET="1")
    assert lanes.stored(data) == data
    assert rows(lanes, Xorb.id) == []


def test_real_client_in_each_mode(any_lanes, tmp_path):
    data = safetensors(5_000_000)
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    any_lanes.xet_upload(any_lanes.alice, path)
    assert any_lanes.stored(data) == data
    staged = [key for (key,) in rows(any_lanes, StoredObject.key) if key.startswith("s/")]
    assert bool(staged) == any_lanes.hub.store.can_presign, "granted where the store can"


def test_real_client_names_xorbs_that_were_dropped(lanes, tmp_path):
    first, second = some_bytes(3_000_000, seed=1), some_bytes(1_000_000, seed=2)
    path = tmp_path / "first.bin"
    path.write_bytes(first)
    lanes.xet_upload(lanes.alice, path)
    assert [object_id for (object_id,) in rows(lanes, Xorb.object_id)] == [None]
    changed = tmp_path / "changed.bin"
    changed.write_bytes(first + second)
    lanes.xet_upload(lanes.alice, path, changed)
    assert lanes.stored(first + second) == first + second
    assert len(rows(lanes, Xorb.id)) == 2, "only the new chunks were sent"


def test_real_client_sends_again_what_was_collected(lanes, tmp_path):
    data = some_bytes(3_000_000)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    lanes.xet_upload(lanes.alice, path)

    def collect(session):
        for table in (XorbTerm, Encoding, Segment, File):
            session.execute(delete(table))
        bump_cas_epoch(session)

    lanes.hub.db.run(collect)
    lanes.xet_upload(lanes.alice, path)
    assert lanes.stored(data) == data


def test_two_accounts_on_one_machine_upload_the_same_bytes(lanes, tmp_path):
    data = some_bytes(3_000_000)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    lanes.xet_upload(lanes.alice, path)
    lanes.xet_upload(lanes.bob, path)
    assert len(rows(lanes, File.id)) == 1
    assert len(rows(lanes, FileGrant.repo_id)) == 2
    assert len(rows(lanes, Xorb.id)) == 2, "bob sent the bytes himself"


def test_token_comes_in_body_and_headers(lanes):
    answer = token_of(lanes, lanes.alice, lanes.repo(lanes.alice))
    facts = answer.json()
    assert facts["accessToken"] == answer.headers["x-xet-access-token"]
    assert str(facts["exp"]) == answer.headers["x-xet-token-expiration"]
    assert facts["casUrl"] == answer.headers["x-xet-cas-url"]
    assert facts["casUrl"].startswith(f"{lanes.url}/cas/1-")
    assert facts["exp"] > time.time()


def test_token_needs_the_right_to_write(lanes):
    public = lanes.repo(lanes.alice, "public")
    private = lanes.repo(lanes.alice, "private", private=True)
    with lanes.http(lanes.bob) as bob, lanes.http() as nobody:
        assert bob.get(f"/api/models/{public}/xet-write-token/main").status_code == 403
        assert bob.get(f"/api/models/{private}/xet-write-token/main").status_code == 404
        assert bob.get(f"/api/datasets/{public}/xet-write-token/main").status_code == 404
        assert nobody.get(f"/api/models/{public}/xet-write-token/main").status_code == 401
        assert bob.get(f"/api/models/{public}/xet-read-token/main").status_code == 200


def test_cas_routes_need_a_token_in_force(lanes, cas):
    built = build_xorb(some_bytes(1000))
    with lanes.http(lanes.alice) as other:
        url = f"{cas.url}/v1/xorbs/default/{built.text}"
        assert other.post(url, content=built.stored).status_code == 401
        assert other.post(f"{cas.url}/v2/shards", content=b"").status_code == 401
    late = ManualClock(lanes.hub.clock.now())
    late.advance(lanes.hub.settings.timers.upload_url_s + 1)
    lanes.hub.clock = late
    assert cas.send(built).status_code == 401


def test_chunks_are_not_found_and_telemetry_is_swallowed(lanes, cas):
    answer = cas.client.get(f"{cas.url}/v1/chunks/default/{'0' * 64}")
    assert answer.status_code == 404
    with lanes.http() as client:
        assert client.post("/v1/telemetry", json={"any": "thing"}).status_code == 204


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_xorbs_and_shard_by_hand(lanes, cas, version):
    built = build_xorb(some_bytes(300_000), xorb.LZ4)
    assert cas.send(built).json() == {"was_inserted": True}
    assert cas.send(built).json() == {"was_inserted": False}
    answer = cas.register(build_shard(file_block([(built, 0, 6)]), xorbs=(built,)), version)
    if version == "v1":
        assert answer.json() == {"result": 1}
    else:
        assert answer[-1] == {"type": "result", "result": 1}
        assert {event["type"] for event in answer[:-1]} <= {"validating"}
    assert lanes.stored(content_of([(built, 0, 6)])) == content_of([(built, 0, 6)])


def test_slow_shard_keeps_the_connection_alive(cas, monkeypatch):
    monkeypatch.setattr(shard_events, "REPORT_EVERY_S", 0.001)
    monkeypatch.setattr(shard_events, "HEARTBEAT_REPORTS", 2)
    built = build_xorb(some_bytes(3_000_000))
    cas.send(built)
    events = cas.register(build_shard(file_block([(built, 0, len(built.chunks))])))
    assert len(events) > 2
    assert events[-1]["type"] == "result"


def test_xorb_under_a_wrong_digest_is_refused(lanes, cas):
    honest, other = build_xorb(some_bytes(1000, seed=1)), build_xorb(some_bytes(1000, seed=2))
    for body in (other.stored, b"", b"\0" * 7, honest.stored[:-1], honest.stored + b"\0"):
        assert cas.send(honest, body).status_code == 422
    assert cas.client.post(f"{cas.url}/v1/xorbs/default/xyz", content=b"").status_code == 400
    assert rows(lanes, Xorb.id) == []


def test_xorb_that_is_declared_too_big_is_not_read(cas):
    url = urlsplit(f"{cas.url}/v1/xorbs/default/{'0' * 64}")
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    connection.putrequest("POST", url.path)
    connection.putheader("Authorization", cas.client.headers["Authorization"])
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_mutated_xorbs_get_clean_answers(lanes, cas):
    rng = random.Random(5)
    built = build_xorb(some_bytes(20_000), xorb.GROUPED_LZ4, chunk_nbytes=3_000)
    for _ in range(300):
        body = bytearray(built.stored)
        for _ in range(rng.randint(1, 3)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        if body == built.stored:
            continue
        assert cas.send(built, bytes(body)).status_code in {413, 422}
    assert rows(lanes, Xorb.id) == []


def test_mutated_shards_get_clean_answers(lanes, cas):
    rng = random.Random(6)
    built = build_xorb(some_bytes(3_000), chunk_nbytes=1_000)
    cas.send(built)
    honest = build_shard(file_block([(built, 0, 3)]), xorbs=(built,))
    for _ in range(300):
        mutant = bytearray(honest)
        mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        answer = cas.register(bytes(mutant))
        if isinstance(answer, list):
            assert answer[-1]["type"] in {"result", "error"}
            assert "internal error" not in answer[-1].get("message", "")
        else:
            assert answer.status_code in {400, 413}
    assert len(rows(lanes, File.id)) <= 1


def test_error_line_says_whether_to_retry(lanes, cas):
    built = build_xorb(some_bytes(3_000))
    (error,) = [e for e in cas.register(build_shard(file_block([(built, 0, 1)]))) if "message" in e]
    assert error["type"] == "error"
    assert error["retryable"] is False
    assert built.text in error["message"]


def test_shard_cannot_name_another_accounts_xorb(lanes, cas):
    built = build_xorb(some_bytes(3_000))
    cas.send(built)
    shard = build_shard(file_block([(built, 0, 1)]))
    bobs = Cas(lanes, lanes.bob, lanes.repo(lanes.bob))
    known, unknown = bobs.register(shard)[-1], bobs.register(shard)[-1]
    bobs.client.close()
    assert known == unknown
    assert known["type"] == "error"


def test_grants_are_for_stores_that_can_presign(cas):
    answer = cas.client.post(f"{cas.url}/v1/xorb-grants/default/{'0' * 64}", json={"length": 1})
    assert answer.status_code == 404


class TestGrants:
    """Xorbs through presigned URLs, on a real S3 server."""

    @pytest.fixture(params=["production"])
    def any_hub(self, request):
        from tests.fixtures.hub import open_test_hub

        hub = open_test_hub(request.getfixturevalue("production_settings"))
        yield hub
        hub.close()

    @pytest.fixture
    def cas(self, any_lanes):
        made = Cas(any_lanes, any_lanes.alice, any_lanes.repo(any_lanes.alice))
        yield made
        made.client.close()

    def ask(self, cas, built, length=None):
        return cas.client.post(
            f"{cas.url}/v1/xorb-grants/default/{built.text}",
            json={
                "length": len(built.stored) if length is None else length,
                "checksum": {"algo": "crc64nvme", "value": "1"},
            },
        )

    def put(self, any_lanes, grant, body):
        with any_lanes.http() as client:
            return client.request(
                grant["method"], grant["url"], headers=grant["headers"], content=body
            )

    def commit(self, cas, built, grant):
        return cas.client.post(
            f"{cas.url}/v1/xorb-commits/default/{built.text}/grant/{grant['id']}"
        )

    def test_granted_xorb_is_committed_once(self, any_lanes, cas):
        built = build_xorb(some_bytes(100_000))
        answer = self.ask(cas, built)
        assert answer.status_code == 201
        grant = answer.json()
        assert self.commit(cas, built, grant).status_code == 404, "nothing was sent yet"
        self.put(any_lanes, grant, built.stored).raise_for_status()
        assert self.commit(cas, built, grant).json() == {"was_inserted": True}
        assert self.commit(cas, built, grant).json() == {"was_inserted": False}
        assert self.ask(cas, built).status_code == 200

    def test_url_used_again_changes_nothing(self, any_lanes, cas):
        built, other = (build_xorb(some_bytes(100_000, seed=seed)) for seed in (1, 2))
        grant = self.ask(cas, built).json()
        self.put(any_lanes, grant, built.stored).raise_for_status()
        self.commit(cas, built, grant)
        self.put(any_lanes, grant, other.stored)
        events = cas.register(build_shard(file_block([(built, 0, 2)])))
        assert events[-1]["type"] == "result"
        content = content_of([(built, 0, 2)])
        assert any_lanes.stored(content) == content

    def test_other_bytes_than_announced_are_refused(self, any_lanes, cas):
        built, other = (build_xorb(some_bytes(100_000, seed=seed)) for seed in (1, 2))
        grant = self.ask(cas, built).json()
        self.put(any_lanes, grant, other.stored)
        assert self.commit(cas, built, grant).status_code == 422
        assert rows(any_lanes, Xorb.id) == []

    def test_grant_of_another_account_or_xorb_is_none(self, any_lanes, cas):
        built, other = (build_xorb(some_bytes(100_000, seed=seed)) for seed in (1, 2))
        grant = self.ask(cas, built).json()
        self.put(any_lanes, grant, built.stored)
        assert self.commit(cas, other, grant).status_code == 404
        bobs = Cas(any_lanes, any_lanes.bob, any_lanes.repo(any_lanes.bob))
        assert self.commit(bobs, built, grant).status_code == 404
        bobs.client.close()
        assert self.commit(cas, built, grant).json() == {"was_inserted": True}

    def test_length_beyond_the_limit_is_refused(self, cas):
        built = build_xorb(b"x")
        assert self.ask(cas, built, length=1 << 30).status_code == 413
        assert self.ask(cas, built, length=0).status_code == 413
