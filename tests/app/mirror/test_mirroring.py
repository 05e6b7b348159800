"""A hub in front of another: same ids, fetched once, fresh, read-only, private where it must be."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from app.catalog.repos import set_private
from app.db.tables import AwaitedFile, AwaitedPart, Repo
from app.gc.fsck import fsck
from app.jobs.runner import drain
from app.mirror.following import withheld
from app.tasks import HANDLERS
from tests.fixtures.api import ALICE_TOKEN, BOB_TOKEN, REPO, add
from tests.fixtures.mirrors import OBJECT, MakeMirror, Mirrored, asked_range, eventually, reply

BIG = random.Random(0).randbytes(3_000_000)


@pytest.fixture
def published(mirrored: Mirrored) -> str:
    """A repo of the upstream with a big file, a small one, a tag and a branch; its head."""
    return publish(mirrored)


def publish(pair: Mirrored, repo_type: str = "model") -> str:
    api = pair.upstream.api()
    api.create_repo(REPO, repo_type=repo_type)
    files = [add("big.bin", BIG), add("nested/small.txt", b"small")]
    done = api.create_commit(REPO, files, commit_message="files", repo_type=repo_type)
    api.create_tag(REPO, tag="v1", repo_type=repo_type)
    api.create_branch(REPO, branch="other/one", repo_type=repo_type)
    return done.oid


def count(pair: Mirrored, table: type) -> int:
    with pair.mirror.hub.db.read() as session:
        return session.query(table).count()


def described(api: HfApi, url: str) -> list[object]:
    """What clients ask of a repo."""
    refs = api.list_repo_refs(REPO)
    meta = get_hf_file_metadata(
        hf_hub_url(REPO, "big.bin", revision="other/one", endpoint=url), token=api.token
    )
    return [
        [(ref.ref, ref.target_commit) for ref in refs.branches + refs.tags],
        [
            (each.path, getattr(each, "blob_id", None), getattr(each, "tree_id", None))
            for each in api.list_repo_tree(REPO, recursive=True)
        ],
        [
            (each.path, each.size, each.lfs and each.lfs.sha256)
            for each in api.get_paths_info(REPO, ["big.bin", "nested/small.txt"])
        ],
        [(each.commit_id, each.title) for each in api.list_repo_commits(REPO)],
        (meta.etag, meta.size, meta.commit_hash),
        [each.rfilename for each in api.model_info(REPO, revision="v1").siblings or []],
    ]


@pytest.mark.usefixtures("published")
def test_every_question_is_answered_as_the_upstream_does_without_a_big_file(mirrored: Mirrored):
    here = described(mirrored.mirror.api(), mirrored.mirror.url)

    assert here == described(mirrored.upstream.api(), mirrored.upstream.url)
    assert mirrored.between.count(OBJECT) == 0


@pytest.mark.parametrize("repo_type", ["model", "dataset"])
def test_a_file_is_fetched_once_however_many_ask_and_then_stored(
    any_mirrored: Mirrored, repo_type: str
):
    mirrored = any_mirrored
    publish(mirrored, repo_type)
    prefix = "" if repo_type == "model" else "/datasets"

    with ThreadPoolExecutor(6) as clients:
        answers = list(
            clients.map(lambda _: mirrored.get(f"{prefix}/{REPO}/resolve/main/big.bin"), range(6))
        )

    assert all(answer.content == BIG for answer in answers)
    assert mirrored.between.count(OBJECT) == 1
    drain(mirrored.mirror.hub, HANDLERS)
    assert (count(mirrored, AwaitedFile), count(mirrored, AwaitedPart)) == (0, 0)
    assert fsck(mirrored.mirror.hub, deep=True).clean
    mirrored.between.is_down = True
    again = mirrored.get(f"{prefix}/{REPO}/resolve/main/big.bin")
    assert (again.content, again.status_code) == (BIG, 200)
    assert "stale" in again.headers["x-clade-mirror"]
    assert "may be old" in again.headers["x-hf-warning"]


def test_ranges_are_served_while_the_file_comes(any_mirrored: Mirrored):
    publish(any_mirrored)

    answer = any_mirrored.get(f"/{REPO}/resolve/main/big.bin", range="bytes=1000000-1999999")

    assert (answer.status_code, answer.content) == (206, BIG[1_000_000:2_000_000])
    assert answer.headers["content-range"] == f"bytes 1000000-1999999/{len(BIG)}"


def test_the_end_of_a_file_is_read_before_what_lies_in_front_of_it(any_mirror_of: MakeMirror):
    pair = any_mirror_of(part_nbytes=64 << 10, lines=2)
    publish(pair)
    read = threading.Event()

    def delay_the_middle(_between: object, handler: Any) -> bool:
        """Some ten seconds in all: lines may all be there before anybody asks for the end."""
        if handler.path.startswith(OBJECT) and 0 < asked_range(handler)[0] < len(BIG) // 2:
            read.wait(1)
        return False

    pair.between.tamper = delay_the_middle
    path = f"/{REPO}/resolve/main/big.bin"
    with ThreadPoolExecutor(1) as clients:
        whole = clients.submit(lambda: pair.get(path))
        end = pair.get(path, range="bytes=-100000")
        assert not whole.done()
        read.set()

        assert (end.status_code, end.content) == (206, BIG[-100_000:])
        assert whole.result().content == BIG
    starts = [each.headers["range"] for each in pair.between.asked if each.path.startswith(OBJECT)]
    assert len(starts) == len(set(starts))


def test_no_ranges_make_up_a_whole_file_before_it_is_known_to_be_right(mirrored: Mirrored):
    publish(mirrored)
    wrong = BIG[:-1] + bytes([BIG[-1] ^ 1])
    mirrored.between.tamper = lambda _between, handler: (
        handler.path.startswith(OBJECT)
        and reply(handler, 206, wrong, content_range=f"bytes 0-{len(BIG) - 1}/{len(BIG)}")
    )
    path = f"/{REPO}/resolve/main/big.bin"
    guarded = withheld(len(BIG))

    got: list[bytes] = []
    for start, stop in ((0, guarded), (guarded, guarded + 1), (guarded + 1, len(BIG))):
        with suppress(httpx.RemoteProtocolError):
            answer = mirrored.get(path, range=f"bytes={start}-{stop - 1}")
            got += [answer.content] if answer.status_code == 206 else []

    assert sum(map(len, got)) < len(BIG)
    assert wrong[guarded : guarded + 1] not in got


def test_what_is_awaited_is_offered_by_plain_http_only(any_mirrored: Mirrored):
    publish(any_mirrored)
    path = f"/{REPO}/resolve/main/big.bin"
    before = any_mirrored.mirror.http().head(path)
    any_mirrored.get(path)
    eventually(lambda: count(any_mirrored, AwaitedFile) == 0)
    after = any_mirrored.mirror.http().head(path)

    assert "x-xet-hash" not in before.headers
    assert "x-xet-hash" in after.headers
    assert before.headers["etag"] == after.headers["etag"]


def test_a_branch_that_moves_back_and_forth_is_followed(any_mirrored: Mirrored):
    mirrored = any_mirrored
    publish(mirrored)
    api, mirror = mirrored.upstream.api(), mirrored.mirror.api()
    first = mirror.model_info(REPO).sha

    second = api.create_commit(REPO, [add("more.txt", b"more")], commit_message="more").oid
    assert mirror.model_info(REPO).sha == second
    assert mirrored.get(f"/{REPO}/resolve/{first}/more.txt").status_code == 404
    api.super_squash_history(REPO)
    api.delete_tag(REPO, tag="v1")

    squashed = api.model_info(REPO).sha
    assert mirror.model_info(REPO).sha == squashed != second
    assert mirror.list_repo_refs(REPO).tags == []


def test_what_was_said_holds_for_a_while_but_not_for_an_unknown_revision(mirror_of: MakeMirror):
    pair = mirror_of(fresh_s=3600, negative_s=3600)
    publish(pair)
    mirror = pair.mirror.api()
    first = mirror.model_info(REPO).sha
    second = pair.upstream.api().create_commit(REPO, [add("b", b"b")], commit_message="b").oid
    asked = len(pair.between.asked)

    assert mirror.model_info(REPO).sha == first
    assert len(pair.between.asked) == asked
    assert mirror.model_info(REPO, revision=second).sha == second
    asked = len(pair.between.asked)
    for _ in range(3):
        assert pair.get(f"/api/models/{REPO}/revision/nothing-like-it").status_code == 404
    assert len(pair.between.asked) <= asked + 2


@pytest.mark.usefixtures("published")
def test_mirrors_are_read_only_until_deleted_and_own_repos_win(mirrored: Mirrored):
    mirror = mirrored.mirror.api()
    mirror.model_info(REPO)
    for change in (
        lambda: mirror.upload_file(
            path_or_fileobj=b"x", path_in_repo="x", repo_id=REPO, create_pr=False
        ),
        lambda: mirror.upload_file(
            path_or_fileobj=b"x", path_in_repo="x", repo_id=REPO, create_pr=True
        ),
        lambda: mirror.create_branch(REPO, branch="mine"),
        lambda: mirror.update_repo_settings(REPO, private=True),
        lambda: mirror.move_repo(REPO, "mallory/model"),
    ):
        with pytest.raises(HfHubHTTPError, match="is read-only here"):
            change()
    with pytest.raises(HfHubHTTPError, match="not fetched yet"):
        mirror.duplicate_repo(REPO, "mallory/copy")

    mirror.delete_repo(REPO)
    mirror.create_repo(REPO)

    assert "x-clade-mirror" not in mirrored.get(f"/api/models/{REPO}").headers
    assert [each.path for each in mirror.list_repo_tree(REPO)] == [".gitattributes"]


def test_what_only_the_token_may_see_is_for_administrators(mirrored: Mirrored):
    mirrored.upstream.api().create_repo(REPO, private=True)

    statuses = [
        mirrored.get(f"/api/models/{REPO}", token).status_code
        for token in (BOB_TOKEN, None, ALICE_TOKEN, BOB_TOKEN)
    ]

    assert statuses == [404, 401, 200, 404]


@pytest.mark.usefixtures("published")
def test_a_repo_that_turns_private_upstream_does_so_here(mirrored: Mirrored):
    assert mirrored.get(f"/api/models/{REPO}", BOB_TOKEN).status_code == 200
    with mirrored.upstream.hub.db.read() as session:
        repo = session.query(Repo).filter_by(key=f"model/{REPO}").one()

    set_private(mirrored.upstream.hub, repo, True)

    assert mirrored.get(f"/api/models/{REPO}", ALICE_TOKEN).status_code == 200
    assert mirrored.get(f"/api/models/{REPO}", BOB_TOKEN).status_code == 404


@pytest.mark.parametrize(("restricted", "statuses"), [("refuse", [403, 403]), ("open", [200, 200])])
def test_restricted_repos_may_be_refused_or_open(
    mirror_of: MakeMirror, restricted: str, statuses: list[int]
):
    pair = mirror_of(restricted=restricted)
    pair.upstream.api().create_repo(REPO, private=True)

    assert [
        pair.get(f"/api/models/{REPO}", token).status_code for token in (ALICE_TOKEN, BOB_TOKEN)
    ] == statuses


def test_an_upstreams_word_opens_no_file_of_somebody_else(mirrored: Mirrored):
    """A pointer to a private file here must be fetched, not shown because it is here."""
    mine = mirrored.mirror.api()
    mine.create_repo("mallory/secret", private=True)
    mine.upload_file(path_or_fileobj=BIG, path_in_repo="b.bin", repo_id="mallory/secret")
    publish(mirrored)

    mirrored.get(f"/api/models/{REPO}", BOB_TOKEN)

    assert count(mirrored, AwaitedFile) == 1
    assert mirrored.get(f"/{REPO}/resolve/main/big.bin", BOB_TOKEN).content == BIG
    assert mirrored.between.count(OBJECT) == 1


def test_bytes_that_are_public_here_are_not_fetched(mirrored: Mirrored):
    mine = mirrored.mirror.api()
    mine.create_repo("mallory/shown")
    mine.upload_file(path_or_fileobj=BIG, path_in_repo="b.bin", repo_id="mallory/shown")
    publish(mirrored)

    assert mirrored.get(f"/{REPO}/resolve/main/big.bin").content == BIG
    assert mirrored.between.count(OBJECT) == 0


def test_settings_say_which_repos_and_at_whose_request(mirror_of: MakeMirror):
    pair = mirror_of(repos="acme/*, datasets/*")
    publish(pair)

    assert pair.get(f"/api/models/{REPO}").status_code == 404
    assert pair.between.asked == []
    assert pair.get(f"/api/datasets/{REPO}").status_code == 404
    assert pair.get(f"/api/datasets/{REPO}", None).status_code == 401
    assert pair.between.count("/api/datasets") == 1


def test_offline_serves_what_is_here_and_asks_nothing(mirror_of: MakeMirror):
    before = mirror_of()
    publish(before)
    before.mirror.api().model_info(REPO)
    offline = mirror_of(offline=True)

    assert offline.mirror.api().model_info(REPO).sha
    with pytest.raises(RepositoryNotFoundError, match="offline"):
        offline.mirror.api().model_info("alice/other")
    lacking = offline.get(f"/{REPO}/resolve/main/big.bin")
    assert (lacking.status_code, lacking.headers["x-error-code"]) == (503, "UpstreamDown")
    assert offline.between.asked == []


def test_ahead_fetches_before_anybody_asks(mirror_of: MakeMirror):
    pair = mirror_of(ahead="head")
    publish(pair)

    pair.mirror.api().model_info(REPO)

    eventually(lambda: count(pair, AwaitedFile) == 0)
    assert pair.between.count(OBJECT) == 1


@pytest.mark.usefixtures("published")
def test_a_request_that_came_through_this_hub_is_not_sent_on(mirrored: Mirrored):
    mirrored.get(f"/api/models/{REPO}")
    via = next(
        value
        for name, value in mirrored.between.asked[0].headers.items()
        if name.lower() == "x-clade-mirror-via"
    )
    asked = len(mirrored.between.asked)

    answer = mirrored.get("/api/models/alice/other", **{"x-clade-mirror-via": via})

    assert answer.status_code == 404
    assert len(mirrored.between.asked) == asked


@pytest.mark.usefixtures("published")
def test_one_asks_while_others_are_served_what_is_here(mirrored: Mirrored):
    mirrored.get(f"/api/models/{REPO}")
    asking, answer = threading.Event(), threading.Event()

    def hold(_between: object, handler: object) -> bool:
        del handler
        asking.set()
        assert answer.wait(30)
        return False

    mirrored.between.tamper = hold
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(lambda: mirrored.get(f"/api/models/{REPO}"))
        assert asking.wait(30)
        second = mirrored.get(f"/api/models/{REPO}")
        answer.set()
        assert (first.result().status_code, second.status_code) == (200, 200)


@pytest.mark.usefixtures("published")
def test_a_short_name_leads_to_the_owner_that_the_upstream_tells(mirrored: Mirrored):
    described = mirrored.upstream.http().get(f"/api/models/{REPO}").content
    mirrored.between.tamper = lambda _between, handler: (
        handler.path == "/api/models/model" and reply(handler, 200, described)
    )

    info = mirrored.mirror.http().get("/api/models/model")
    file = mirrored.mirror.http().get("/model/resolve/main/nested/small.txt")

    assert (info.status_code, info.headers["location"]) == (307, f"/api/models/{REPO}")
    assert file.headers["location"] == f"/{REPO}/resolve/main/nested/small.txt"
    assert mirrored.mirror.api().model_info("model").id == REPO
    assert mirrored.mirror.http().get("/api/models/no-such").status_code == 404


def test_a_private_copy_is_not_told_of(mirrored: Mirrored):
    mirrored.upstream.api().create_repo(REPO, private=True)

    assert "x-clade-mirror" in mirrored.get(f"/api/models/{REPO}").headers
    assert "x-clade-mirror" not in mirrored.get(f"/api/models/{REPO}", BOB_TOKEN).headers
