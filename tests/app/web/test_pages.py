"""Pages of repositories, as somebody reads them who follows what the clients print."""

import re
from html import unescape

import httpx
import pytest
from huggingface_hub import CommitOperationDelete, HfFileSystem

from tests.fixtures.api import REPO, LiveHub, add
from tests.fixtures.pages import assert_harmless

SCRIPT = "<script>alert(1)</script>"


def page(live_hub: LiveHub, path: str, token: str | None = None) -> str:
    """A page that must be there, nothing of which may run."""
    answer = live_hub.http(token).get(path.removeprefix(live_hub.url)).raise_for_status()
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert_harmless(answer.text)
    return answer.text


def shown(html: str) -> str:
    """The text of a page."""
    body = html.partition("</head>")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def links(html: str) -> list[str]:
    """Where a page leads to."""
    return [unescape(found) for found in re.findall(r'<a href="([^"]+)"', html)]


@pytest.fixture
def written(live_hub: LiveHub, live_repo: str) -> str:
    """A repo with directories, odd names and a thread of each kind."""
    alice, bob = live_hub.api(), live_hub.api(live_hub.bob)
    files = {
        "README.md": f"---\nlicense: mit\n---\n# A card\n{SCRIPT}\n",
        "config.json": "{}\n",
        "dir with space/a&b #1?.txt": f"one\n{SCRIPT}\n",
        "dir with space/weights.bin": "\x00" * 100,
    }
    added = [add(path, text.encode()) for path, text in files.items()]
    alice.create_commit(REPO, added, commit_message=f"Add {SCRIPT}", commit_description="why")
    bob.create_discussion(
        REPO, title=f"Why {SCRIPT}", description=f"**because** {SCRIPT} [x](javascript:alert(1))"
    )
    bob.create_commit(
        REPO,
        [add("config.json", b'{"a": 1}\n'), CommitOperationDelete("dir with space/weights.bin")],
        commit_message="Change two",
        commit_description="a proposal",
        create_pr=True,
    )
    return REPO


def test_files_are_walked_to(live_hub: LiveHub, written: str):
    top = page(live_hub, f"/{written}")
    assert "A card" in shown(top)
    assert "Discussions 2" in shown(top)
    [directory] = [link for link in links(top) if "/tree/" in link and "dir" in link]
    below = page(live_hub, directory)
    assert "a&b #1?.txt" in shown(below)
    [file] = [link for link in links(below) if "/blob/" in link and "%231" in link]
    text = page(live_hub, file)
    assert f"one {SCRIPT}" in shown(text)
    [raw] = [link for link in links(text) if "/raw/" in link]
    assert live_hub.http(None).get(raw).text == f"one\n{SCRIPT}\n"
    [binary] = [link for link in links(below) if "/blob/" in link and "weights" in link]
    assert "no text that could be shown here" in shown(page(live_hub, binary))


def test_long_directories_go_on(live_hub: LiveHub, live_repo: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("app.web.directories.PER_PAGE", 2)
    names = [f"d/{letter} &.txt" for letter in "abcde"]
    live_hub.api().create_commit(REPO, [add(n, b"") for n in names], commit_message="Five")
    seen, address = [], f"/{REPO}/tree/main/d"
    while address:
        html = page(live_hub, address)
        seen += [unescape(found) for found in re.findall(r">([a-e] &amp;\.txt)<", html)]
        address = next((link for link in links(html) if "after=" in link), "")
    assert [f"d/{name}" for name in seen] == names


def test_the_file_systems_address_of_a_directory_is_a_page(live_hub: LiveHub, written: str):
    files = HfFileSystem(endpoint=live_hub.url, token=live_hub.alice)
    address = files.url(f"{written}/dir with space")
    assert "weights.bin" in shown(page(live_hub, address))


def test_a_commit_tells_what_it_changed(live_hub: LiveHub, written: str):
    commit = live_hub.api().list_repo_commits(written)[0]
    html = page(live_hub, f"/{written}/commit/{commit.commit_id}")
    assert f"Add {SCRIPT}" in shown(html)
    assert f"+{SCRIPT}" in shown(html)
    assert "Binary files /dev/null and b/dir with space/weights.bin differ" in shown(html)


def test_threads_are_read_where_the_client_says(live_hub: LiveHub, written: str):
    api = live_hub.api()
    talk = api.get_discussion_details(written, 1)
    html = page(live_hub, talk.url)
    assert f"Why {SCRIPT}" in shown(html)
    assert "<strong>because</strong>" in html
    assert "bob" in shown(html)
    api.rename_discussion(written, 1, new_title="Another title")
    said = api.comment_discussion(written, 1, comment="second thoughts")
    api.change_discussion_status(written, 1, new_status="closed")
    html = page(live_hub, talk.url)
    assert f"from Why {SCRIPT} to Another title" in shown(html)
    assert "second thoughts" in shown(html)
    assert f'id="{said.id}"' in html
    assert "changed the status to closed" in shown(html)
    with pytest.warns(UserWarning, match="irreversible"):
        api.hide_discussion_comment(written, 1, said.id)
    html = page(live_hub, talk.url)
    assert "second thoughts" not in html
    assert "This comment was hidden." in shown(html)


def test_a_pull_request_shows_its_changes_and_conflicts(live_hub: LiveHub, written: str):
    address = f"/{written}/discussions/2"
    text = shown(page(live_hub, address))
    assert "pull request by bob" in text
    assert '+{"a": 1}' in text
    assert "cannot be merged" not in text
    live_hub.api().upload_file(path_or_fileobj=b"[]", path_in_repo="config.json", repo_id=written)
    text = shown(page(live_hub, address))
    assert "these files changed on both sides. config.json" in text
    for link in links(page(live_hub, address)):
        page(live_hub, link)


def test_threads_are_listed_and_filtered(
    live_hub: LiveHub, written: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.web.discussions.PER_PAGE", 1)
    base = f"/{written}/discussions"
    html = page(live_hub, base)
    assert "Change two" in shown(html)
    [older] = [link for link in links(html) if "p=1" in link]
    assert f"Why {SCRIPT}" in shown(page(live_hub, base + older))
    [only] = [link for link in links(html) if "type=pull_request" in link]
    assert "older" not in shown(page(live_hub, base + only))
    [closed] = [link for link in links(html) if "status=closed" in link]
    assert "none" in shown(page(live_hub, base + closed))


def test_private_and_gated_repos_keep_to_themselves(live_hub: LiveHub, written: str):
    paths = [
        *("", "/tree/main/dir%20with%20space", "/blob/main/config.json", "/commit/main"),
        *("/discussions", "/discussions/2"),
    ]
    api, anybody = live_hub.api(), live_hub.http(None)
    api.update_repo_settings(written, gated="manual")
    for path in paths:
        answer = anybody.get(f"/{written}{path}")
        assert answer.status_code == (401 if "/blob/" in path else 200), path
        assert "diff --git" not in answer.text, path
    api.update_repo_settings(written, private=True, gated=False)
    for path in paths:
        answer: httpx.Response = anybody.get(f"/{written}{path}")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")  # browsers ask for a token
        missing = anybody.get(f"/alice/missing{path}")
        assert (missing.status_code, missing.json()) == (401, answer.json())
        assert anybody.get(f"/{written}{path}", auth=("alice", live_hub.alice)).is_success


def test_repos_may_be_called_like_pages(live_hub: LiveHub):
    api = live_hub.api()
    for name in ("discussions", "tree", "blob", "commit"):
        api.create_repo(f"alice/{name}", repo_type="dataset")
        assert f"alice/{name}" in shown(page(live_hub, f"/datasets/alice/{name}"))
        assert "none" in shown(page(live_hub, f"/datasets/alice/{name}/discussions"))
