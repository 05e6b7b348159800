"""Patches that git itself applies."""

import random
import subprocess
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("pairs", [0, diffs.MOST_PAIRS])
def test_git_applies_changes_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: int
):
    monkeypatch.setattr(diffs, "MOST_PAIRS", pairs)
    monkeypatch.setattr(diffs, "MOST_LINES", 1 << 20)
    chance = random.Random(3)
    sides: list[tuple[str, str]] = []
    for _ in range(200):
        old = chance.choices(["", "a\n", "b\n", "c\n", "a\rb\n", "\n"], k=chance.randrange(40))
        new = [*old]
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(new) + 1)
            new[at : at + chance.randrange(4)] = chance.choices(
                ["x\n", "a\n"], k=chance.randrange(4)
            )
        ends = chance.choices(["", "end"], k=2)
        sides.append(("".join(old) + ends[0], "".join(new) + ends[1]))
    texts = {blob_oid(text.encode()): text for side in sides for text in side}
    found = [
        FileChange(f"{at:03}", entry(f"{at:03}", old), entry(f"{at:03}", new))
        for at, (old, new) in enumerate(sides)
        if old != new
    ]
    for change, (old, _) in ((c, sides[int(c.path)]) for c in found):
        (tmp_path / change.path).write_bytes(old.encode())
    patch = patch_text(found, lambda side: texts[side.oid])
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch.encode(), check=True)
    for change in found:
        assert (tmp_path / change.path).read_bytes() == sides[int(change.path)][1].encode()


def test_a_shortest_change_that_would_take_hours_is_not_looked_for():
    chance = random.Random(3)
    lines = [f"{at:x}\n" for at in range(100)] * 2_500
    olds, news = (chance.sample(lines, len(lines)) for _ in range(2))
    old, new = "".join(["same\n", *olds]), "".join(["same\n", *news])
    texts = {blob_oid(text.encode()): text for text in (old, new)}
    patch = patch_text(
        [FileChange("a", entry("a", old), entry("a", new))], lambda side: texts[side.oid]
    )
    assert f"@@ -1,{len(lines) + 1} +1,{len(lines) + 1} @@\n same\n-" in patch
    assert patch.count("\n-") == patch.count("\n+") == len(lines) + 1


def test_what_is_no_text_shows_as_binary():
    assert "Binary files a/a.txt and b/a.txt differ" in patch_text(changes(is_lfs=True), read)
    assert "Binary files a/gone and /dev/null differ" in patch_text(changes(), lambda _: None)


def test_a_patch_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(diffs, "MOST_FILES", 1)
    patch = patch_text(changes(), read)
    assert patch.count("diff --git") == 1
    assert patch.endswith("# more files changed than are shown\n")
    monkeypatch.undo()
    monkeypatch.setattr(diffs, "MOST_NBYTES", 1)
    assert patch_text(changes(), read).endswith("# more files changed than are shown\n")
