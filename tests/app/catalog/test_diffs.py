"""Patches that git itself applies."""

import subprocess
from pathlib import Path

from app.catalog import diffs
from app.catalog.changes import FileChange
from app.catalog.diffs import patch_text
from app.catalog.git_objects import blob_oid
from app.catalog.listing import Entry

OLD = {"a.txt": "one\ntwo\nthree\n", "gone": "bye", "same": "same\n"}
NEW = {"a.txt": "one\n2\nthree\nfour\n", "same": "same\n", "dir/new": "-- no end"}


def entry(path: str, text: str | None, *, is_lfs: bool = False) -> Entry | None:
    if text is None:
        return None
    data = text.encode()
    return Entry(path, "100644", blob_oid(data), 1, len(data), is_lfs, bytes(32))


def changes(*, is_lfs: bool = False) -> list[FileChange]:
    return [
        FileChange(path, entry(path, OLD.get(path)), entry(path, NEW.get(path), is_lfs=is_lfs))
        for path in sorted(OLD.keys() | NEW.keys())
        if OLD.get(path) != NEW.get(path)
    ]


def read(side: Entry) -> str | None:
    texts = {blob_oid(text.encode()): text for text in (*OLD.values(), *NEW.values())}
    return texts[side.oid]


def test_git_applies_it(tmp_path: Path):
    for path, text in OLD.items():
        (tmp_path / path).write_text(text)
    patch = patch_text(changes(), read)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    found = {
        str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()
    }
    assert found == NEW


def test_what_is_no_text_shows_as_binary():
    assert "Binary files a/a.txt and b/a.txt differ" in patch_text(changes(is_lfs=True), read)
    assert "Binary files a/gone and /dev/null differ" in patch_text(changes(), lambda _: None)


def test_a_patch_is_bounded(monkeypatch):
    monkeypatch.setattr(diffs, "MOST_FILES", 1)
    patch = patch_text(changes(), read)
    assert patch.count("diff --git") == 1
    assert patch.endswith("# more files changed than are shown\n")
