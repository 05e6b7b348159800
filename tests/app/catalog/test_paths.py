"""No path escapes, aliases or hides."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.paths import check_path, twin_key
from app.errors import InvalidPath, LimitExceeded
from app.settings import Limits

LIMITS = Limits()  # pyright: ignore[reportCallIssue]
WITH_BACKSLASHES = Limits(path_backslashes=True)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.txt", "README.md", ".gitattributes", ".gitignore", "dir.d/x y", "ünïcode/日本.bin",
     "a..b", "...x", "COM", "console.txt", "x.git/y", "git~x", "می‌خواهم"],
)  # fmt: skip
def test_ordinary_paths_are_allowed(path: str):
    assert check_path(path, LIMITS) == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "a//b", "a/", "..", "../x", "a/../b", ".", "./a", "a/.", "\\x",
     "a\\b", "..\\x", "C:/x", "C:x", "c:", "a\x00b", "a\nb", "a\x7f", "a\x85b", "a\u202eb",
     "a\u2028b", "\ufeffa", "\ud800", ".git", ".git/config", "a/.GIT/x", ".git.", ".git ",
     "GIT~1", "git~1/x", ".g\u200cit", ".git::$INDEX_ALLOCATION/x", "CON", "aux.txt", "a/nul",
     "Com1.log", "lpt9", "a.", "a ", "dir /x", "e\u0301"],
)  # fmt: skip
def test_tricks_are_refused(path: str):
    with pytest.raises(InvalidPath) as refused:
        check_path(path, LIMITS)
    assert refused.value.message.isascii()


@pytest.mark.parametrize(
    ("path", "setting"),
    [
        ("a" * 256, "path_part_nbytes"),
        ("é" * 128, "path_part_nbytes"),
        ("/".join(["abcdefg"] * 32) + "x" * 900, "path_nbytes"),
        ("/".join("a" * 33), "path_parts"),
    ],
)
def test_limits_are_named(path: str, setting: str):
    with pytest.raises(LimitExceeded) as refused:
        check_path(path, LIMITS)
    assert refused.value.setting == f"limits.{setting}"


ODD = "aA.:/\\~ \u200d\u0301\x00CcOoNngit1$"
"""Characters that tricks are made of."""


@settings(max_examples=500)
@given(st.text(alphabet=st.sampled_from(ODD), max_size=12))
def test_whatever_is_allowed_stays_inside_on_every_system(path: str):
    stays_inside(path)


def stays_inside(path: str) -> bool:
    """Whether it is allowed; then it does on every system."""
    try:
        check_path(path, LIMITS)
    except InvalidPath:
        return False
    assert not PurePosixPath(path).is_absolute()
    for part in path.split("/"):
        windows = PureWindowsPath(part)
        assert not windows.drive
        assert not windows.root
        assert part not in {"", ".", ".."}
        assert part.rstrip(". ") == part
        assert not part.replace("\u200d", "").lower().startswith(".git:")
    return True


@pytest.mark.parametrize("path", ["a\\b", "folder/..\\..\\..\\file", "\\", "\\\\host\\x"])
def test_backslashes_are_for_hubs_that_say_so(path: str):
    with pytest.raises(InvalidPath, match=r"limits\.path_backslashes"):
        check_path(path, LIMITS)
    assert check_path(path, WITH_BACKSLASHES) == path


@pytest.mark.parametrize(
    "path", ["..\\x", ".git\\config", "a/..\\.GIT\\x", "b\\git~1", "C:\\x", "a\\\n"]
)
def test_other_tricks_stay_refused_where_backslashes_are_taken(path: str):
    with pytest.raises(InvalidPath):
        check_path(path, WITH_BACKSLASHES)


def test_twins_have_one_key():
    assert twin_key("README") == twin_key("readme")
    assert twin_key("Straße") == twin_key("STRASSE")
    assert twin_key("\u00e9") == twin_key("e\u0301")
    assert twin_key("a\u200db") == twin_key("ab")
    assert twin_key("a") != twin_key("b")
