"""Names with backslashes on a hub that takes them, by every way in and out; refused on others."""

from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub import CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError

from app.settings import Settings
from client.pull import pull
from tests.fixtures.api import ALICE_TOKEN, REPO, LiveHub, add
from tests.fixtures.git import Git
from tests.fixtures.mirrors import MakeMirror

ESCAPE = "folder/..\\..\\..\\file"
NAMES = (ESCAPE, "top\\level.bin", "a\\b/c.txt")


@pytest.fixture
def embedded_settings(request: pytest.FixtureRequest, embedded_settings: Settings) -> Settings:
    """Settings of a hub that takes such names, unless the test is about one that does not."""
    takes = "refused" not in request.node.name
    limits = embedded_settings.limits.model_copy(update={"path_backslashes": takes})
    return embedded_settings.model_copy(update={"limits": limits})


def test_every_client_gets_them(
    live_hub: LiveHub, live_repo: str, mirror_of: MakeMirror, tmp_path: Path
) -> None:
    api, http = live_hub.api(), live_hub.http()
    added = [add(name, name.encode()) for name in NAMES[:2]]
    api.create_commit(live_repo, added, commit_message="by the API")
    git = Git(tmp_path / "home", live_hub.url, ALICE_TOKEN)
    clone = git.clone(live_repo, tmp_path / "clone")
    (clone / "a\\b").mkdir()
    (clone / NAMES[2]).write_text(NAMES[2])
    git.commit(clone)
    git(clone, "push", "-q")

    mirror = mirror_of()
    for url in (live_hub.url, mirror.mirror.url):
        to = tmp_path / f"hub-{url.rpartition(':')[2]}"
        there = LiveHub(live_hub.hub, url, tmp_path).api()
        assert set(NAMES) < set(there.list_repo_files(live_repo))
        with pytest.raises(ValueError, match="cannot contain"):  # that client trusts no hub
            there.hf_hub_download(live_repo, ESCAPE, local_dir=to / "snapshot")
        there.snapshot_download(live_repo, local_dir=to / "snapshot", ignore_patterns=ESCAPE)
        cloned = Git(to / "home", url, ALICE_TOKEN).clone(live_repo, to / "clone")
        pull(live_repo, to=to / "pulled", endpoint=url, token=ALICE_TOKEN, cache=to / "cache")
        for name in NAMES:
            for folder in (to / "snapshot", cloned, to / "pulled"):
                if (folder.name, name) != ("snapshot", ESCAPE):
                    assert (folder / name).read_text() == name
    (info,) = api.get_paths_info(live_repo, [ESCAPE])
    assert info.path == ESCAPE
    (entry,) = api.list_repo_tree(live_repo, "a\\b")
    assert entry.path == NAMES[2]
    for name in NAMES:
        address = quote(name)
        directory = "/".join(["", *name.split("/")[:-1]])
        page = http.get(f"/{live_repo}/tree/main{quote(directory)}").raise_for_status().text
        assert f'/{address}">' in page
        answer = http.get(f"/{live_repo}/resolve/main/{address}").raise_for_status()
        assert answer.text == name
        offered = answer.headers["content-disposition"].rpartition("''")[2]
        assert "\\" not in offered
        assert "%5C" not in offered
    gone = [CommitOperationDelete(path_in_repo=name) for name in NAMES]
    api.create_commit(live_repo, gone, commit_message="away")
    assert not set(NAMES) & set(api.list_repo_files(live_repo))


def test_they_are_refused_with_the_name_of_the_setting(
    live_hub: LiveHub, live_repo: str, tmp_path: Path
) -> None:
    with pytest.raises(HfHubHTTPError, match=r"limits\.path_backslashes"):
        live_hub.api().create_commit(REPO, [add(ESCAPE, b"x")], commit_message="x")
    git = Git(tmp_path / "home", live_hub.url, ALICE_TOKEN)
    clone = git.clone(live_repo, tmp_path / "clone")
    (clone / NAMES[1]).write_text("x")
    git.commit(clone)
    refused = git(clone, "push", check=False)
    assert refused.returncode != 0
    assert "limits.path_backslashes" in refused.stderr
