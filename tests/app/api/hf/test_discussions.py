"""Discussions and pull requests with the stock client and by hand."""

import json
from hashlib import sha256

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    DiscussionComment,
    HfApi,
    hf_hub_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.fixtures.api import BOB_TOKEN, REPO, LiveHub, add

TALK = f"/api/models/{REPO}/discussions"


def first_comment(api: HfApi, number: int) -> DiscussionComment:
    details = api.get_discussion_details(REPO, number)
    return next(each for each in details.events if isinstance(each, DiscussionComment))


def test_a_reader_proposes_and_the_owner_merges(live_hub: LiveHub, live_repo: str):
    alice, bob = live_hub.api(), live_hub.api(live_hub.bob)
    alice.upload_file(path_or_fileobj=b"one\n", path_in_repo="a.txt", repo_id=REPO)
    proposed = bob.create_commit(
        REPO,
        [add("a.txt", b"two\n"), add("weights.bin", b"w" * 5000), add("dir/small", b"s")],
        commit_message="Two",
        commit_description="It is better.",
        create_pr=True,
    )
    assert (proposed.pr_num, proposed.pr_revision) == (1, "refs/pr/1")
    assert proposed.pr_url == f"{live_hub.url}/{REPO}/discussions/1"

    details = bob.get_discussion_details(REPO, 1)
    assert (details.title, details.status, details.author) == ("Two", "open", "bob")
    assert (details.target_branch, details.conflicting_files) == ("refs/heads/main", [])
    assert [event.type for event in details.events] == ["comment", "commit"]
    assert details.diff is not None
    assert "-one\n+two\n" in details.diff
    assert "Binary files /dev/null and b/weights.bin differ" in details.diff

    path = hf_hub_download(
        REPO, "weights.bin", revision="refs/pr/1", endpoint=live_hub.url, token=False
    )
    with open(path, "rb") as file:
        assert file.read() == b"w" * 5000
    assert not alice.file_exists(REPO, "weights.bin")

    alice.merge_pull_request(REPO, 1, comment="Thanks")
    merged = alice.get_discussion_details(REPO, 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", alice.model_info(REPO).sha)
    assert alice.list_repo_commits(REPO)[0].title == "Two (#1)"
    assert alice.file_exists(REPO, "dir/small")


@pytest.mark.parametrize("binary", [False, True])
def test_readers_feed_their_own_pull_request(live_hub: LiveHub, live_repo: str, binary: bool):
    bob, alice = live_hub.api(live_hub.bob), live_hub.api()
    draft = bob.create_pull_request(REPO, "A draft of bob's")
    assert (draft.status, draft.git_reference, draft.diff) == ("draft", "refs/pr/1", "")
    name = "model.bin" if binary else "text.txt"
    bob.upload_file(
        path_or_fileobj=b"x" * 100, path_in_repo=name, repo_id=REPO, revision="refs/pr/1"
    )
    alice.upload_file(
        path_or_fileobj=b"y" * 100, path_in_repo="of alice.bin", repo_id=REPO, revision="refs/pr/1"
    )
    assert {name, "of alice.bin"} <= set(bob.list_repo_files(REPO, revision="refs/pr/1"))
    assert [ref.name for ref in bob.list_repo_refs(REPO).branches] == ["main"]
    refs = bob.list_repo_refs(REPO, include_pull_requests=True).pull_requests
    assert refs is not None
    assert [ref.ref for ref in refs] == ["refs/pr/1"]

    alice.create_pull_request(REPO, "A draft of alice's")
    for attempt in (
        lambda: bob.upload_file(
            path_or_fileobj=b"x", path_in_repo=name, repo_id=REPO, revision="refs/pr/2"
        ),
        lambda: bob.upload_file(path_or_fileobj=b"x", path_in_repo=name, repo_id=REPO),
        lambda: bob.merge_pull_request(REPO, 1),
        lambda: bob.create_branch(REPO, branch="mine"),
        lambda: bob.super_squash_history(REPO, branch="refs/pr/1"),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            attempt()
        assert refused.value.response.status_code == 403


def test_git_lfs_uploads_of_readers_need_a_pull_request(live_hub: LiveHub, live_repo: str):
    live_hub.api(live_hub.bob).create_pull_request(REPO, "A draft")
    client = live_hub.http(BOB_TOKEN)

    def batch(ref: str | None) -> int:
        question = {"operation": "upload", "objects": [{"oid": "0" * 64, "size": 1}]}
        question |= {"ref": {"name": ref}} if ref else {}
        return client.post(f"/{REPO}.git/info/lfs/objects/batch", json=question).status_code

    assert [batch(ref) for ref in (None, "refs/pr/1")] == [200, 200]
    assert [batch(ref) for ref in ("refs/heads/main", "refs/pr/9")] == [403, 404]


def test_conflicts_are_named(live_hub: LiveHub, live_repo: str):
    alice, bob = live_hub.api(), live_hub.api(live_hub.bob)
    for api, create_pr in ((bob, True), (alice, False)):
        api.create_commit(
            REPO, [add("a", str(api.token).encode())], commit_message="mine", create_pr=create_pr
        )
    assert bob.get_discussion_details(REPO, 1).conflicting_files == ["a"]
    with pytest.raises(HfHubHTTPError, match="changed on both sides: 'a'") as refused:
        alice.merge_pull_request(REPO, 1)
    assert refused.value.response.status_code == 409
    bob.create_commit(
        REPO, [CommitOperationDelete("a")], commit_message="undo", revision="refs/pr/1"
    )
    assert bob.get_discussion_details(REPO, 1).conflicting_files == []


def test_a_conversation(live_hub: LiveHub, live_repo: str):
    alice, bob = live_hub.api(), live_hub.api(live_hub.bob)
    bob.create_discussion(REPO, "Why?", description="<b>I ask</b>")
    said = first_comment(bob, 1)
    assert (said.content, said.author) == ("<b>I ask</b>", "bob")
    assert said.rendered == "<p>&lt;b&gt;I ask&lt;/b&gt;</p>"
    edited = bob.edit_discussion_comment(REPO, 1, said.id, "I ask again")
    assert (edited.edited, edited.last_edited_by) == (True, "bob")
    alice.comment_discussion(REPO, 1, "Because.")
    alice.rename_discussion(REPO, 1, "That is why")
    alice.change_discussion_status(REPO, 1, "closed", comment="done")
    with pytest.warns(UserWarning, match="irreversible"):
        hidden = alice.hide_discussion_comment(REPO, 1, said.id)
    assert (hidden.hidden, hidden.content, hidden.author) == (True, "", "bob")
    details = bob.get_discussion_details(REPO, 1)
    assert (details.title, details.status) == ("That is why", "closed")
    assert [event.author for event in details.events] == ["bob", *["alice"] * 4]
    assert bob.get_user_overview("bob").num_discussions == 1


def test_lists_go_on(live_hub: LiveHub, live_repo: str):
    bob = live_hub.api(live_hub.bob)
    for number in range(1, 53):
        bob.create_discussion(REPO, f"Number {number}")
    found = list(live_hub.api(None).get_repo_discussions(REPO))
    assert [each.num for each in found] == list(range(52, 0, -1))
    page = live_hub.http(None).get(TALK, params={"p": 9}).json()
    assert page == {"count": 52, "start": 450, "discussions": []}


def test_private_repos_have_no_discussions_for_others(live_hub: LiveHub, live_repo: str):
    alice, bob = live_hub.api(), live_hub.api(live_hub.bob)
    bob.create_commit(REPO, [add("a", b"1")], commit_message="mine", create_pr=True)
    alice.update_repo_settings(REPO, private=True)
    with pytest.raises(RepositoryNotFoundError):
        list(bob.get_repo_discussions(REPO))
    for attempt in (
        lambda: bob.get_discussion_details(REPO, 1),
        lambda: bob.create_discussion(REPO, "title"),
        lambda: bob.comment_discussion(REPO, 1, "hello"),
        lambda: bob.change_discussion_status(REPO, 1, "closed"),
        lambda: bob.create_commit(REPO, [add("a", b"2")], commit_message="t", create_pr=True),
        lambda: bob.upload_file(
            path_or_fileobj=b"2", path_in_repo="a", repo_id=REPO, revision="refs/pr/1"
        ),
    ):
        with pytest.raises(RepositoryNotFoundError):
            attempt()
    assert live_hub.http(BOB_TOKEN).post(f"{TALK}/1/merge").status_code == 404


def test_gated_repos_are_discussed_but_not_proposed_to(live_hub: LiveHub, live_repo: str):
    alice, bob = live_hub.api(), live_hub.api(live_hub.bob)
    alice.upload_file(path_or_fileobj=b"secret", path_in_repo="a", repo_id=REPO)
    alice.update_repo_settings(REPO, gated="manual")
    alice.create_commit(REPO, [add("a", b"more secret")], commit_message="t", create_pr=True)
    bob.create_discussion(REPO, "Let me in")
    assert bob.get_discussion_details(REPO, 1).diff is None
    assert "secret" in (alice.get_discussion_details(REPO, 1).diff or "")
    with pytest.raises(GatedRepoError):
        bob.create_pull_request(REPO, "No")
    with pytest.raises(GatedRepoError):
        bob.create_commit(REPO, [add("b", b"1")], commit_message="t", create_pr=True)


def test_closed_pull_requests_lose_their_commits_on_demand(live_hub: LiveHub, live_repo: str):
    bob = live_hub.api(live_hub.bob)
    bob.create_commit(REPO, [add("a", b"1")], commit_message="mine", create_pr=True)
    with pytest.raises(HfHubHTTPError, match="close pull request"):
        bob.delete_branch(REPO, branch="refs/pr/1")
    bob.change_discussion_status(REPO, 1, "closed")
    with pytest.raises(HfHubHTTPError, match="is closed"):
        bob.create_commit(REPO, [add("a", b"2")], commit_message="late", revision="refs/pr/1")
    bob.delete_branch(REPO, branch="refs/pr/1")
    with pytest.raises(RevisionNotFoundError):
        bob.model_info(REPO, revision="refs/pr/1")
    details = bob.get_discussion_details(REPO, 1)
    assert (details.status, details.diff, details.conflicting_files) == ("closed", "", [])


def test_one_must_sign_in_to_speak(live_hub: LiveHub, live_repo: str):
    live_hub.api().create_discussion(REPO, "title")
    client = live_hub.http(None)
    assert client.get(f"{TALK}/1").json()["num"] == 1
    bodies = {
        "": {"title": "title"},
        "/1/comment": {"comment": "x"},
        "/1/title": {"title": "other"},
        "/1/status": {"status": "closed"},
        "/1/merge": {},
        "/1/comment/1/hide": {},
        "/1/comment/1/edit": {"content": "x"},
    }
    for path, body in bodies.items():
        assert client.post(TALK + path, json=body).status_code == 401, path


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/7", None, 404),
        ("GET", "/0", None, 422),
        ("GET", f"/{10**30}", None, 422),
        ("GET", "/x", None, 422),
        ("GET", "?p=-1", None, 422),
        ("GET", "?status=lost", None, 422),
        ("POST", "", {"title": "ab"}, 400),
        ("POST", "", {"title": "x" * 201}, 400),
        ("POST", "", {"title": "a\u202eb c"}, 400),
        ("POST", "", {"title": "abc", "description": "\x00"}, 400),
        ("POST", "", {"title": "abc", "description": "x" * 70_000}, 413),
        ("POST", "", {}, 400),
        ("POST", "/1/comment", {"comment": " "}, 400),
        ("POST", "/1/comment", {"comment": "\x1b[2J"}, 400),
        ("POST", "/7/comment", {"comment": "x"}, 404),
        ("POST", "/1/comment/zz/edit", {"content": "x"}, 404),
        ("POST", f"/1/comment/{'f' * 40}/hide", None, 404),
        ("POST", "/1/status", {"status": "merged"}, 400),
        ("POST", "/1/status", {"status": "open"}, 409),
        ("POST", "/7/status", {"status": "open"}, 404),
        ("POST", "/1/merge", None, 400),
        ("POST", "/1/merge", [], 400),
        ("POST", "/7/merge", None, 404),
    ],
)
def test_what_makes_no_sense_is_refused(
    live_hub: LiveHub, live_repo: str, method: str, path: str, body: object, status: int
):
    live_hub.api().create_discussion(REPO, "A plain discussion")
    answer = live_hub.http().request(method, TALK + path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["X-Error-Code"]


@pytest.mark.parametrize("revision", ["nowhere", "refs/pr/1", "refs/pr/99", "0" * 40, "v1"])
def test_pull_requests_are_made_to_branches(live_hub: LiveHub, live_repo: str, revision: str):
    api = live_hub.api(live_hub.bob)
    api.create_pull_request(REPO, "A draft")
    live_hub.api().create_tag(REPO, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(
            REPO,
            [CommitOperationAdd("a", b"1")],
            commit_message="t",
            revision=revision,
            create_pr=True,
        )


def test_files_of_another_repo_are_proposed_without_sending_them(live_hub: LiveHub, live_repo: str):
    bob = live_hub.api(live_hub.bob)
    bob.create_repo("bob/secret", private=True)
    bob.upload_file(path_or_fileobj=b"w" * 5000, path_in_repo="w.bin", repo_id="bob/secret")
    digest = sha256(b"w" * 5000).hexdigest()
    answer = live_hub.http(BOB_TOKEN).post(
        "/api/models/bob/secret/lfs-files/duplicate",
        json={"target": {"name": REPO}, "files": [{"sha256": digest, "filename": "w.bin"}]},
    )
    assert answer.json() == {"success": [{"sha256": digest}], "failed": []}

    lines = [
        {"key": "header", "value": {"summary": "copied"}},
        {"key": "lfsFile", "value": {"path": "w.bin", "oid": digest}},
    ]
    body = "\n".join(map(json.dumps, lines))

    def commit(token: str, **params: int) -> int:
        url = f"/api/models/{REPO}/commit/main"
        return live_hub.http(token).post(url, content=body, params=params).status_code

    assert commit(live_hub.alice) == 422  # granted to bob alone
    assert commit(BOB_TOKEN) == 403
    assert commit(BOB_TOKEN, create_pr=1) == 200
    assert live_hub.api().file_exists(REPO, "w.bin", revision="refs/pr/1")
