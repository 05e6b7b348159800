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
