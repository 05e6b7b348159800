"""git-lfs uploads, by the Hugging Face client and by hand."""

import base64
import hashlib
import http.client
import random
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select

from app.clock import ManualClock
from app.db.tables import Content, File, Lease, LfsPart, LfsUpload, StoredObject

LFS = {
    "Accept": "application/vnd.git-lfs+json",
    "Content-Type": "application/vnd.git-lfs+json",
}


def some_bytes(nbytes, seed=0):
    return random.Random(seed).randbytes(nbytes)


def question(*objects, operation="upload", **more):
    return {
        "operation": operation,
        "objects": [
            {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)} for data in objects
        ],
        **more,
    }


def ask(lanes, user, *objects, repo="alice/model", **more):
    with lanes.http(user) as client:
        url = f"/{repo}.git/info/lfs/objects/batch"
        return client.post(url, json=question(*objects, **more), headers=LFS)


def actions_of(answer):
    assert answer.status_code == 200, answer.text
    return [each.get("actions") for each in answer.json()["objects"]]


def upload_href(lanes, user, data, **more):
    return actions_of(ask(lanes, user, data, **more))[0]["upload"]["href"]


def rows(lanes, *columns):
    with lanes.hub.db.read() as session:
        return session.execute(select(*columns)).all()


@pytest.fixture
def repo(lanes):
    return lanes.repo(lanes.alice)


def test_real_client_uploads_a_file(lanes, tmp_path):
    data = some_bytes(3_000_000)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    assert lanes.lfs_upload(lanes.alice, path).stdout.split() == ["basic", "1"]
    assert lanes.stored(data) == data
    assert lanes.lfs_upload(lanes.alice, path).stdout.split() == ["basic", "0"]


def test_real_client_uploads_in_parts(small_parts_lanes, tmp_path):
    lanes = small_parts_lanes
    data = some_bytes(1_000_000)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    assert lanes.lfs_upload(lanes.alice, path).stdout.split() == ["multipart", "1"]
    assert lanes.stored(data) == data
    assert rows(lanes, LfsUpload.id) == []
    states = rows(lanes, StoredObject.purpose, StoredObject.state)
    assert [state for purpose, state in states if purpose == "part"] == ["retired"] * 8


def test_anonymous_upload_is_asked_for_credentials(lanes, repo):
    answer = ask(lanes, None, b"data")
    assert answer.status_code == 401
    assert answer.headers["lfs-authenticate"].startswith("Basic")
    assert answer.headers["content-type"] == LFS["Accept"]
    assert answer.json()["message"]


def test_basic_credentials_are_taken(lanes, repo):
    pair = base64.b64encode(f"alice:{lanes.alice.token}".encode()).decode()
    with lanes.http() as client:
        client.headers["Authorization"] = f"Basic {pair}"
        answer = client.post(
            f"/{repo}.git/info/lfs/objects/batch", json=question(b"data"), headers=LFS
        )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("private", "status"), [(False, 403), (True, 404)], ids=["public", "private"]
)
def test_stranger_cannot_upload(lanes, private, status):
    repo = lanes.repo(lanes.alice, "other", private=private)
    # Without a ref it would be for a pull request, which readers may open.
    body = question(b"data") | {"ref": {"name": "refs/heads/main"}}
    with lanes.http(lanes.bob) as client:
        answer = client.post(f"/{repo}.git/info/lfs/objects/batch", json=body, headers=LFS)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_dataset_has_a_batch_endpoint_of_its_own(lanes, repo):
    with lanes.http(lanes.alice) as client:
        answer = client.post(
            f"/datasets/{repo}.git/info/lfs/objects/batch", json=question(b"x"), headers=LFS
        )
    assert answer.status_code == 404


@pytest.mark.parametrize(("name", "status"), [("sha256", 200), ("sha_256", 200), ("md5", 400)])
def test_digests_are_sha256_by_either_name(lanes, repo, name, status):
    body = question(b"x") | {"hash_algo": name}
    with lanes.http(lanes.alice) as client:
        answer = client.post(f"/{repo}.git/info/lfs/objects/batch", json=body, headers=LFS)
    assert answer.status_code == status


def test_private_file_and_unknown_file_get_the_same_answer(lanes, repo):
    secret, unknown = some_bytes(5_000, seed=1), some_bytes(5_000, seed=2)
    with lanes.http() as client:
        client.put(upload_href(lanes, lanes.alice, secret), content=secret).raise_for_status()
    mine = lanes.repo(lanes.bob, "mine")
    answers = [
        ask(lanes, lanes.bob, data, repo=mine).json()["objects"][0] for data in (secret, unknown)
    ]
    for answer, data in zip(answers, (secret, unknown), strict=True):
        assert answer.pop("oid") == hashlib.sha256(data).hexdigest()
        for action in answer["actions"].values():
            action["href"] = len(action["href"])
    assert answers[0] == answers[1]


def test_stranger_who_has_the_bytes_must_send_them(lanes, repo):
    data = some_bytes(5_000)
    with lanes.http() as client:
        client.put(upload_href(lanes, lanes.alice, data), content=data).raise_for_status()
        mine = lanes.repo(lanes.bob, "mine")
        href = upload_href(lanes, lanes.bob, data, repo=mine)
        client.put(href, content=data).raise_for_status()
    assert actions_of(ask(lanes, lanes.bob, data, repo=mine)) == [None]
    assert len(rows(lanes, File.id)) == 1


def test_present_file_is_leased_for_the_commit_that_follows(lanes, repo):
    data = some_bytes(5_000)
    with lanes.http() as client:
        client.put(upload_href(lanes, lanes.alice, data), content=data).raise_for_status()
    before = len(rows(lanes, Lease.id))
    assert actions_of(ask(lanes, lanes.alice, data)) == [None]
    assert len(rows(lanes, Lease.id)) == before + 1


def test_damaged_file_is_asked_for_again(lanes, repo):
    data = some_bytes(5_000)
    with lanes.http() as client:
        client.put(upload_href(lanes, lanes.alice, data), content=data).raise_for_status()
        lanes.hub.db.run(
            lambda session: session.execute(Content.__table__.update().values(health="damaged"))
        )
        client.put(upload_href(lanes, lanes.alice, data), content=data).raise_for_status()
    assert actions_of(ask(lanes, lanes.alice, data)) == [None]
    assert lanes.stored(data) == data


@pytest.mark.parametrize(
    "wanted",
    [
        {"oid": "xyz", "size": 1},
        {"oid": "A" * 64, "size": 1},
        {"oid": "0" * 64, "size": -1},
        {"oid": "0" * 64, "size": 1 << 50},
    ],
)
def test_bad_object_is_answered_beside_good_ones(lanes, repo, wanted):
    body = question(b"good")
    body["objects"].append(wanted)
    with lanes.http(lanes.alice) as client:
        answer = client.post(f"/{repo}.git/info/lfs/objects/batch", json=body, headers=LFS)
    good, bad = answer.json()["objects"]
    assert "actions" in good
    assert bad["error"]["code"] == 422


def test_batch_that_is_too_long_is_refused(lanes, repo):
    answer = ask(lanes, lanes.alice, *[str(index).encode() for index in range(1_001)])
    assert answer.status_code == 413
    assert "preupload_files" in answer.json()["message"]


@pytest.mark.parametrize("sent", [b"", b"short", some_bytes(4_999), some_bytes(5_001)])
def test_other_size_is_refused_and_nothing_is_visible(lanes, repo, sent):
    href = upload_href(lanes, lanes.alice, some_bytes(5_000))
    with lanes.http() as client:
        whole = client.put(href, content=sent)
        chunked = client.put(href, content=iter([sent]))
    assert (whole.status_code, chunked.status_code) == (422, 422)
    assert rows(lanes, File.id) == []


def test_other_bytes_are_refused_and_nothing_is_visible(lanes, repo):
    href = upload_href(lanes, lanes.alice, some_bytes(3 << 20, seed=1))
    with lanes.http() as client:
        answer = client.put(href, content=some_bytes(3 << 20, seed=2))
    assert answer.status_code == 422
    assert answer.json()["message"]
    assert rows(lanes, File.id) == []
    assert {state for (state,) in rows(lanes, StoredObject.state)} <= {"retired"}


def test_client_that_goes_away_leaves_nothing_visible(lanes, repo):
    data = some_bytes(5 << 20)
    href = urlsplit(upload_href(lanes, lanes.alice, data))
    connection = http.client.HTTPConnection(href.hostname, href.port)
    connection.putrequest("PUT", href.path)
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data[: 3 << 20])
    connection.close()
    with lanes.http() as client:  # the same link works still
        client.put(href.geturl(), content=data).raise_for_status()
    assert lanes.stored(data) == data


def test_silent_client_is_given_up(lanes, repo):
    timers = lanes.hub.settings.timers.model_copy(update={"upload_idle_s": 0.05})
    lanes.hub.settings = lanes.hub.settings.model_copy(update={"timers": timers})
    data = some_bytes(100_000)
    href = urlsplit(upload_href(lanes, lanes.alice, data))
    connection = http.client.HTTPConnection(href.hostname, href.port, timeout=30)
    connection.putrequest("PUT", href.path)
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data[:50_000])
    assert connection.getresponse().status == 503
    connection.close()
    assert rows(lanes, File.id) == []


def test_replayed_link_changes_nothing(lanes, repo):
    data, other = some_bytes(5_000, seed=1), some_bytes(5_000, seed=2)
    href = upload_href(lanes, lanes.alice, data)
    with lanes.http() as client:
        assert client.put(href, content=data).status_code == 200
        before = rows(lanes, StoredObject.key, StoredObject.state)
        assert client.put(href, content=data).status_code == 200
        assert client.put(href, content=other).status_code == 422
    live = [
        key for key, state in rows(lanes, StoredObject.key, StoredObject.state) if state == "live"
    ]
    assert live == [key for key, state in before if state == "live"]
    assert lanes.stored(data) == data


def test_expired_link_is_refused(lanes, repo):
    data = some_bytes(5_000)
    href = upload_href(lanes, lanes.alice, data)
    late = ManualClock(lanes.hub.clock.now())
    late.advance(lanes.hub.settings.timers.upload_url_s + 1)
    lanes.hub.clock = late
    with lanes.http() as client:
        answer = client.put(href, content=data)
    assert answer.status_code == 403
    assert "expired" in answer.json()["message"]


def test_forged_link_is_refused(lanes, repo):
    href = upload_href(lanes, lanes.alice, b"data")
    verify = actions_of(ask(lanes, lanes.alice, b"data"))[0]["verify"]["href"]
    with lanes.http() as client:
        assert client.put(href[:-1] + "#", content=b"data").status_code == 403
        assert client.put(href + "A", content=b"data").status_code == 403
        other_use = verify.replace("/verify/", "/objects/")
        assert client.put(other_use, content=b"data").status_code == 403
        assert client.get(href).status_code == 403


def test_verify_knows_what_arrived(lanes, repo):
    data = some_bytes(5_000)
    actions = actions_of(ask(lanes, lanes.alice, data))[0]
    claim = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    with lanes.http() as client:
        verify = actions["verify"]["href"]
        assert client.post(verify, json=claim).status_code == 404
        client.put(actions["upload"]["href"], content=data).raise_for_status()
        assert client.post(verify, json=claim).status_code == 200
        assert client.post(verify, json=claim | {"size": 4}).status_code == 400


def test_empty_object_can_be_uploaded(lanes, repo):
    with lanes.http() as client:
        client.put(upload_href(lanes, lanes.alice, b""), content=b"").raise_for_status()
    assert lanes.stored(b"") == b""


class TestParts:
    """The multipart transfer by hand."""

    @pytest.fixture
    def lanes(self, small_parts_lanes):
        return small_parts_lanes

    @pytest.fixture
    def data(self):
        return some_bytes(600_000)

    @pytest.fixture
    def upload(self, lanes, repo, data):
        answer = ask(lanes, lanes.alice, data, transfers=["basic", "multipart"])
        assert answer.json()["transfer"] == "multipart"
        return actions_of(answer)[0]["upload"]

    def split(self, upload, data):
        nbytes = int(upload["header"]["chunk_size"])
        urls = [url for name, url in sorted(upload["header"].items()) if name.isdigit()]
        return [
            (url, data[index * nbytes : (index + 1) * nbytes]) for index, url in enumerate(urls)
        ]

    def completion(self, data, etags):
        return {
            "oid": hashlib.sha256(data).hexdigest(),
            "parts": [
                {"partNumber": number, "etag": etag} for number, etag in enumerate(etags, start=1)
            ],
        }

    def test_clients_that_cannot_send_parts_send_one_piece(self, lanes, repo, data):
        assert ask(lanes, lanes.alice, data).json()["transfer"] == "basic"

    def test_parts_in_any_order_and_again(self, lanes, upload, data):
        parts = self.split(upload, data)
        etags = [""] * len(parts)
        with lanes.http() as client:
            client.put(parts[1][0], content=bytes(len(parts[1][1]))).raise_for_status()
            for index in reversed(range(len(parts))):
                url, part = parts[index]
                etags[index] = client.put(url, content=part).headers["etag"]
            for _ in range(2):  # a completion whose answer was lost is sent again
                done = client.post(upload["href"], json=self.completion(data, etags), headers=LFS)
                assert done.status_code == 200, done.text
            assert client.put(parts[0][0], content=parts[0][1]).status_code == 404
        assert lanes.stored(data) == data
        assert rows(lanes, LfsPart.number) == []

    def test_missing_or_other_parts_are_named(self, lanes, upload, data):
        parts = self.split(upload, data)
        with lanes.http() as client:
            etags = [client.put(url, content=part).headers["etag"] for url, part in parts[:-1]]
            early = client.post(upload["href"], json=self.completion(data, etags), headers=LFS)
            assert (early.status_code, "parts have arrived" in early.text) == (400, True)
            url, part = parts[-1]
            client.put(url, content=part).raise_for_status()
            wrong = client.post(
                upload["href"], json=self.completion(data, [*etags, "00"]), headers=LFS
            )
            assert wrong.status_code == 400
        assert rows(lanes, File.id) == []

    def test_part_of_another_size_is_refused(self, lanes, upload, data):
        (url, part), *_ = self.split(upload, data)
        with lanes.http() as client:
            assert client.put(url, content=part[:-1]).status_code == 422
            assert client.put(url, content=part + b"x").status_code == 422
            assert client.put(f"{upload['href']}/parts/6", content=part).status_code == 400
            assert client.put(f"{upload['href']}/parts/0", content=part).status_code == 400
        assert rows(lanes, LfsPart.number) == []

    def test_parts_of_another_file_are_refused(self, lanes, upload, data):
        parts = self.split(upload, some_bytes(600_000, seed=9))
        with lanes.http() as client:
            etags = [client.put(url, content=part).headers["etag"] for url, part in parts]
            done = client.post(upload["href"], json=self.completion(data, etags), headers=LFS)
        assert done.status_code == 422
        assert rows(lanes, File.id) == []


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own
def test_download_batch_links_to_what_the_repository_shows(lanes):
    data = some_bytes(200_000)
    api = lanes.api(lanes.alice)
    api.create_repo("alice/shown")
    api.upload_file(path_or_fileobj=BytesIO(data), path_in_repo="w.bin", repo_id="alice/shown")
    answer = ask(lanes, None, data, b"unknown", repo="alice/shown", operation="download")
    shown, unknown = answer.json()["objects"]
    assert unknown["error"]["code"] == 404
    with lanes.http() as client:
        href = shown["actions"]["download"]["href"]
        assert client.get(href).content == data
        part = client.get(href, headers={"Range": "bytes=100000-"})
        assert (part.status_code, part.content) == (206, data[100_000:])
