"""Branches, tags and history with the stock client."""

import base64

import pytest
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError

from tests.fixtures.api import REPO, LiveHub, add


def paths(live_hub: LiveHub, revision: str = "main") -> list[str]:
    return live_hub.api().list_repo_files(REPO, revision=revision)


def test_branches_and_tags(live_hub: LiveHub, live_repo: str):
    api = live_hub.api()
    first = api.model_info(live_repo).sha
    api.create_branch(live_repo, branch="feature/x")
    with pytest.raises(HfHubHTTPError) as refused:
        api.create_branch(live_repo, branch="feature/x")
    assert refused.value.response.json()["error"] == (
        "Reference refs/heads/feature/x already exists"
    )
    api.create_tag(live_repo, tag="v1", revision="feature/x")
    api.create_commit(live_repo, [add("a", b"a")], commit_message="a", revision="feature/x")
    refs = api.list_repo_refs(live_repo, include_pull_requests=True)
    assert [ref.name for ref in refs.branches] == ["feature/x", "main"]
    assert [(ref.ref, ref.target_commit) for ref in refs.tags] == [("refs/tags/v1", first)]
    assert paths(live_hub, "feature/x") == [".gitattributes", "a"]
    assert paths(live_hub, "refs/heads/feature/x") == [".gitattributes", "a"]
    assert paths(live_hub, "v1") == [".gitattributes"]
    api.delete_branch(live_repo, branch="feature/x")
    api.delete_tag(live_repo, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        paths(live_hub, "feature/x")
    with pytest.raises(HfHubHTTPError) as refused:
        api.delete_branch(live_repo, branch="main")
    assert refused.value.response.status_code == 403


def test_unknown_revision_is_named(live_hub: LiveHub, live_repo: str):
    answer = live_hub.http().get(f"/api/models/{live_repo}/revision/nope")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert answer.headers["X-Error-Message"] == "Invalid rev id: nope"
    with pytest.raises(RevisionNotFoundError):
        live_hub.api().create_commit(
            live_repo, [add("a", b"a")], commit_message="a", revision="nope"
        )


def test_commits_are_listed_in_pages(live_hub: LiveHub, live_repo: str):
    client = live_hub.http()
    for number in range(10):
        client.post(
            f"/api/models/{live_repo}/commit/main",
            content=f'{{"key":"header","value":{{"summary":"{number}"}}}}\n',
        ).raise_for_status()
    every = [*map(str, reversed(range(10))), "initial commit"]
    commits = live_hub.api().list_repo_commits(live_repo, formatted=True)
    assert [commit.title for commit in commits] == every
    listed: list[str] = []
    url: str | None = f"/api/models/{live_repo}/commits/main?limit=4"
    while url is not None:
        answer = client.get(url).raise_for_status()
        assert len(answer.json()) <= 4
        listed += [commit["title"] for commit in answer.json()]
        url = answer.links.get("next", {}).get("url")
    assert listed == every


@pytest.mark.parametrize(
    "position", ['"main"', "[1, 2]", '[["main"], -1]', '[["x"], 0]', '[["\\ud800"], 0]']
)
def test_a_cursor_of_somebody_else_is_refused(live_hub: LiveHub, live_repo: str, position: str):
    cursor = base64.urlsafe_b64encode(position.encode()).decode()
    answer = live_hub.http().get(f"/api/models/{live_repo}/commits/main?cursor={cursor}")
    assert answer.status_code == 400
    assert "cursor" in answer.headers["X-Error-Message"]


def test_a_branch_may_not_be_named_like_another_kind_of_ref(live_hub: LiveHub, live_repo: str):
    for name in ("refs/pr/5", "refs/heads/x", "refs/something/random"):
        with pytest.raises(BadRequestError, match="Invalid reference for a branch"):
            live_hub.api().create_branch(live_repo, branch=name)


def test_a_missing_ref_is_named_by_what_was_asked_for(live_hub: LiveHub, live_repo: str):
    api = live_hub.api()
    api.create_tag(live_repo, tag="tag")
    for name in ("none", "tag"):
        with pytest.raises(RevisionNotFoundError, match=f"Invalid rev id: {name}"):
            api.delete_branch(live_repo, branch=name)
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: main"):
        api.delete_tag(live_repo, tag="main")
    # The revision is looked at before the name.
    with pytest.raises(RevisionNotFoundError):
        api.create_tag(live_repo, tag="invalid tag", revision="none")
    with pytest.raises(BadRequestError):
        api.create_tag(live_repo, tag="invalid tag")
