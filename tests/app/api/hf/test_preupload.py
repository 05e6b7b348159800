"""What the stock client is told before it uploads."""

from tests.fixtures.api import REPO, LiveHub, add


def paths(live_hub: LiveHub, revision: str = "main") -> list[str]:
    return live_hub.api().list_repo_files(REPO, revision=revision)


def test_upload_folder_skips_unchanged_files(live_hub: LiveHub, live_repo: str, tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "one.txt").write_text("one")
    (folder / "sub" / "two.json").write_text("{}")
    live_hub.api().upload_folder(repo_id=live_repo, folder_path=folder)
    head = live_hub.api().model_info(live_repo).sha
    live_hub.api().upload_folder(repo_id=live_repo, folder_path=folder)
    assert live_hub.api().model_info(live_repo).sha == head
    assert paths(live_hub) == [".gitattributes", "one.txt", "sub/two.json"]


def test_gitignore_in_the_repo_is_honoured(live_hub: LiveHub, live_repo: str):
    live_hub.api().create_commit(
        live_repo, [add(".gitignore", b"*.log\n")], commit_message="ignore"
    )
    live_hub.api().create_commit(
        live_repo, [add("a.log", b"no"), add("a.txt", b"yes")], commit_message="files"
    )
    assert paths(live_hub) == [".gitattributes", ".gitignore", "a.txt"]


def test_the_size_decides_how_a_file_is_sent(live_hub: LiveHub, live_repo: str):
    hub = live_hub.hub
    limits = hub.settings.limits.model_copy(update={"regular_nbytes": 1_000})
    hub.settings = hub.settings.model_copy(update={"limits": limits})
    files = [{"path": f"{size}.txt", "size": size, "sample": ""} for size in (999, 1_000)]
    answer = live_hub.http().post(f"/api/models/{live_repo}/preupload/main", json={"files": files})
    modes = {each["path"]: each["uploadMode"] for each in answer.raise_for_status().json()["files"]}
    assert modes == {"999.txt": "regular", "1000.txt": "lfs"}
